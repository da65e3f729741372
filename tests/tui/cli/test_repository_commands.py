"""`search`, `specs from`, and a repository's name where a family's would stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

REPOSITORY = "maker/Tiny-1B-Instruct-GGUF"
WEIGHTS = b"GGUF" + bytes(range(256)) * 4_000


@pytest.fixture
def published(hub: Any) -> Any:
    """The loopback hub with a repository that no spec file names."""
    hub.add(REPOSITORY, {"Tiny-1B-Instruct-Q4_K_M.gguf": WEIGHTS, "Tiny-1B-Instruct-Q8_0.gguf": WEIGHTS * 2})
    return hub


def test_a_search_asks_the_hub_and_prints_what_it_says(modeldeck: Any, published: Any) -> None:
    found = modeldeck("search", "tiny", "--hub", "huggingface", "--json").json
    assert [hit["model_id"] for hit in found["repositories"]] == [REPOSITORY]
    assert set(found["repositories"][0]) == {"hub", "model_id", "downloads", "likes", "gated", "tags"}
    assert REPOSITORY in modeldeck("search", "tiny", "--hub", "huggingface").out


def test_a_search_where_no_hub_answers_is_one_line(modeldeck: Any) -> None:
    ran = modeldeck("search", "tiny")
    assert ran.code == 1
    assert "huggingface" in ran.error_line


def test_a_repository_is_judged_without_a_spec_file(modeldeck: Any, published: Any, workstation: Path) -> None:
    told = modeldeck("specs", "from", REPOSITORY, "--machine", workstation, "--json").json
    assert told["kept"] is None
    assert told["family"]["name"] == "tiny-1b-instruct-gguf"
    by_quantization = {option["quantization"]: option for option in told["options"]}
    assert by_quantization["Q8_0"]["download_bytes"] == 2 * len(WEIGHTS)
    assert by_quantization["Q4_K_M"]["verdict"] == "gpu"
    words = modeldeck("specs", "from", REPOSITORY, "--machine", workstation)
    assert "Q4_K_M" in words.out
    assert "--keep" in words.err


def test_a_kept_repository_is_a_family_of_the_catalog(modeldeck: Any, published: Any, home: Path) -> None:
    kept = modeldeck("specs", "from", REPOSITORY, "--keep", "--name", "tiny", "--json").json["kept"]
    assert Path(kept).parent == home / "specs"
    published.close()
    assert modeldeck("show", "tiny", "--json").json["specs"][0]["quantizations"] == ["Q4_K_M", "Q8_0"]
    assert modeldeck("show", REPOSITORY, "--json").json["name"] == "tiny"


def test_a_kept_repository_takes_no_other_family_s_place(modeldeck: Any, hub: Any) -> None:
    hub.add("maker/gpt-2", {"gpt-2-Q8_0.gguf": WEIGHTS})
    ran = modeldeck("specs", "from", "maker/gpt-2", "--keep", "--json")
    assert ran.json["family"]["name"] == "maker-gpt-2"
    assert "--name calls it otherwise" in ran.err


def test_a_repository_s_name_stands_where_a_family_s_would(modeldeck: Any, published: Any, workstation: Path) -> None:
    assert modeldeck("show", REPOSITORY, "--json").json["source"] == f"huggingface:{REPOSITORY}"
    fit = modeldeck("fit", REPOSITORY, "--quantization", "q8_0", "--machine", workstation, "--json").json
    assert {option["model_id"] for option in fit["options"]} == {REPOSITORY}
    done = modeldeck("download", REPOSITORY, "--quantization", "Q4_K_M", "--json").json
    assert Path(done["path"]).read_bytes() == WEIGHTS


def test_what_a_hub_said_once_serves_where_it_does_not_answer(modeldeck: Any, published: Any) -> None:
    modeldeck("download", REPOSITORY, "--quantization", "Q4_K_M")
    published.close()
    ran = modeldeck("download", REPOSITORY, "--quantization", "Q4_K_M", "--json", HF_HUB_OFFLINE="1")
    assert ran.code == 0, ran.err
    assert ran.json["transferred_bytes"] == 0
    assert "as it was when huggingface last answered" in ran.err


@pytest.mark.parametrize("name", ["no/such-repository", "a/b/c", "../etc", "no/../such"])
def test_a_name_that_is_nowhere_is_one_line(modeldeck: Any, published: Any, name: str) -> None:
    ran = modeldeck("show", name)
    assert ran.code == 1
    assert ran.error_line


def test_flags_of_specs_from_are_refused_elsewhere(modeldeck: Any, spec_file: Path) -> None:
    ran = modeldeck("specs", "check", spec_file, "--keep")
    assert ran.code == 2
    assert "--keep" in ran.err
    assert modeldeck("specs", "from", "a/b", "c/d").code == 2


def test_specs_check_has_a_document_too(modeldeck: Any, spec_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("name = ")
    ran = modeldeck("specs", "check", spec_file, bad, "--json")
    assert ran.code == 1
    assert ran.json["files"] == [{"path": str(spec_file), "families": ["small-talk"]}]
    assert "bad.toml:1" in ran.json["problems"][0]
