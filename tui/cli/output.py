"""What commands print: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from backends.fit import Verdict
from tui.charset import ascii_wanted, locale_wants_ascii

VERDICTS: Final[dict[Verdict, tuple[str, str, str]]] = {
    "gpu": ("●", "#", "GPU"),
    "split": ("◐", "+", "split"),
    "cpu": ("○", "o", "CPU"),
    "no": ("✕", "x", "no"),
}
"""Glyph, its ASCII stand-in and the word of each verdict: no meaning by colour alone."""


def clean(text: object, *, newlines: bool = False) -> str:
    """Text from files, hubs and models without anything that a terminal would obey."""
    from specs.text import printable

    return printable(str(text), newlines=newlines)


def note(text: str) -> None:
    """A line for the user's eye, not for the next program."""
    print(clean(text), file=sys.stderr, flush=True)


def document(content: object) -> None:
    """One JSON document on standard output. ASCII only, so that no name in it can steer a terminal."""
    json.dump(content, sys.stdout, indent=2)
    sys.stdout.write("\n")


def has_screen() -> bool:
    """Whether standard output is a terminal that can do more than print lines."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def moves_on_error() -> bool:
    """Whether standard error is a terminal on which a line can be drawn over."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def verdict(of: Verdict) -> str:
    """A verdict as "● GPU", in ASCII where the output takes nothing else or the user wants no more."""
    glyph, plain, word = VERDICTS[of]
    return f"{plain if _ascii_only() else glyph} {word}"


def _ascii_only() -> bool:
    if (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8":
        return True
    wish = _wish_for_ascii(os.environ.get("MODELDECK_HOME"), os.environ.get("MODELDECK_ASCII"))
    if wish is not None:
        return wish
    return ascii_wanted() if sys.stdout.isatty() else locale_wants_ascii()


@cache
def _wish_for_ascii(home: str | None, override: str | None) -> bool | None:  # noqa: ARG001
    """The setting, read once for a whole table, and again where it may have become another."""
    from tui.settings import load_settings

    return load_settings().ascii


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    """Whether numbers are to stand under one another."""
    wide: bool = False
    """Whether its text may be folded where the terminal is narrow."""
    leaves: int = 0
    """Where the terminal is narrow the column with the highest number is left out first; 0: never."""


GAP: Final = 2
NARROWEST: Final = 12
"""Cells that a folded column keeps."""
LONGEST_WORD: Final = 18
"""A folded column is wide enough for its words up to so many cells; longer ones are broken."""
REMARK_CELLS: Final = 36
"""Below so much room a remark gets lines of its own under its row."""


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], remarks: Sequence[str] = ()) -> tuple[str, ...]:
    """A table that fits the terminal; aligned and never folded or cut where standard output is no terminal.

    Args:
        columns: What stands above.
        rows: A cell for each column.
        remarks: A sentence for each row, beside it where there is room, else below it.

    Returns:
        The titles of the columns that there was room for.
    """
    cleaned = [[clean(cell) for cell in row] for row in rows]
    said = [clean(remark) for remark in remarks] or [""] * len(cleaned)
    widths = [max([cells(column.title), *(cells(row[at]) for row in cleaned)]) for at, column in enumerate(columns)]
    if not has_screen():
        titles = [column.title for column in columns]
        for row, remark in zip([titles, *cleaned], ["", *said], strict=True):
            print(_line(columns, widths, row, remark))
        return tuple(titles)
    import shutil

    room = shutil.get_terminal_size().columns
    floors = [max(cells(column.title), _longest_word(row[at] for row in cleaned)) for at, column in enumerate(columns)]
    shown = _fitting(columns, widths, floors, room)
    left = room - _total(widths, shown) - GAP
    kept = [columns[at] for at in shown]
    kept_widths = [widths[at] for at in shown]
    bold, plain = ("", "") if os.environ.get("NO_COLOR") else ("\x1b[1m", "\x1b[0m")
    print(f"{bold}{_line(kept, kept_widths, [column.title for column in kept])}{plain}")
    for row, remark in zip(cleaned, said, strict=True):
        folded = [_fold(row[at], widths[at]) for at in shown]
        beside = _fold(remark, left) if left >= REMARK_CELLS else [""]
        for number_ in range(max(len(beside), *(len(cell) for cell in folded))):
            parts = [cell[number_] if number_ < len(cell) else "" for cell in folded]
            print(_line(kept, kept_widths, parts, beside[number_] if number_ < len(beside) else ""))
        if remark and left < REMARK_CELLS:
            for part in _fold(remark, max(NARROWEST, room - 6)):
                print(f"      {part}")
    return tuple(column.title for column in kept)


def cells(text: str) -> int:
    """Columns of the terminal that a text takes: two for each wide character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _total(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + GAP * (len(shown) - 1)


def _longest_word(texts: Iterable[str]) -> int:
    words = [cells(word) for text in texts for word in text.split()]
    return max((length for length in words if length <= LONGEST_WORD), default=0)


def _fitting(columns: Sequence[Column], widths: list[int], floors: Sequence[int], room: int) -> list[int]:
    """Columns that are shown; folds the wide ones down to their words, then leaves some out, then breaks words."""
    shown = list(range(len(columns)))
    while (over := _total(widths, shown) - room) > 0:
        foldable = [at for at in shown if columns[at].wide and widths[at] > max(NARROWEST, floors[at])]
        if foldable:
            widest = max(foldable, key=lambda at: widths[at])
            widths[widest] = max(NARROWEST, floors[widest], widths[widest] - max(1, over // len(foldable)))
            continue
        leaving = [at for at in shown if columns[at].leaves]
        if not leaving:
            if not any(floors):
                break
            floors = [0] * len(columns)
            continue
        shown.remove(max(leaving, key=lambda at: columns[at].leaves))
    return shown


def _fold(text: str, width: int) -> list[str]:
    if cells(text) <= width:
        return [text]
    import textwrap

    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[str], remark: str = "") -> str:
    parts = []
    for column, width, cell in zip(columns, widths, row, strict=True):
        padding = " " * (width - cells(cell))
        parts.append(padding + cell if column.right else cell + padding)
    return (" " * GAP).join([*parts, remark]).rstrip()


def lines(pairs: Iterable[tuple[str, str]]) -> None:
    """Lines of a name and what it is, names aligned; on a terminal long ones go on beneath, between words."""
    kept = [(name, clean(what)) for name, what in pairs]
    width = max((len(name) for name, _ in kept), default=0)
    room = 0
    if has_screen():
        import shutil

        room = max(NARROWEST, shutil.get_terminal_size().columns - width - GAP)
    for name, what in kept:
        first, *further = _between_words(what, room) if room and cells(what) > room else [what]
        print(f"{name.ljust(width)}  {first}".rstrip())
        for part in further:
            print(" " * (width + GAP) + part)


def _between_words(text: str, width: int) -> list[str]:
    """Folded, but a path or a link stays whole, so that it can be copied."""
    import textwrap

    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False) or [""]


def paragraph(words: str) -> None:
    """A sentence or more; on a terminal folded between words."""
    cleaned = clean(words)
    if has_screen():
        import shutil

        cleaned = "\n".join(_fold(cleaned, shutil.get_terminal_size().columns))
    print(cleaned)


def number(value: float) -> str:
    """A size in billions without a needless ".0"."""
    return f"{value:g}"
