"""What terminals send for a key is that key: alt+enter begins a new line and sends nothing."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from textual import events
from textual._xterm_parser import XTermParser
from ttybench import TtySession

from tui.terminal_keys import hear_alt_enter

ROOT = Path(__file__).parents[2]
APP = """
    import sys
    sys.path[:0] = [{root!r}, {standins!r}]
    import fake_services as fake
    from tui.app import Deck

    Deck(fake.services()).run()
"""


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("\x1b\r", ["alt+enter"]),
        ("a\x1b\rb", ["a", "alt+enter", "b"]),
        ("\r", ["enter"]),
        ("\x1b", ["escape"]),
        ("\x1bx", ["alt+x"]),
    ],
)
def test_escape_and_return_are_alt_enter(sent: str, keys: list[str]) -> None:
    hear_alt_enter()
    parser = XTermParser(False)
    told = [*parser.feed(sent), *parser.feed("")]
    assert [event.key for event in told if isinstance(event, events.Key)] == keys


def test_alt_enter_of_a_plain_terminal_begins_a_new_line_in_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text(textwrap.dedent(APP.format(root=str(ROOT), standins=str(ROOT / "tests" / "standins"))))
    environment = {"LANG": "C.UTF-8", "TEXTUAL_ANIMATIONS": "none", "PYTHONPATH": str(ROOT)}
    with TtySession([sys.executable, str(path)], 100, 30, env=environment) as session:
        assert session.wait_for("llama-3-instruct") is not None, session.dump_text()
        session.send(b"\x1b[18~")  # f7
        assert session.wait_for("No model is loaded yet") is not None, session.dump_text()
        session.send(b"one\x1b\rtwo")  # at once, as over a slow line
        assert session.wait_for("two") is not None, session.dump_text()
        rows = [line.strip("│ ") for line in session.dump_text().splitlines()]
        assert rows.index("two") == rows.index("one") + 1
