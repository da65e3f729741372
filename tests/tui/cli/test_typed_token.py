"""A token that is typed at the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.backends.downloads.conftest import REPO

TOKEN = "hf_granted"
SPEC = f"""
name = "tiny"
context_length = 2048
languages = ["en"]
abilities = ["chat"]

[[models]]
size_in_billions = 1

[[models.specs]]
format = "ggufv2"
quantizations = ["Q4_K_M"]

[models.specs.hubs.huggingface]
id = "{REPO}"
file = "tiny-{{quantization}}.gguf"
"""


@pytest.fixture
def command(hub: Any, tmp_path: Path) -> list[str]:
    """A download of a gated repository."""
    hub.add(REPO, {"tiny-Q4_K_M.gguf": b"GGUF" * 1000}, gated="auto")
    spec = tmp_path / "tiny.toml"
    spec.write_text(SPEC)
    variant = ["--size-in-billions", "1", "--model-format", "ggufv2", "--quantization", "Q4_K_M"]
    return [sys.executable, "-m", "tui", "--specs", str(spec), "download", "tiny", *variant]


def test_a_refused_download_takes_a_token_at_a_terminal_and_goes_on(command: list[str], hub: Any, home: Path) -> None:
    child = pexpect.spawn(command[0], command[1:], encoding="utf-8", timeout=30, env=os.environ.copy())
    child.expect("not shown")
    said = child.before or ""
    child.sendline(TOKEN)
    child.expect(pexpect.EOF)
    child.close()
    said += child.before or ""
    assert child.exitstatus == 0
    assert "alice" in said
    assert TOKEN not in said
    holding = {one.name for one in home.rglob("*") if one.is_file() and TOKEN.encode() in one.read_bytes()}
    assert holding == {"token", "stored_tokens"}
    assert {line["auth"] for line in hub.log("-cdn")} == {"none"}
    store = Path(os.environ["HF_HOME"]) / "token"
    assert (store.read_text(), store.stat().st_mode & 0o777) == (TOKEN, 0o600)


def test_no_terminal_is_never_asked(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "gated" in done.stderr
    assert "not shown" not in done.stderr


def test_json_is_never_asked(command: list[str]) -> None:
    child = pexpect.spawn(command[0], [*command[1:], "--json"], encoding="utf-8", timeout=30, env=os.environ.copy())
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert "gated" in (child.before or "")
