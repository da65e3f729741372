"""Commands on a real pseudo-terminal: tables that fit, a bar that moves, questions, ctrl+c."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = b"GGUF" + bytes(4_000_000)
VARIANT = ("--size-in-billions", "1", "--model-format", "ggufv2", "--quantization", "Q4_K_M")


@pytest.fixture
def terminal() -> Callable[..., pexpect.spawn]:
    """Start modeldeck on a terminal of so many columns."""

    def start(*arguments: object, columns: int = 80, **environment: str) -> pexpect.spawn:
        clean = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        return pexpect.spawn(
            sys.executable,
            ["-m", "tui", *map(str, arguments)],
            cwd=str(ROOT),
            dimensions=(24, columns),
            encoding="utf-8",
            timeout=60,
            env={**clean, "TERM": "xterm-256color", **environment},
        )

    return start


@pytest.fixture
def published(hub: Any) -> Any:
    """The loopback hub with some megabytes."""
    hub.add("tests/small-talk-GGUF", {"small-talk-Q4_K_M.gguf": WEIGHTS})
    return hub


def screen(ran: pexpect.spawn) -> list[str]:
    """Lines as they were printed, without bold."""
    ran.expect(pexpect.EOF)
    ran.close()
    return re.sub(r"\x1b\[\d*m", "", ran.before).replace("\r", "").rstrip("\n").split("\n")


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", [("list",), ("show", "llama-3-instruct"), ("fit", "llama-3-instruct")])
def test_tables_fit_the_terminal(terminal: Any, command: tuple[str, ...], columns: int) -> None:
    lines = screen(terminal(*command, columns=columns, HF_HUB_OFFLINE="1"))
    body = lines[next(at for at, line in enumerate(lines) if line.lstrip().startswith(("NAME", "SIZE"))) :]
    assert len(body) > 5
    assert max(len(line) for line in body if not line.startswith("* ")) <= columns


def test_no_word_is_broken_where_the_terminal_is_narrow(terminal: Any) -> None:
    lines = screen(terminal("show", "gemma-3-it", columns=44))
    words = " ".join(lines).split()
    assert max(len(line) for line in lines) <= 44
    assert {"Transformers,", "QUANTIZATIONS", "tokens."} <= set(words)


@pytest.mark.parametrize("columns", [60, 80])
def test_long_lines_of_hardware_go_on_between_words(terminal: Any, columns: int) -> None:
    lines = screen(terminal("hardware", "--machine", "RTX 3090 + RTX 4060", columns=columns))
    card = next(at for at, line in enumerate(lines) if line.startswith("cuda 0"))
    assert max(len(line) for line in lines if not line.startswith("64 GB of host memory")) <= columns
    assert lines[card].endswith((",", "compute", "capability"))
    assert lines[card + 1].startswith(" " * len("system  "))


@pytest.mark.parametrize(("columns", "has_room"), [(80, False), (120, True)])
def test_a_column_that_is_spoken_of_stands_there(terminal: Any, columns: int, has_room: bool) -> None:
    lines = screen(terminal("fit", "llama-3-instruct", columns=columns, HF_HUB_OFFLINE="1"))
    assert any(line.startswith("at a context of") for line in lines)
    head = next(line for line in lines if line.startswith("SIZE"))
    assert ("CONTEXT" in head) == any("CONTEXT is how far it goes" in line for line in lines) == has_room


def test_no_color_leaves_no_escape_sequence(terminal: Any) -> None:
    ran = terminal("list", "llama", NO_COLOR="1")
    ran.expect(pexpect.EOF)
    assert "\x1b" not in ran.before


def test_a_dumb_terminal_gets_plain_lines(terminal: Any) -> None:
    ran = terminal("list", "llama", TERM="dumb", columns=40)
    ran.expect(pexpect.EOF)
    assert "\x1b" not in ran.before


def test_a_download_draws_a_bar_and_leaves_the_path(terminal: Any, spec_file: Path, published: Any) -> None:
    published.fault(kind="slow", bps=4_000_000)
    ran = terminal("download", "small-talk", *VARIANT, "--specs", spec_file)
    ran.expect(r"▕█+.*▏ +\d+%  [\d.]+ [kM]B of 4\.00 MB")
    lines = screen(ran)
    assert ran.exitstatus == 0
    assert lines[-1].endswith("small-talk-Q4_K_M.gguf")


def test_ctrl_c_ends_a_download_with_130_and_the_next_one_goes_on_from_there(
    terminal: Any, modeldeck: Any, spec_file: Path, published: Any
) -> None:
    published.fault(kind="hang", after=2_000_000, seconds=60)
    ran = terminal("download", "small-talk", *VARIANT, "--specs", spec_file)
    ran.expect(r"[1-9]\d%")
    ran.sendintr()
    assert any("the same command goes on from it" in line for line in screen(ran))
    assert ran.exitstatus == 130
    published.calm()
    done = modeldeck("download", "small-talk", *VARIANT, "--specs", spec_file, "--json").json
    assert done["total_bytes"] == len(WEIGHTS)
    assert 0 < done["transferred_bytes"] < len(WEIGHTS)


def test_launch_asks_before_it_downloads(terminal: Any, spec_file: Path, published: Any) -> None:
    ran = terminal("launch", "--model-name", "small-talk", *VARIANT, "--specs", spec_file, "--prompt", "hi")
    ran.expect(r"download 4\.00 MB from Hugging Face \(tests/small-talk-GGUF\)\? \[y/N\] ")
    ran.sendline("n")
    assert "nothing was downloaded" in screen(ran)[-1]
    assert ran.exitstatus == 1
    assert published.log("-cdn") == []
