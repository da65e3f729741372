"""What the Hugging Face hub answers, and what its refusals mean."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from backends.errors import AccessDenied, HubError, HubUnreachable, NotFound, RateLimited
from backends.hubs.huggingface import HuggingFaceHub
from backends.hubs.modelscope import ModelScopeHub
from backends.hubs.token import keep_token, token

GGUF = os.urandom(300_000)


def test_a_listing_gives_sizes_sums_and_the_commit(hub: Any) -> None:
    hub.add("maker/Tiny", {"t.gguf": GGUF, "config.json": b"{}"}, gated="auto")
    found = HuggingFaceHub().listing("maker/Tiny")
    by_name = {file.name: file for file in found.files}
    assert by_name["t.gguf"].file_bytes == len(GGUF)
    assert by_name["t.gguf"].etag == by_name["t.gguf"].sha256
    assert by_name["config.json"].sha256 is None
    assert len(by_name["config.json"].etag or "") == 40
    assert (found.gated, found.private, len(found.revision)) == ("auto", False, 40)


def test_a_listing_agrees_with_the_librarys_own(hub: Any) -> None:
    from huggingface_hub import HfApi

    hub.add("maker/Tiny", {"t.gguf": GGUF, "config.json": b"{}", "a/b.txt": b"x"})
    theirs = HfApi(endpoint=hub.url, token=False).model_info("maker/Tiny", files_metadata=True)
    ours = HuggingFaceHub().listing("maker/Tiny")
    assert ours.revision == theirs.sha
    assert {(f.name, f.file_bytes, f.etag) for f in ours.files} == {
        (s.rfilename, s.size, s.lfs.sha256 if s.lfs else s.blob_id) for s in theirs.siblings or []
    }


def test_a_renamed_repository_is_followed(hub: Any) -> None:
    hub.add("maker/New", {"t.gguf": GGUF})
    hub.add("maker/Old", {"t.gguf": b""}, moved_to="maker/New")
    assert HuggingFaceHub().listing("maker/Old").files[0].file_bytes == len(GGUF)


def test_a_range_brings_those_bytes_and_no_more(hub: Any) -> None:
    hub.add("maker/Tiny", {"t.gguf": GGUF})
    it = HuggingFaceHub()
    at = it.listing("maker/Tiny").revision
    assert it.read_range("maker/Tiny", at, "t.gguf", 1000, 3000) == GGUF[1000:3000]
    assert it.read_range("maker/Tiny", at, "t.gguf", 299_000, 999_000) == GGUF[299_000:]
    assert it.read_range("maker/Tiny", at, "t.gguf", 400_000, 999_000) == b""
    assert sum(line["bytes"] for line in hub.log("-cdn") if line["status"] == 206) == 3000


def test_a_search_gives_the_most_downloaded_first(hub: Any) -> None:
    hub.add("maker/tiny-a", {"t.gguf": b"x"}, downloads=5)
    hub.add("maker/tiny-b", {"t.gguf": b"x"}, downloads=50, gated="manual")
    hub.add("maker/other", {"t.gguf": b"x"})
    found = HuggingFaceHub().search("tiny")
    assert [hit.model_id for hit in found] == ["maker/tiny-b", "maker/tiny-a"]
    assert (found[0].downloads, found[0].gated) == (50, "manual")


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ({"kind": "status", "status": 429, "retry_after": 60}, RateLimited, "try again in 60 s"),
        ({"kind": "status", "status": 503}, HubError, "trouble of its own"),
        ({"kind": "refuse"}, HubUnreachable, "check the network"),
    ],
)
def test_trouble_with_a_listing_is_one_clear_line(hub: Any, fault: dict[str, Any], kind: type, words: str) -> None:
    hub.add("maker/Tiny", {"t.gguf": GGUF})
    hub.fault(match="/api/models", **fault)
    with pytest.raises(kind, match=words):
        HuggingFaceHub().listing("maker/Tiny", timeout_seconds=2)


def test_trouble_that_passes_is_not_noticed(hub: Any) -> None:
    hub.add("maker/Tiny", {"t.gguf": GGUF})
    hub.fault(match="/api/models", kind="status", status=503, times=1)
    assert HuggingFaceHub().listing("maker/Tiny").files


def test_a_hub_that_hangs_is_given_up_on_at_the_deadline(hub: Any) -> None:
    hub.add("maker/Tiny", {"t.gguf": GGUF})
    hub.fault(match="/api/models", kind="hang", after=-1)
    with pytest.raises(HubUnreachable, match=r"no answer in time|no byte for"):
        HuggingFaceHub().listing("maker/Tiny", timeout_seconds=0.4)


@pytest.mark.parametrize("model_id", ["../../etc/passwd", "a/b/c", "a b/c", "owner/..", ""])
def test_what_cannot_be_a_repository_is_not_asked_for(hub: Any, model_id: str) -> None:
    with pytest.raises(NotFound, match="no repository name"):
        HuggingFaceHub().listing(model_id)
    assert hub.log() == []


def test_a_missing_revision_and_a_missing_file_are_told_apart(hub: Any) -> None:
    hub.add("maker/Tiny", {"t.gguf": GGUF})
    it = HuggingFaceHub()
    with pytest.raises(NotFound, match="has no revision v9"):
        it.listing("maker/Tiny", "v9")
    at = it.listing("maker/Tiny").revision
    with pytest.raises(NotFound, match=r"has no file u\.gguf"):
        it.read_range("maker/Tiny", at, "u.gguf", 0, 10)


def test_nothing_listening_is_said_with_the_address() -> None:
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:9 \(connection refused\)"):
        HuggingFaceHub().listing("maker/Tiny")


def test_a_typed_token_is_checked_and_kept_by_the_hubs_own_store(hub: Any, home: Any) -> None:
    assert keep_token(" hf_granted\n") == "alice"
    kept = home / "hf" / "token"
    assert kept.read_text() == "hf_granted"
    assert kept.stat().st_mode & 0o077 == 0
    found = token()
    assert found is not None
    assert (found.text, found.origin) == ("hf_granted", str(kept))
    assert "hf_granted" not in repr(found)


def test_a_token_that_the_hub_does_not_take_is_not_kept(hub: Any, home: Any, capfd: Any) -> None:
    with pytest.raises(AccessDenied, match="does not take this token") as caught:
        keep_token("hf_nonsense")
    assert not (home / "hf" / "token").exists()
    assert "hf_nonsense" not in str(caught.value)
    out, err = capfd.readouterr()
    assert "hf_nonsense" not in out + err


def test_a_typed_token_for_modelscope_is_kept_by_its_clients_own_store(hub: Any, home: Any, capfd: Any) -> None:
    pytest.importorskip("modelscope_hub")
    hub.add("maker/Tiny", {"t.gguf": GGUF}, gated="auto")
    with pytest.raises(AccessDenied, match="does not take this token") as caught:
        keep_token("ms_nonsense", "modelscope")
    assert "nonsense" not in str(caught.value)
    with pytest.raises(AccessDenied, match="gated"):
        ModelScopeHub().listing("maker/Tiny")
    assert keep_token(" hf_granted\n", "modelscope") == "alice"
    holding = [one for one in home.rglob("*") if one.is_file() and b"hf_granted" in one.read_bytes()]
    assert holding
    for one in holding:
        assert home / "msconf" in one.parents
        assert one.stat().st_mode & 0o077 == 0
    assert [file.name for file in ModelScopeHub().listing("maker/Tiny").files] == ["t.gguf"]
    out, err = capfd.readouterr()
    assert "granted" not in out + err


@pytest.mark.parametrize(("name", "hub_name"), [("HF_TOKEN", "huggingface"), ("MODELSCOPE_API_TOKEN", "modelscope")])
def test_a_typed_token_below_one_in_the_environment_is_no_help_and_said_to_be(
    hub: Any, home: Any, monkeypatch: pytest.MonkeyPatch, name: str, hub_name: str
) -> None:
    monkeypatch.setenv(name, "hf_ungranted")
    with pytest.raises(AccessDenied, match=f"{name} is set and stands above"):
        keep_token("hf_granted", hub_name)


def test_asking_from_several_threads_is_safe(hub: Any) -> None:
    hub.add("maker/Tiny", {"t.gguf": GGUF})
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(HuggingFaceHub().listing("maker/Tiny").files)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 8
