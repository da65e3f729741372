"""Nothing is said by colour alone: what differs in meaning differs in its sign or its word."""

from __future__ import annotations

import pytest
from textual.color import Color

from tui.charset import ascii_wanted
from tui.cli.output import VERDICTS
from tui.glyphs import ASCII, UNICODE, Glyphs
from tui.themes import DARK, THEMES
from tui.widgets.palette import Palette
from tui.widgets.passage import Passage


@pytest.mark.parametrize("signs", [UNICODE, ASCII])
def test_every_verdict_and_every_part_of_the_memory_bar_has_a_sign_of_its_own(signs: Glyphs) -> None:
    verdicts = [signs.verdict(one) for one in ("gpu", "split", "cpu", "no", None)]
    assert len({*verdicts, signs.unpublished, signs.on_disk}) == 7
    assert len({signs.weights, signs.kv_cache, signs.compute, signs.overhead, signs.room, signs.limit}) == 6


def test_what_a_base_model_adds_differs_from_what_it_was_given() -> None:
    theme = next(theme for theme in THEMES if theme.name == DARK)
    palette = Palette(theme.to_color_system().generate(), Color.parse("#000000"))
    looks = [style.without_color for style in Passage._looks(palette).values()]
    assert len(set(looks)) == len(looks) == 4


def test_the_command_line_says_every_verdict_in_a_word() -> None:
    assert len({word for _, _, word in VERDICTS.values()}) == len(VERDICTS)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"TERM": "xterm", "LC_ALL": "de_DE.ISO-8859-1"}, True),
        ({"TERM": "xterm", "LANG": "en_US.UTF-8"}, False),
        ({"TERM": "linux", "LANG": "en_US.UTF-8"}, True),
        ({"TERM": "dumb"}, True),
        ({"TERM": "xterm"}, False),
        ({"TERM": "xterm", "LANG": "C"}, True),
        ({"TERM": "xterm", "LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"TERM": "xterm", "LC_CTYPE": "C.UTF-8"}, False),
        ({"TERM": "xterm", "LANG": "C", "LC_ALL": "C.UTF-8"}, False),
    ],
)
def test_ascii_comes_by_itself_where_the_terminal_has_nothing_else(
    environment: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ascii_wanted() is wanted
