"""Downloads from a loopback Hugging Face, with the library's own client as the witness."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from backends import downloads
from backends.errors import AccessDenied, HubUnreachable, NotFound
from backends.hubs import registry
from backends.hubs.token import keep_token
from tests.backends.downloads.conftest import REPO
from tests.backends.downloads.conftest import make_variant as variant

GGUF = os.urandom(3_000_000)


def bodies(hub: Any) -> list[dict[str, Any]]:
    """Requests that brought bytes of files."""
    return [line for line in hub.log() if line["bytes"] and ("/-cdn/" in line["path"] or "/resolve/" in line["path"])]


def real_client(hub: Any, repo: str, name: str) -> str:
    """The path that huggingface_hub gives for a file."""
    from huggingface_hub import hf_hub_download

    return hf_hub_download(repo, name, endpoint=hub.url, cache_dir=Path(os.environ["HF_HOME"]) / "hub", token=False)


def test_a_gguf_file_arrives_whole_and_the_librarys_client_finds_it_without_a_transfer(hub: Any) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF, "tiny-Q8_0.gguf": b"other", "README.md": b"hello"})
    plan = downloads.plan(variant())
    assert [(f.name, f.file_bytes, f.present_bytes) for f in plan.files] == [("tiny-Q4_K_M.gguf", len(GGUF), 0)]
    done = downloads.fetch(plan)
    assert done.path.read_bytes() == GGUF
    assert done.transferred_bytes == len(GGUF)
    assert done.files[0].sha256 == hashlib.sha256(GGUF).hexdigest()
    before = len(bodies(hub))
    assert real_client(hub, REPO, "tiny-Q4_K_M.gguf") == str(done.path)
    assert len(bodies(hub)) == before


def test_a_second_start_transfers_nothing_and_needs_no_network(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    downloads.fetch(downloads.plan(variant()))
    again = downloads.fetch(downloads.plan(variant()))
    assert again.transferred_bytes == 0
    hub.forget()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert downloads.fetch(downloads.plan(variant())).transferred_bytes == 0
    assert hub.log() == []
    assert downloads.local_weights(variant()) == again.path


@pytest.mark.parametrize("hub_name", ["huggingface", "modelscope"])
def test_offline_without_weights_is_one_clear_line(hub: Any, monkeypatch: pytest.MonkeyPatch, hub_name: str) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    known = downloads.plan(variant(hubs=(hub_name,)))
    hub.forget()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = registry.hub(hub_name)
    for ask in (
        lambda: downloads.fetch(known),
        lambda: asked.listing("maker/Another-GGUF"),
        lambda: asked.read_range(REPO, known.revision, "tiny-Q4_K_M.gguf", 0, 8),
        lambda: asked.search("tiny"),
        lambda: keep_token("hf_granted", hub_name),
    ):
        with pytest.raises(HubUnreachable, match="offline mode is on"):
            ask()
    assert hub.log() == []


def test_a_repository_brings_safetensors_configuration_and_tokenizer_and_never_pickles_or_code(hub: Any) -> None:
    wanted = {
        "model-00001-of-00002.safetensors": os.urandom(200_000),
        "model-00002-of-00002.safetensors": os.urandom(100_000),
        "model.safetensors.index.json": b'{"weight_map": {"a": "model-00001-of-00002.safetensors",'
        b' "b": "model-00002-of-00002.safetensors"}}',
        "config.json": b"{}",
        "generation_config.json": b"{}",
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}",
        "chat_template.jinja": b"{{ messages }}",
    }
    unwanted = {
        "pytorch_model.bin": b"pickle",
        "modeling_tiny.py": b"import os",
        "original/consolidated.00.pth": b"pickle",
        "consolidated.safetensors": b"copy",
        "onnx/model.onnx": b"onnx",
        "README.md": b"words",
    }
    hub.add("maker/Tiny", {**wanted, **unwanted})
    one = variant("none", model_format="pytorch", repo="maker/Tiny", file=None)
    assert downloads.local_weights(one) is None
    done = downloads.fetch(downloads.plan(one))
    assert {file.name for file in done.files} == set(wanted)
    assert {p.name for p in done.path.iterdir()} == set(wanted)
    assert downloads.local_weights(one) == done.path
    (done.path / "model-00002-of-00002.safetensors").unlink()
    assert downloads.local_weights(one) is None


def test_progress_ends_whole_and_bytes_never_go_back(hub: Any) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    seen: list[downloads.Progress] = []
    downloads.fetch(downloads.plan(variant()), seen.append)
    counts = [progress.done_bytes for progress in seen]
    assert counts == sorted(counts)
    assert (seen[-1].state, seen[-1].done_bytes) == ("done", len(GGUF))


@pytest.mark.parametrize(
    ("hub_name", "variable"), [("huggingface", "HF_TOKEN"), ("modelscope", "MODELSCOPE_API_TOKEN")]
)
def test_the_token_goes_to_the_hub_and_not_to_its_storage(
    hub: Any, monkeypatch: pytest.MonkeyPatch, hub_name: str, variable: str
) -> None:
    if hub_name == "modelscope":
        pytest.importorskip("modelscope_hub")
    monkeypatch.setenv(variable, "hf_granted")
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF}, gated="manual")
    downloads.fetch(downloads.plan(variant(hubs=(hub_name,))))
    seen = {("/-cdn/" in line["path"], line["auth"]) for line in hub.log()}
    # ModelScope's client asks for some things of the hub without saying who asks.
    anonymous = {(False, "none")} if hub_name == "modelscope" else set()
    assert seen - anonymous == {(False, "alice"), (True, "none")}


@pytest.mark.parametrize(
    ("token", "meta", "kind", "words"),
    [
        (None, {"gated": "manual"}, AccessDenied, "accept its licence at http"),
        ("hf_ungranted", {"gated": "manual"}, AccessDenied, "not on its list"),
        ("nonsense", {}, AccessDenied, "does not take the token from HF_TOKEN"),
        (None, {"private": True}, NotFound, "or it is private"),
    ],
)
def test_a_refusal_says_what_it_is_and_what_to_do(
    hub: Any, monkeypatch: pytest.MonkeyPatch, token: str | None, meta: dict[str, Any], kind: type, words: str
) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF}, **meta)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(kind, match=words) as caught:
        downloads.fetch(downloads.plan(variant()))
    assert "\n" not in str(caught.value)
    assert "nonsense" not in str(caught.value)
