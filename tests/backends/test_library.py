"""The library: what lies on this disk, whose it is, and what removing it would free."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_writer
import pytest

from backends import adoption, downloads, library, records
from backends.errors import BackendError, BadWeights, NotFound
from backends.hubs import environment
from specs.catalog import read_spec_file
from tests.backends.downloads.conftest import REPO, make_variant

GGUF = os.urandom(1_500_000)


@pytest.fixture(autouse=True)
def nobody_elses_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The other programs' folders below a temporary home."""
    folder = tmp_path / "user"
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("OLLAMA_MODELS", str(folder / ".ollama" / "models"))
    monkeypatch.setenv("LLAMA_CACHE", str(folder / "llama"))
    return folder


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def ollama(folder: Path, name: str, content: bytes, *more: bytes) -> str:
    """A model as Ollama stores it; more are further layers."""
    base = folder / ".ollama" / "models"
    layers = []
    for kind, layer in [("model", content), *(("template", text) for text in more)]:
        digest = hashlib.sha256(layer).hexdigest()
        put(base / "blobs" / f"sha256-{digest}", layer)
        layers.append(
            {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}", "size": len(layer)}
        )
    model, _, tag = name.partition(":")
    manifest = base / "manifests" / "registry.ollama.ai" / "library" / model / tag
    put(manifest, json.dumps({"layers": layers}).encode())
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("hub_name", "owner"), [("huggingface", "Hugging Face cache"), ("modelscope", "ModelScope cache")]
)
def test_a_download_is_found_with_its_variant_and_its_sum(hub: Any, hub_name: str, owner: str) -> None:
    if hub_name == "modelscope":
        pytest.importorskip("modelscope_hub")
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    variant = make_variant(hubs=(hub_name,))
    done = downloads.fetch(downloads.plan(variant))
    found = library.scan([variant])
    (entry,) = found.entries
    assert (entry.owner, entry.path, entry.variants, entry.matched_by) == (owner, done.path, (variant.key,), "sum")
    assert entry.files[0].sha256 == hashlib.sha256(GGUF).hexdigest()
    assert found.total_bytes == len(GGUF)
    assert library.find(found, variant.key) == entry


def test_weights_of_other_programs_are_found_under_their_owners_names(nobody_elses_home: Path) -> None:
    home = nobody_elses_home
    put(home / ".lmstudio/models/maker/Tiny-GGUF/tiny-Q4_K_M.gguf", b"GGUF1")
    put(home / "llama/maker_Tiny-GGUF_tiny-Q4_K_M.gguf", b"GGUF2")
    put(home / "mine/deep/other-Q8_0.gguf", b"GGUF3")
    ollama(home, "tiny:1b-q4_K_M", b"GGUF4")
    put(environment.cache_folder().parent.parent / "ms/models/maker--Tiny-GGUF/snapshots/master/t-Q4_0.gguf", b"GGUF5")
    variant = make_variant()
    found = library.scan([variant], [home / "mine"])
    assert {(entry.owner, entry.name) for entry in found.entries} == {
        ("LM Studio", "tiny-Q4_K_M.gguf"),
        ("llama.cpp cache", "maker_Tiny-GGUF_tiny-Q4_K_M.gguf"),
        ("Ollama", "tiny:1b-q4_K_M"),
        ("your folder", "other-Q8_0.gguf"),
        ("ModelScope cache", "t-Q4_0.gguf"),
    }
    matched = {entry.owner for entry in found.entries if entry.variants == (variant.key,)}
    assert matched == {"LM Studio", "llama.cpp cache"}


def test_an_ollama_blob_is_matched_by_its_sum(hub: Any, nobody_elses_home: Path) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    variant = make_variant()
    downloads.plan(variant)
    ollama(nobody_elses_home, "tiny:latest", GGUF)
    (entry,) = library.scan([variant]).entries
    assert (entry.owner, entry.variants, entry.matched_by) == ("Ollama", (variant.key,), "sum")


def test_an_ollama_blob_runs_as_the_variant_that_its_sum_says(hub: Any, nobody_elses_home: Path) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF, "tiny-Q8_0.gguf": GGUF[::-1]})
    variant = make_variant()
    downloads.plan(variant)
    sum_ = ollama(nobody_elses_home, "tiny:latest", GGUF)
    blob = nobody_elses_home / ".ollama/models/blobs" / f"sha256-{sum_}"
    index = downloads.local_index()
    assert (index.path(variant), index.checked(variant)) == (blob, "size")
    assert index.path(make_variant("Q8_0")) is None


def test_llama_cpps_cache_runs_unless_its_size_speaks_against_it(hub: Any, nobody_elses_home: Path) -> None:
    variant = make_variant()
    file = put(nobody_elses_home / "llama" / "maker_Tiny-GGUF_tiny-Q4_K_M.gguf", GGUF)
    assert downloads.local_index().path(variant) == file
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF + b"longer"})
    downloads.plan(variant)
    assert downloads.local_index().path(variant) is None


CONFIG = json.dumps(
    {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 100}
).encode()
TENSORS = os.urandom(300_000)


def torch_variant(repo: str = "maker/Tiny") -> Any:
    return make_variant("none", model_format="pytorch", repo=repo, file=None)


def test_a_plain_folder_of_safetensors_is_matched_by_the_sizes_of_its_files(hub: Any, tmp_path: Path) -> None:
    hub.add("maker/Tiny", {"model.safetensors": TENSORS, "config.json": CONFIG})
    variant = torch_variant()
    downloads.plan(variant)
    folder = put(tmp_path / "mine" / "whatever" / "config.json", CONFIG).parent
    put(folder / "model.safetensors", TENSORS)
    (entry,) = library.scan([variant], [tmp_path / "mine"]).entries
    assert (entry.variants, entry.matched_by) == ((variant.key,), "size")
    assert downloads.local_index([tmp_path / "mine"]).path(variant) == folder
    put(folder / "model.safetensors", TENSORS[:-1])
    assert not library.scan([variant], [tmp_path / "mine"]).entries[0].variants
    assert downloads.local_index([tmp_path / "mine"]).path(variant) is None


def test_a_plain_folder_is_matched_by_name_only_where_its_configuration_agrees(tmp_path: Path) -> None:
    from specs.model import Architecture

    folder = put(tmp_path / "mine" / "Tiny" / "config.json", CONFIG).parent
    put(folder / "model.safetensors", TENSORS)
    for blocks, found in ((2, "name"), (3, None)):
        plain = torch_variant()
        spec = replace(plain.spec, architecture=Architecture(block_count=blocks, embedding_length=64))
        variant = replace(plain, spec=spec, family=replace(plain.family, specs=(spec,)))
        assert library.scan([variant], [tmp_path / "mine"]).entries[0].matched_by == found
        assert downloads.local_index([tmp_path / "mine"]).path(variant) == (folder if found else None)


def test_a_folder_that_fits_two_repositories_runs_as_the_one_it_is_called_by(hub: Any, tmp_path: Path) -> None:
    files = {"model.safetensors": TENSORS, "config.json": CONFIG}
    base, tuned = torch_variant("maker/Tiny"), torch_variant("maker/Tiny-Instruct")
    for variant in (base, tuned):
        hub.add(variant.spec.hubs[0].id, files)
        downloads.plan(variant)
    for name, runs in (("Tiny-Instruct", [tuned]), ("neither", [])):
        folder = tmp_path / name / name
        for file, content in files.items():
            put(folder / file, content)
        index = downloads.local_index([tmp_path / name])
        assert [one for one in (base, tuned) if index.path(one) == folder] == runs


def test_a_blob_without_an_ending_is_adopted_by_what_stands_in_it(gemma_gguf: Path, nobody_elses_home: Path) -> None:
    blob = nobody_elses_home / "blobs" / "sha256-0"
    blob.parent.mkdir(parents=True)
    blob.symlink_to(gemma_gguf)
    family = library.local_family(blob, name="gemma3:270m")
    (variant,) = family.variants()
    assert (variant.quantization, variant.spec.path, family.context_length) == ("Q4_K_M", str(blob), 32768)


def test_the_same_weights_twice_are_shown_with_what_they_waste(hub: Any, nobody_elses_home: Path) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    variant = make_variant()
    downloads.fetch(downloads.plan(variant))
    ollama(nobody_elses_home, "tiny:latest", GGUF)
    (duplicate,) = library.scan([variant]).duplicates
    assert (duplicate.certain, duplicate.wasted_bytes, len(duplicate.paths)) == (True, len(GGUF), 2)


def test_removing_a_download_frees_its_bytes_and_leaves_nothing_behind(hub: Any) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    variant = make_variant()
    downloads.fetch(downloads.plan(variant))
    plan = library.plan_removal(library.scan([variant]).entries[0])
    assert (plan.foreign, plan.freed_bytes) == (False, len(GGUF))
    assert library.remove(plan) == len(GGUF)
    assert downloads.local_weights(variant) is None
    assert records.read(variant.key) is None
    assert not list(environment.cache_folder().glob("models--*"))


def test_a_blob_that_another_revision_needs_stays(hub: Any) -> None:
    folder = hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    downloads.fetch(downloads.plan(make_variant()))
    (folder / "new.txt").write_text("another commit")
    downloads.fetch(downloads.plan(make_variant()))
    first, second = library.scan([]).entries
    plan = library.plan_removal(first)
    assert plan.freed_bytes == 0
    assert "another revision" in plan.kept[0]
    library.remove(plan)
    assert second.path.read_bytes() == GGUF
    assert library.plan_removal(second).freed_bytes == len(GGUF)


def test_removing_an_ollama_model_spares_layers_of_its_others(nobody_elses_home: Path) -> None:
    ollama(nobody_elses_home, "tiny:one", GGUF, b"template")
    ollama(nobody_elses_home, "tiny:two", b"GGUF other", b"template")
    entries = {entry.name: entry for entry in library.scan([]).entries}
    plan = library.plan_removal(entries["tiny:one"])
    assert (plan.owner, plan.foreign, plan.freed_bytes) == ("Ollama", True, len(GGUF))
    library.remove(plan)
    assert [entry.name for entry in library.scan([]).entries] == ["tiny:two"]
    blobs = nobody_elses_home / ".ollama/models/blobs"
    assert len(list(blobs.iterdir())) == 2


@pytest.mark.parametrize("copy", ["mytiny:1b", "bob/tiny:1b"])
def test_removing_a_copy_of_an_ollama_model_leaves_the_model(nobody_elses_home: Path, copy: str) -> None:
    ollama(nobody_elses_home, "tiny:1b", GGUF)
    base = nobody_elses_home / ".ollama/models/manifests/registry.ollama.ai"
    model, _, tag = copy.partition(":")
    there = base / (model if "/" in model else f"library/{model}") / tag
    put(there, (base / "library/tiny/1b").read_bytes())
    found = library.scan()
    plan = library.plan_removal(library.find(found, "tiny:1b"), found.entries)
    assert (plan.paths, plan.freed_bytes) == ((base / "library/tiny/1b",), 0)
    (entry,) = (one for one in found.entries if one.name == copy)
    plan = library.plan_removal(entry, found.entries)
    assert plan.paths == (there,)
    assert library.remove(plan) == 0
    assert [(one.name, one.whole) for one in library.scan().entries] == [("tiny:1b", True)]


def test_while_a_manifest_of_ollama_s_cannot_be_read_no_blob_is_touched(nobody_elses_home: Path) -> None:
    ollama(nobody_elses_home, "tiny:one", GGUF)
    put(nobody_elses_home / ".ollama/models/manifests/registry.ollama.ai/library/tiny/two", b"{ half a fi")
    (entry,) = library.scan().entries
    with pytest.raises(BackendError, match=r"tiny/two cannot be read.*ollama rm tiny:one"):
        library.plan_removal(entry)
    assert entry.path.exists()


def test_a_folder_that_the_user_names_stays_the_program_s_whose_it_is(nobody_elses_home: Path) -> None:
    home = nobody_elses_home
    put(home / ".lmstudio/models/maker/Tiny-GGUF/tiny-Q4_K_M.gguf", GGUF)
    (home / "models").symlink_to(home / ".lmstudio/models")
    found = library.scan([], [home / ".lmstudio", home / "models", home / ".lmstudio/models/maker"])
    (entry,) = found.entries
    plan = library.plan_removal(entry, found.entries)
    assert (plan.owner, plan.foreign) == ("LM Studio", True)


@pytest.mark.parametrize("linker", ["LM Studio", "your folder"])
def test_bytes_that_another_folder_s_link_leads_to_stay(hub: Any, nobody_elses_home: Path, linker: str) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    variant = make_variant()
    done = downloads.fetch(downloads.plan(variant))
    mine = nobody_elses_home / "mine"
    link = (nobody_elses_home / ".lmstudio/models/a/b" if linker == "LM Studio" else mine) / "tiny.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(done.path)
    found = library.scan([variant], [mine])
    (entry,) = (one for one in found.entries if one.owner == "Hugging Face cache")
    with pytest.raises(
        BackendError, match=rf"the bytes of tiny-Q4_K_M.gguf stay: tiny.gguf in {linker} at .* is a link"
    ):
        library.plan_removal(entry, found.entries)
    (theirs,) = (one for one in found.entries if one.owner == linker)
    assert library.remove(library.plan_removal(theirs, found.entries)) == 0
    assert done.path.read_bytes() == GGUF
    found = library.scan([variant], [mine])
    assert library.remove(library.plan_removal(found.entries[0], found.entries)) == len(GGUF)


def test_of_weights_in_parts_every_part_must_be_as_long_as_the_hub_says(hub: Any, nobody_elses_home: Path) -> None:
    names = [f"tiny-Q4_K_M-0000{part}-of-00002.gguf" for part in (1, 2)]
    hub.add(REPO, dict.fromkeys(names, GGUF))
    parts = {"Q4_K_M": ("00001-of-00002", "00002-of-00002")}
    variant = make_variant(split_file="tiny-{quantization}-{part}.gguf", parts=parts)
    downloads.plan(variant)
    mine = nobody_elses_home / "mine"
    first, second = (put(mine / name, GGUF) for name in names)
    assert library.scan([variant], [mine]).entries[0].matched_by == "size"
    assert downloads.local_index([mine]).path(variant) == first
    second.write_bytes(GGUF[:-1])
    assert library.scan([variant], [mine]).entries[0].matched_by != "size"
    assert downloads.local_index([mine]).path(variant) is None


def test_a_configuration_that_two_repositories_share_makes_none_of_them_the_other(hub: Any) -> None:
    pytest.importorskip("modelscope_hub")
    hub.add("maker/Tiny", {"model.safetensors": TENSORS, "config.json": CONFIG})
    hub.add("maker/Tiny-Instruct", {"model.safetensors": TENSORS[::-1], "config.json": CONFIG})
    base, tuned = (
        make_variant("none", model_format="pytorch", repo=repo, file=None, hubs=("modelscope",))
        for repo in ("maker/Tiny", "maker/Tiny-Instruct")
    )
    downloads.plan(tuned)
    downloads.fetch(downloads.plan(base))
    (entry,) = library.scan([base, tuned]).entries
    assert entry.variants == (base.key,)
    assert entry.matched_by == "sum"


def test_a_disk_that_changed_since_the_plan_is_not_touched(nobody_elses_home: Path) -> None:
    file = put(nobody_elses_home / "mine/a-Q8_0.gguf", b"GGUF")
    (entry,) = library.scan([], [nobody_elses_home / "mine"]).entries
    plan = library.plan_removal(entry)
    file.write_bytes(b"GGUF and more")
    with pytest.raises(BackendError, match="has changed meanwhile"):
        library.remove(plan)
    assert file.exists()


def test_verifying_finds_a_damaged_byte(hub: Any) -> None:
    hub.add(REPO, {"tiny-Q4_K_M.gguf": GGUF})
    done = downloads.fetch(downloads.plan(make_variant()))
    entry = library.scan([]).entries[0]
    read: list[int] = []
    assert library.verify(entry, read.append).sound
    assert sum(read) == len(GGUF)
    with done.path.open("r+b") as file:
        file.seek(700_000)
        file.write(b"\0\0\0\0\0\0\0\0")
    assert library.verify(entry).wrong == ("tiny-Q4_K_M.gguf: its sum is wrong; remove it and download it again",)


def test_a_missing_part_is_said(nobody_elses_home: Path) -> None:
    put(nobody_elses_home / "mine/t-Q8_0-00001-of-00003.gguf", b"GGUF")
    put(nobody_elses_home / "mine/t-Q8_0-00003-of-00003.gguf", b"GGUF")
    (entry,) = library.scan([], [nobody_elses_home / "mine"]).entries
    assert entry.problem == "only 2 of 3 parts are here"
    assert not entry.whole


@pytest.mark.weights
def test_adopting_a_file_copies_nothing_and_makes_it_a_family(gemma_gguf: Path, home: Path) -> None:
    family, spec_file = library.adopt(gemma_gguf)
    (spec,) = family.specs
    assert spec.path == str(gemma_gguf)
    assert (spec.format, spec.quantizations) == ("ggufv2", ("Q4_K_M",))
    (again,) = read_spec_file(spec_file)
    assert downloads.local_weights(next(again.variants())) == gemma_gguf
    assert not list(home.rglob("*.gguf"))


@pytest.mark.weights
def test_a_local_file_can_stand_for_a_variant_of_the_catalog(gemma_gguf: Path) -> None:
    variant = make_variant()
    assert library.adopt_as(gemma_gguf, variant) == gemma_gguf
    assert downloads.local_weights(variant) == gemma_gguf
    (entry,) = library.scan([variant]).entries
    plan = library.plan_removal(entry)
    assert (plan.paths, plan.freed_bytes) == ((), 0)
    library.remove(plan)
    assert gemma_gguf.exists()
    assert downloads.local_weights(variant) is None


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model"])
def test_what_is_no_whole_model_is_not_adopted(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadWeights) as caught:
        library.adopt(put(tmp_path / "bad.gguf", content))
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_not_adopted(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        library.adopt(tmp_path / "nothing")


def test_the_library_in_json_keeps_unknown_as_null(nobody_elses_home: Path) -> None:
    put(nobody_elses_home / "mine/other.gguf", b"GGUF3")
    document = library.library_to_json(library.scan([], [nobody_elses_home / "mine"]))
    (entry,) = document["entries"]
    assert (entry["quantization"], entry["hub"], entry["files"][0]["sha256"]) == (None, None, None)
    assert json.loads(json.dumps(document)) == document


PLACES = {
    "LM Studio": ".lmstudio/models/maker/Tiny-GGUF/tiny-Q4_K_M.gguf",
    "llama.cpp cache": "llama/maker_Tiny-GGUF_tiny-Q4_K_M.gguf",
    "your folder": "mine/tiny-Q4_K_M.gguf",
}


@pytest.mark.parametrize("owner", PLACES)
@pytest.mark.parametrize("missing", [1, 20_000])
def test_what_another_program_left_cut_off_does_not_count_as_here(
    nobody_elses_home: Path, owner: str, missing: int
) -> None:
    file = nobody_elses_home / PLACES[owner]
    file.parent.mkdir(parents=True)
    gguf_writer.write(file, {"general.architecture": "llama"}, [("token_embd.weight", (64, 64), 0, 64 * 64 * 4)])
    variant, folders = make_variant(), [nobody_elses_home / "mine"]
    (entry,) = library.scan([variant], folders).entries
    assert entry.whole
    assert downloads.local_index(folders).path(variant) == file
    whole = file.read_bytes()
    file.write_bytes(whole[: max(100, len(whole) - missing)])
    (entry,) = library.scan([variant], folders).entries
    assert re.search(r"tiny-Q4_K_M\.gguf( is cut off|: .* beyond what the file can hold)", entry.problem or "")
    assert downloads.local_index(folders).path(variant) is None
    file.write_bytes(whole)
    assert downloads.local_index(folders).path(variant) == file


def test_a_shard_that_another_program_left_cut_off_does_not_count_as_here(nobody_elses_home: Path) -> None:
    folder = nobody_elses_home / ".lmstudio/models/maker/Tiny-MLX"
    header = json.dumps({"w": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(32)
    put(folder / "config.json", b"{}")
    shard = put(folder / "model.safetensors", whole)
    assert [entry.problem for entry in library.scan([]).entries] == [None]
    shard.write_bytes(whole[:-1])
    (entry,) = library.scan([]).entries
    assert entry.problem == "model.safetensors: it is cut off: 1 byte is missing"


def test_a_size_that_no_name_tells_is_the_header_s_own_count(tmp_path: Path) -> None:
    tensors = [("token_embd.weight", (512, 262_144), 12, 75_497_472), ("blk.0.ffn_up.weight", (512, 2048), 12, 589_824)]
    path = gguf_writer.write(tmp_path / "chat-Q2_K.gguf", {"general.architecture": "llama"}, tensors)
    (spec,) = adoption.local_family(path).specs
    assert (spec.size_in_billions, spec.quantizations) == (0.135, ("Q2_K",))
    named = path.rename(tmp_path / "chat-2B-Q2_K.gguf")
    assert adoption.local_family(named).specs[0].size_in_billions == 2
