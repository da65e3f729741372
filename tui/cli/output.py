"""What commands print: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from backends.fit import Verdict

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


def verdict(of: Verdict) -> str:
    """A verdict as "● GPU", in ASCII where the output takes nothing else."""
    glyph, plain, word = VERDICTS[of]
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return f"{glyph if encoding == 'utf8' else plain} {word}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    """Whether numbers are to stand under one another."""
    wide: bool = False
    """Whether its text may be folded where the terminal is narrow."""


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """A table that fits the terminal; aligned columns, never cut, where standard output is no terminal."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    if has_screen():
        _rich_table(columns, cleaned)
        return
    widths = [max(len(column.title), *(len(row[at]) for row in cleaned), 0) for at, column in enumerate(columns)]
    for cells in ([column.title for column in columns], *cleaned):
        parts = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, column, width in zip(cells, columns, widths, strict=True)
        ]
        print("  ".join(parts).rstrip())


def _rich_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.wide,
            overflow="fold" if column.wide else "ellipsis",
        )
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, markup=False, emoji=False).print(made)


def lines(pairs: Iterable[tuple[str, str]]) -> None:
    """Lines of a name and what it is, names aligned."""
    kept = [(name, clean(what)) for name, what in pairs]
    width = max((len(name) for name, _ in kept), default=0)
    for name, what in kept:
        print(f"{name.ljust(width)}  {what}".rstrip())


def number(value: float) -> str:
    """A size in billions without a needless ".0"."""
    return f"{value:g}"
