"""Repositories of very many files, listed over HTTP, and listings that never end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from backends.errors import HubError, HubUnreachable
from backends.hubs import huggingface, wire
from backends.hubs.huggingface import HuggingFaceHub
from backends.hubs.modelscope import ModelScopeHub
from backends.hubs.selection import needed_files
from tests.backends.downloads.conftest import REPO, make_variant

NAMES = [*(f"notes/{number // 1000:03}/{number:06}.txt" for number in range(100_000)), "tiny-Q4_K_M.gguf"]
SUM = "0" * 64


PAGE_FILES = 1000
ENDLESS = {
    "the same page again": ("{base}{path}", "has no end"),
    "an empty page after another": ("{base}/api/models/{repo}/tree/{commit}?cursor={after}&empty=1", "has no end"),
    "ever more files": ("{base}/api/models/{repo}/tree/{commit}?cursor=1&turn={after}", "more than 250,000 files"),
    "another host": ("http://127.0.0.2:9/elsewhere", "goes on at another host"),
    "no web address": ("file:///etc/passwd", "goes on at another host"),
}


class Answer(BaseHTTPRequestHandler):
    """Both hubs' documents of one repository: the stand-in hub would read every file for its sum first."""

    names_in_info = True
    """Whether the short listing names the files; else they come in pages only."""
    next_page: str | None = None
    """Where each page says that the listing goes on; None: at its next page."""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        link = None
        if self.path.startswith(f"/api/models/{REPO}/tree/"):
            query = dict(pair.split("=") for pair in self.path.partition("?")[2].split("&"))
            at = int(query.get("cursor", "0"))
            names = [] if "empty" in query else NAMES[at : at + PAGE_FILES]
            found: object = [{"type": "directory", "path": "notes", "oid": SUM[:40], "size": 0}] * bool(names) + [
                {"type": "file", "path": name, "size": 4, "oid": SUM[:40]} for name in names
            ]
            base = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
            after = len(type(self).asked)
            if self.next_page is not None:
                link = self.next_page.format(base=base, path=self.path, repo=REPO, commit=SUM[:40], after=after)
            elif at + PAGE_FILES < len(NAMES):
                link = f"{base}/api/models/{REPO}/tree/{SUM[:40]}?recursive=true&cursor={at + PAGE_FILES}"
        elif self.path.startswith(f"/api/models/{REPO}"):
            files = [{"rfilename": name, "size": 4, "blobId": SUM[:40]} for name in NAMES if self.names_in_info]
            found = {"id": REPO, "sha": SUM[:40], "siblings": files, "private": False, "gated": False}
        else:
            listed = [{"Path": name, "Name": name, "Type": "blob", "Size": 4, "Sha256": SUM} for name in NAMES]
            found = {"Code": 200, "Success": True, "Message": "", "Data": {"Files": listed}}
        content = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if link is not None:
            self.send_header("Link", f'<{link}>; rel="next"')
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Says nothing of clients that have read enough."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing."""


@pytest.fixture
def crowded(home: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub with a repository of 100,001 files."""
    monkeypatch.setattr(Answer, "asked", [])
    server = Server(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, url)
    yield url
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("name", "hub"), [("huggingface", HuggingFaceHub()), ("modelscope", ModelScopeHub())])
def test_a_repository_of_100000_files_is_listed_and_chosen_from(
    crowded: str, name: str, hub: HuggingFaceHub | ModelScopeHub
) -> None:
    found = hub.listing(REPO, None, timeout_seconds=60)
    assert len(found.files) == len(NAMES)
    variant = make_variant(hubs=(name,))
    assert [file.name for file in needed_files(found, variant, variant.spec.hubs[0])] == ["tiny-Q4_K_M.gguf"]


@pytest.mark.parametrize("names_in_info", [True, False])
def test_so_many_files_are_read_page_by_page(
    crowded: str, monkeypatch: pytest.MonkeyPatch, names_in_info: bool
) -> None:
    monkeypatch.setattr(Answer, "names_in_info", names_in_info)
    found = HuggingFaceHub().listing(REPO, None, timeout_seconds=60)
    assert [file.name for file in found.files] == NAMES
    assert found.files[0].file_bytes == 4
    assert len(Answer.asked) == 1 + -(-len(NAMES) // PAGE_FILES)


@pytest.mark.parametrize("how", ENDLESS)
def test_a_listing_without_an_end_ends_in_one_line(crowded: str, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    next_page, words = ENDLESS[how]
    monkeypatch.setattr(Answer, "names_in_info", False)
    monkeypatch.setattr(Answer, "next_page", next_page)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(HubError, match=words) as caught:
        HuggingFaceHub().listing(REPO, None, timeout_seconds=60)
    assert "\n" not in str(caught.value)
    assert len(Answer.asked) <= 300


def test_an_endless_listing_ends_at_the_deadline_too(crowded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answer, "names_in_info", False)
    monkeypatch.setattr(Answer, "next_page", ENDLESS["ever more files"][0])
    monkeypatch.setattr(huggingface, "_MOST_FILES", 1 << 40)
    with pytest.raises(HubUnreachable, match="cannot be listed"):
        HuggingFaceHub().listing(REPO, None, timeout_seconds=0.3)


def test_an_answer_larger_than_any_listing_is_not_read_to_its_end(
    crowded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface, "_MOST_LISTING_BYTES", 1 << 20)
    with pytest.raises(HubError, match="answers with more than 1 MiB"):
        HuggingFaceHub().listing(REPO, None, timeout_seconds=60)


def test_an_answer_is_read_from_a_server_that_closes_the_connection_after_it(crowded: str) -> None:
    with wire.get(f"{crowded}/api/models/{REPO}") as answer:
        content = answer.read(1 << 30)
    assert len(json.loads(content)["siblings"]) == len(NAMES)
