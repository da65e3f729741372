"""The user's own editor in the app's place, in a real pseudo-terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ttybench import TtySession, encode_key

ROOT = Path(__file__).parents[2]
EDITOR = """
import pathlib, sys
file = pathlib.Path(sys.argv[-1])
print("this is the editor", flush=True)
sys.stdin.readline()
file.write_text(file.read_text() + 'theme = "modeldeck-light"\\n')
"""
CONTROL_O, CONTROL_P, CONTROL_Q = b"\x0f", b"\x10", b"\x11"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "tour-was-shown").touch()
    editor = tmp_path / "editor.py"
    editor.write_text(EDITOR)
    return {
        "MODELDECK_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "LANG": "C.UTF-8",
        "TEXTUAL_ANIMATIONS": "none",
        "PYTHONPATH": str(ROOT),
        "VISUAL": f"{sys.executable} {editor}",
    }


def ask_for_the_settings(session: TtySession) -> None:
    assert session.wait_for(r"\d+ families") is not None, session.dump_text()
    session.send(CONTROL_P)
    assert session.wait_for("Search") is not None, session.dump_text()
    session.send(b"settings edit")
    assert session.wait_for("Settings: edit the file") is not None, session.dump_text()
    session.quiesce(0.5)
    session.send(b"\r")


def test_the_settings_open_in_the_user_s_editor_and_count_at_once(environment: dict[str, str]) -> None:
    file = Path(environment["MODELDECK_HOME"]) / "config.toml"
    with TtySession([sys.executable, "-m", "tui"], 100, 30, env=environment) as session:
        ask_for_the_settings(session)
        assert session.wait_for("this is the editor") is not None, session.dump_text()
        before = session.emu.screen.buffer[0][1].bg
        session.send(b"\n")
        assert session.wait_for("themes and keys count at once") is not None, session.dump_text()
        for _ in range(40):
            session.pump(0.25)
            if session.emu.screen.buffer[0][1].bg != before:
                break
        assert session.emu.screen.buffer[0][1].bg != before
        session.send(CONTROL_Q)
        session.quiesce(0.5)
    lines = file.read_text().splitlines()
    assert lines[-1] == 'theme = "modeldeck-light"'
    assert all(line.startswith("#") or not line for line in lines[:-1])
    assert len(lines) > 20


def test_an_editor_that_is_not_there_is_said(environment: dict[str, str]) -> None:
    environment["VISUAL"] = "no-such-editor"
    with TtySession([sys.executable, "-m", "tui"], 100, 30, env=environment) as session:
        ask_for_the_settings(session)
        assert session.wait_for("no-such-editor does not start") is not None, session.dump_text()
        assert session.dump_text().splitlines()[-1].rstrip().endswith("ctrl+q quit")


def test_a_prompt_is_written_in_the_user_s_editor(environment: dict[str, str]) -> None:
    with TtySession([sys.executable, "-m", "tui"], 100, 30, env=environment) as session:
        assert session.wait_for(r"\d+ families") is not None, session.dump_text()
        session.send(encode_key("f7"))
        assert session.wait_for("Load a model first") is not None, session.dump_text()
        session.send(b"hello ")
        assert session.wait_for("hello") is not None, session.dump_text()
        session.send(CONTROL_O)
        assert session.wait_for("this is the editor") is not None, session.dump_text()
        session.send(b"\n")
        assert session.wait_for('hello theme = "modeldeck-light"') is not None, session.dump_text()
