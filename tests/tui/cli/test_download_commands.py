"""`download`: whole weights by command, from the loopback hub."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

WEIGHTS = b"GGUF" + bytes(range(256)) * 4_000
VARIANT = ("small-talk", "--size-in-billions", 1, "--model-format", "ggufv2", "--quantization", "Q4_K_M")


@pytest.fixture
def published(hub: Any) -> Any:
    """The loopback hub with the weights of the small model."""
    hub.add("tests/small-talk-GGUF", {"small-talk-Q4_K_M.gguf": WEIGHTS, "README.md": b"# small talk"})
    return hub


def test_download_json_is_the_contract_s_document(modeldeck: Any, spec_file: Path, published: Any) -> None:
    ran = modeldeck("download", *VARIANT, "--specs", spec_file, "--json")
    assert ran.code == 0, ran.err
    done = ran.json
    assert Path(done["path"]).read_bytes() == WEIGHTS
    assert (done["hub"], done["model_id"]) == ("huggingface", "tests/small-talk-GGUF")
    assert done["revision"]
    assert done["total_bytes"] == done["transferred_bytes"] == len(WEIGHTS)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert done["files"] == [{"name": "small-talk-Q4_K_M.gguf", "bytes": len(WEIGHTS), "sha256": digest}]


def test_what_is_here_is_not_transferred_again(modeldeck: Any, spec_file: Path, published: Any) -> None:
    modeldeck("download", *VARIANT, "--specs", spec_file)
    published.forget()
    ran = modeldeck("pull", *VARIANT, "--specs", spec_file, "--json")
    assert ran.json["transferred_bytes"] == 0
    assert published.log("cdn") == []


def test_in_words_only_the_path_goes_to_standard_output(modeldeck: Any, spec_file: Path, published: Any) -> None:
    ran = modeldeck("download", *VARIANT, "--specs", spec_file)
    (path,) = ran.out.splitlines()
    assert Path(path).read_bytes() == WEIGHTS
    assert "downloading 1.02 MB from Hugging Face" in ran.err
    assert "\r" not in ran.err


def test_a_dry_run_says_what_it_would_fetch_and_fetches_nothing(
    modeldeck: Any, spec_file: Path, published: Any, home: Path
) -> None:
    ran = modeldeck("download", *VARIANT, "--specs", spec_file, "--dry-run", "--json")
    assert ran.json["total_bytes"] == ran.json["missing_bytes"] == len(WEIGHTS)
    assert ran.json["transferred_bytes"] == 0
    assert not Path(ran.json["path"]).exists()
    assert "small-talk-Q4_K_M.gguf" in modeldeck("download", *VARIANT, "--specs", spec_file, "--dry-run").out


def test_what_was_downloaded_is_listed_and_judged_as_such(
    modeldeck: Any, spec_file: Path, published: Any, workstation: Path
) -> None:
    modeldeck("download", *VARIANT, "--specs", spec_file)
    listed = modeldeck("list", "--downloaded", "--specs", spec_file, "--json")
    assert [family["name"] for family in listed.json["families"]] == ["small-talk"]
    fit = modeldeck("fit", *VARIANT, "--specs", spec_file, "--machine", workstation, "--json", HF_HUB_OFFLINE="1")
    assert {option["download_bytes"] for option in fit.json["options"]} == {len(WEIGHTS)}


def test_a_repository_that_is_not_there_is_one_line(modeldeck: Any, spec_file: Path, hub: Any) -> None:
    ran = modeldeck("download", *VARIANT, "--specs", spec_file)
    assert ran.code == 1
    assert "tests/small-talk-GGUF" in ran.error_line


def test_a_file_that_is_not_there_says_what_there_is(modeldeck: Any, spec_file: Path, hub: Any) -> None:
    hub.add("tests/small-talk-GGUF", {"small-talk-Q2_K.gguf": b"GGUF", "small-talk-Q3_K.gguf": b"GGUF"})
    ran = modeldeck("download", *VARIANT, "--specs", spec_file)
    assert ran.code == 1
    assert "small-talk-Q2_K.gguf" in ran.error_line


def test_a_gated_repository_names_the_page_where_access_is_asked_for(
    modeldeck: Any, spec_file: Path, published: Any
) -> None:
    published.add("tests/small-talk-GGUF", {"small-talk-Q4_K_M.gguf": WEIGHTS}, gated="manual")
    ran = modeldeck("download", *VARIANT, "--specs", spec_file)
    assert ran.code == 1
    line = ran.err.splitlines()[-1]
    assert "gated" in line
    assert f"{published.url}/tests/small-talk-GGUF" in line
    assert "HF_TOKEN" in line


def test_a_private_repository_says_how_to_give_a_token(modeldeck: Any, spec_file: Path, published: Any) -> None:
    published.add("tests/small-talk-GGUF", {}, private=True)
    ran = modeldeck("download", *VARIANT, "--specs", spec_file)
    assert ran.code == 1
    assert "private" in ran.error_line
    assert "HF_TOKEN" in ran.error_line


def test_a_hub_that_does_not_carry_it_is_named(modeldeck: Any, spec_file: Path) -> None:
    ran = modeldeck("download", *VARIANT, "--specs", spec_file, "--hub", "modelscope")
    assert ran.code == 1
    assert "modelscope" in ran.error_line.lower()
