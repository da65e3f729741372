"""Repositories of very many files, listed over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backends.hubs import wire
from backends.hubs.huggingface import HuggingFaceHub
from backends.hubs.modelscope import ModelScopeHub
from backends.hubs.selection import needed_files
from tests.backends.downloads.conftest import REPO, make_variant

NAMES = [*(f"notes/{number // 1000:03}/{number:06}.txt" for number in range(100_000)), "tiny-Q4_K_M.gguf"]
SUM = "0" * 64


class Answer(BaseHTTPRequestHandler):
    """Both hubs' documents of one repository: the stand-in hub would read every file for its sum first."""

    def do_GET(self) -> None:
        if self.path.startswith(f"/api/models/{REPO}"):
            files = [{"rfilename": name, "size": 4, "blobId": SUM[:40]} for name in NAMES]
            found: object = {"id": REPO, "sha": SUM[:40], "siblings": files, "private": False, "gated": False}
        else:
            listed = [{"Path": name, "Name": name, "Type": "blob", "Size": 4, "Sha256": SUM} for name in NAMES]
            found = {"Code": 200, "Success": True, "Message": "", "Data": {"Files": listed}}
        content = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def crowded(home: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub with a repository of 100,001 files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
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


def test_an_answer_is_read_from_a_server_that_closes_the_connection_after_it(crowded: str) -> None:
    with wire.get(f"{crowded}/api/models/{REPO}") as answer:
        content = answer.read(1 << 30)
    assert len(json.loads(content)["siblings"]) == len(NAMES)
