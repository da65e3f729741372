"""`download`: whole weights by command, from the loopback hub."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pexpect
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


RESOLVE = "/resolve/"


def test_in_a_log_each_wait_is_one_line_that_says_why(modeldeck: Any, spec_file: Path, published: Any) -> None:
    published.fault(match=RESOLVE, kind="status", status=429, retry_after=3, times=1)
    ran = modeldeck("download", *VARIANT, "--specs", spec_file)
    assert ran.code == 0
    (line,) = (line for line in ran.err.splitlines() if "next try" in line)
    assert "next try in 3 s: " in line
    assert "takes no more requests from here just now" in line


def test_at_a_terminal_a_wait_is_counted_down_and_enter_ends_it(spec_file: Path, published: Any) -> None:
    published.fault(match=RESOLVE, kind="status", status=503, retry_after=600, times=1)
    command = ["-m", "tui", "download", *map(str, VARIANT), "--specs", str(spec_file)]
    child = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=30, dimensions=(24, 120))
    child.expect(r"has trouble of its own \(503\)\r")
    child.expect("next try in 10 min 00 s, enter tries now ")
    child.expect("next try in 9 min 59 s")
    child.send("x")  # only enter does
    child.expect("next try in 9 min 57 s")
    child.send("\r")
    child.expect("whole, 1.02 MB transferred")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_ctrl_c_is_heard_in_the_midst_of_a_wait(spec_file: Path, published: Any) -> None:
    published.fault(match=RESOLVE, kind="status", status=503, retry_after=600)
    command = ["-m", "tui", "download", *map(str, VARIANT), "--specs", str(spec_file)]
    child = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=30, dimensions=(24, 120))
    child.expect("next try in ")
    child.sendintr()
    child.expect("the same command goes on from it")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
