"""The app in real pseudo-terminals: what a start must not touch, and terminals that can less than usual."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from ttybench import TtySession

ROOT = Path(__file__).resolve().parents[2]
WATCHED = """
import json, os, sys
ENGINES = {"llama_cpp", "torch", "transformers", "mlx", "mlx_lm", "vllm", "sglang", "openai", "huggingface_hub",
           "modelscope_hub", "modelscope"}
log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def hook(event, args):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind"}:
        os.write(log, (json.dumps([event, repr(args[-1])]) + "\\n").encode())
    elif event == "import" and args[0].partition(".")[0] in ENGINES:
        os.write(log, (json.dumps([event, args[0]]) + "\\n").encode())

sys.addaudithook(hook)
"""


def app(home: Path, columns: int = 100, rows: int = 30, **environment: str) -> TtySession:
    home.mkdir(exist_ok=True)
    (home / "tour-was-shown").touch()
    base = {**os.environ, "MODELDECK_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9"}
    base |= {"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    return TtySession([sys.executable, "-m", "tui"], columns, rows, env=base | environment)


def test_no_network_and_no_engine_is_touched_by_a_start(tmp_path: Path) -> None:
    """Neither before the first key nor while the catalog is judged after it."""
    (tmp_path / "sitecustomize.py").write_text(WATCHED)
    log = tmp_path / "audit"
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    with app(tmp_path / "home", PYTHONPATH=path, AUDIT_LOG=str(log)) as session:
        session.send(b"/")  # before there is anybody to read it
        assert session.wait_for("/ [▏_]", 30) is not None, session.dump_text()
        assert log.read_text() == ""
        assert session.wait_for("[●◐○✕] [a-z]", 30) is not None, session.dump_text()
    assert [json.loads(line) for line in log.read_text().splitlines()] == []


def colours(session: TtySession) -> set[str]:
    """Every colour that stands on the screen."""
    screen = session.emu.screen
    cells = [screen.buffer[y][x] for y in range(session.rows) for x in range(session.cols)]
    return {cell.fg for cell in cells} | {cell.bg for cell in cells}


def is_grey(colour: str) -> bool:
    return colour == "default" or (
        re.fullmatch("[0-9a-f]{6}", colour) is not None and len({*re.findall("..", colour)}) == 1
    )


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_no_color_is_obeyed_and_every_verdict_is_a_sign(tmp_path: Path, size: tuple[int, int]) -> None:
    with app(tmp_path / "home", *size) as session:
        assert session.wait_for("[●◐○✕] [a-z]", 30) is not None
        assert not all(is_grey(colour) for colour in colours(session))
    session = TtySession(
        ["/usr/bin/env", "NO_COLOR=1", sys.executable, "-m", "tui"],
        *size,
        env={"MODELDECK_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
    )
    with session:
        assert session.wait_for("[●◐○✕] [a-z]", 30) is not None, session.dump_text()
        session.quiesce(0.5, 10)
        for keys in (b"\r", b"\x1b", b"\x1bOQ", b"\x1b[17~", b"\x1b[18~"):  # matrix, list, downloads, chat
            session.send(keys)
            session.quiesce(0.3, 10)
            assert all(is_grey(colour) for colour in colours(session)), colours(session)


def test_a_terminal_of_ascii_gets_ascii_on_every_screen(tmp_path: Path) -> None:
    places = {"f5": b"\x1b[15~", "enter": b"\r", "f6": b"\x1b[17~", "f9": b"\x1b[20~", "f7": b"\x1b[18~"}
    with app(tmp_path / "home", 80, 24, LANG="C", LC_ALL="C") as session:
        assert session.wait_for("[#+ox] [a-z]", 30) is not None, session.dump_text()
        foreign: list[str] = []
        for key in (places["f5"], b"?", b"\x1b", *places.values()):
            session.send(key)
            session.pump(0.2)
            session.quiesce(0.4, 10)
            shown = session.dump_text()
            foreign += [line for line in shown.splitlines() if not line.isascii()]
        assert not foreign, "\n".join(foreign)


def test_a_dumb_terminal_gets_lines_and_no_escape_sequence(tmp_path: Path) -> None:
    with app(tmp_path / "home", TERM="dumb") as session:
        session.keep_raw = True
        session.pump(3.0)
        written = b"".join(piece for _, piece in session.raw)
    assert b"\x1b" not in written
    assert b"modeldeck list" in written


@pytest.mark.parametrize("calm", [False, True])
def test_the_window_gets_its_own_title_back(tmp_path: Path, calm: bool) -> None:
    with app(tmp_path / "home", MODELDECK_LOW_BANDWIDTH=str(calm).lower()) as session:
        session.keep_raw = True
        assert session.wait_for("[●◐○✕] [a-z]", 30) is not None, session.dump_text()
        session.send(b"\x11")
        session.pump(1.5)
        written = b"".join(piece for _, piece in session.raw)
    told = re.findall(rb"\x1b\]2;[^\x1b]*|\x1b\[2[23];2t", written)
    assert told == ([] if calm else [b"\x1b[22;2t", b"\x1b]2;modeldeck", b"\x1b[23;2t"])
