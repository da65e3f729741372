"""`library`: what lies on this disk, by command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf_writer
import pytest

WEIGHTS = b"GGUF" + bytes(range(256)) * 4_000
KEY = "small-talk/1B/ggufv2/Q4_K_M/tests/small-talk-GGUF"


@pytest.fixture
def library(modeldeck: Any, tmp_path: Path, spec_file: Path) -> Callable[..., Any]:
    """Run library on a disk that no other program has put anything on."""
    empty = tmp_path / "nobody"
    empty.mkdir()
    other = {"HOME": str(empty), "XDG_CACHE_HOME": str(empty / "cache"), "OLLAMA_MODELS": str(empty / "ollama")}
    return partial(modeldeck, "library", "--specs", spec_file, **other)


@pytest.fixture
def downloaded(modeldeck: Any, hub: Any, spec_file: Path) -> Path:
    """The weights of the small model, downloaded."""
    hub.add("tests/small-talk-GGUF", {"small-talk-Q4_K_M.gguf": WEIGHTS})
    variant = ("--size-in-billions", 1, "--model-format", "ggufv2", "--quantization", "Q4_K_M")
    return Path(modeldeck("download", "small-talk", *variant, "--specs", spec_file, "--json").json["path"])


@pytest.fixture
def own_gguf(tmp_path: Path) -> Path:
    """A whole little GGUF file in a folder of the user's own."""
    folder = tmp_path / "models"
    folder.mkdir()
    metadata = {"general.architecture": "llama", "llama.context_length": 2048, "tokenizer.chat_template": "{{ x }}"}
    return gguf_writer.write(folder / "My-1B-Q8_0.gguf", metadata, [("token_embd.weight", (64, 32), 8, 2176)])


def test_an_empty_disk_is_an_empty_document(library: Any) -> None:
    found = library("--json").json
    assert (found["entries"], found["duplicates"], found["total_bytes"]) == ([], [], 0)


def test_library_shows_what_is_here_where_and_whose_it_is(library: Any, downloaded: Path) -> None:
    (entry,) = library("--json").json["entries"]
    assert (entry["variants"], entry["matched_by"], entry["whole"]) == ([KEY], "sum", True)
    assert (entry["path"], entry["total_bytes"]) == (str(downloaded), len(WEIGHTS))
    assert entry["owner"] == "Hugging Face cache"
    assert entry["files"][0]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    words = library()
    assert KEY in words.out
    assert str(downloaded) in words.out
    assert "1.02 MB in all" in words.err


def test_folders_of_the_settings_are_looked_through(library: Any, own_gguf: Path) -> None:
    (entry,) = library("--json", MODELDECK_LIBRARY_FOLDERS=str(own_gguf.parent)).json["entries"]
    assert (entry["owner"], entry["path"], entry["variants"]) == ("your folder", str(own_gguf), [])


def test_a_file_in_such_a_folder_is_the_variant_that_it_is_called_as(
    library: Any, modeldeck: Any, own_gguf: Path, spec_file: Path
) -> None:
    named = own_gguf.rename(own_gguf.with_name("small-talk-Q8_0.gguf"))
    folder = {"MODELDECK_LIBRARY_FOLDERS": str(named.parent)}
    listed = modeldeck("list", "--downloaded", "--specs", spec_file, "--json", **folder)
    assert [family["name"] for family in listed.json["families"]] == ["small-talk"]
    (entry,) = library("--json", **folder).json["entries"]
    assert entry["variants"] == [KEY.replace("Q4_K_M", "Q8_0")]


def test_a_damaged_byte_is_found_and_is_exit_code_1(library: Any, downloaded: Path) -> None:
    right = library("verify")
    assert (right.code, right.out) == (0, f"{KEY}: every sum is right\n")
    blob = downloaded.resolve()
    blob.write_bytes(WEIGHTS[:-1] + b"\0")
    wrong = library("verify", KEY, "--json")
    assert wrong.code == 1
    (result,) = wrong.json["verified"]
    assert (result["sound"], result["right"]) == (False, [])
    assert "sum is wrong" in result["wrong"][0]


def test_nothing_is_removed_unasked(library: Any, downloaded: Path) -> None:
    ran = library("remove", "small-talk")
    assert (ran.code, ran.out) == (1, "")
    assert "lies in Hugging Face cache" in ran.err
    assert f"goes: {downloaded}" in ran.err
    assert "frees 1.02 MB" in ran.err
    assert ran.err.splitlines()[-1].endswith("nothing was removed; --yes removes without asking")
    assert downloaded.exists()


def test_a_dry_run_says_what_would_be_freed(library: Any, downloaded: Path) -> None:
    plan = library("remove", KEY, "--dry-run", "--json").json
    assert (plan["removed"], plan["freed_bytes"], plan["foreign"]) == (False, len(WEIGHTS), False)
    assert str(downloaded) in plan["paths"]
    assert downloaded.exists()


def test_removing_frees_the_bytes_and_says_how_many(library: Any, downloaded: Path) -> None:
    done = library("remove", KEY, "--yes", "--json")
    assert (done.json["removed"], done.json["freed_bytes"]) == (True, len(WEIGHTS))
    assert not downloaded.exists()
    assert library("--json").json["entries"] == []


def test_an_adopted_file_becomes_a_family_that_can_be_judged(
    library: Any, modeldeck: Any, own_gguf: Path, workstation: Path
) -> None:
    (adopted,) = library("adopt", own_gguf, "--json").json["adopted"]
    assert adopted["path"] == str(own_gguf)
    assert Path(adopted["spec_file"]).exists()
    (option, *_) = modeldeck("fit", "my-1b-q8_0", "--machine", workstation, "--json").json["options"]
    assert (option["name"], option["quantization"]) == ("my-1b-q8_0", "Q8_0")
    (entry,) = library("--json").json["entries"]
    assert (entry["owner"], entry["variants"]) == ("adopted", [adopted["variant"]])


def test_an_adopted_file_outlives_its_removal_from_the_library(library: Any, own_gguf: Path) -> None:
    (adopted,) = library("adopt", own_gguf, "--json").json["adopted"]
    done = library("remove", adopted["variant"], "--yes", "--json").json
    assert done["freed_bytes"] == 0
    assert own_gguf.exists()
    assert not Path(adopted["spec_file"]).exists()
    assert library("--json").json["entries"] == []


def test_adopting_a_folder_takes_every_model_in_it_and_no_other_family_s_name(library: Any, own_gguf: Path) -> None:
    (own_gguf.parent / "small-talk.gguf").write_bytes(own_gguf.read_bytes())
    adopted = library("adopt", own_gguf.parent, "--json").json["adopted"]
    assert [one["variant"].split("/")[0] for one in adopted] == ["my-1b-q8_0", "small-talk-2"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("remove",), 2, "what modeldeck library calls it"),
        (("adopt",), 2, "a GGUF file or a folder"),
        (("remove", "nothing"), 1, "nothing on this disk is called 'nothing'"),
        (("adopt", "/nowhere/at.gguf"), 1, "/nowhere/at.gguf"),
        (("verify", "--dry-run"), 2, "--dry-run goes with remove"),
    ],
)
def test_mistakes_are_one_line(library: Any, arguments: tuple[str, ...], code: int, says: str) -> None:
    ran = library(*arguments)
    assert ran.code == code
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_a_file_on_this_disk_is_judged_by_its_path(library: Any, modeldeck: Any, own_gguf: Path) -> None:
    found = modeldeck("fit", own_gguf, "--json")
    assert {option["quantization"] for option in found.json["options"]} == {"Q8_0"}
    assert modeldeck("list", "my-1b", "--json").json["families"] == []


def test_a_file_that_is_cut_off_is_said_to_be_by_its_path(modeldeck: Any, own_gguf: Path) -> None:
    own_gguf.write_bytes(own_gguf.read_bytes()[:-1000])
    line = modeldeck("fit", own_gguf).error_line
    assert "is cut off: 1,000 of" in line
    assert line.endswith("fetch it again from where it came")


def test_weights_that_were_cut_off_after_they_were_adopted_are_named_with_the_cure(
    library: Any, modeldeck: Any, own_gguf: Path
) -> None:
    (adopted,) = library("adopt", own_gguf, "--json").json["adopted"]
    own_gguf.write_bytes(own_gguf.read_bytes()[:-1000])
    name, key = adopted["variant"].split("/")[0], adopted["variant"]
    said = modeldeck("fit", name).err
    assert "My-1B-Q8_0.gguf is cut off: 1,000 of" in said
    assert f"modeldeck library remove {key}" in said
    pytest.importorskip("llama_cpp")
    refused = modeldeck("launch", "--model-name", name, "--model-engine", "llama.cpp", "--prompt", "x", "--force")
    assert refused.code == 1
    assert f"modeldeck library verify {key}" in refused.error_line
