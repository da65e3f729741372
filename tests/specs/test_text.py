"""Text that is safe on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.text import one_line, printable


def test_an_escape_sequence_is_shown_and_not_obeyed() -> None:
    assert printable("\x1b[31mred\x1b]0;title\x07") == "␛[31mred␛]0;title␇"


def test_markup_stays_as_it_is_written() -> None:
    assert printable("[bold]llama[/bold]") == "[bold]llama[/bold]"


@pytest.mark.parametrize(
    "character", ["\u202e", "\u2066", "\u200b", "\ufeff", "\u200f", "\x9b", "\ud800", "\U000e0041"]
)
def test_overrides_and_invisible_characters_become_visible(character: str) -> None:
    assert printable(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_line_ends_become_spaces_unless_they_are_wanted() -> None:
    assert printable("a\r\nb\tc\u2028d") == "a b c d"
    assert printable("a\r\nb\tc\u2028d", newlines=True) == "a\nb\tc\nd"
    assert printable("a\rb", newlines=True) == "a␍b"


def test_joiners_stay_where_languages_and_emoji_need_them() -> None:
    family = "\N{WOMAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert printable(family) == family
    assert printable(persian) == persian
    assert printable("a\u200db") == "a\N{REPLACEMENT CHARACTER}b"


def test_one_line_leaves_single_spaces() -> None:
    assert one_line("  a \n\n b\x00 ") == "a b␀"


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = printable(text)
    assert not any(
        ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 or 0x202A <= ord(letter) <= 0x202E for letter in shown
    )
    assert printable(shown) == shown
