"""Lines built from styled pieces: what all line-rendered widgets share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.strip import Strip

from specs.text import printable

Piece = tuple[str, Style]


@lru_cache(maxsize=8192)
def clean(text: str) -> str:
    """One line of text from outside, safe on a terminal and never taken for markup."""
    return printable(text.replace("\n", " ").replace("\t", " "))


def fitted(text: str, width: int, ellipsis: str) -> str:
    """Text in exactly so many cells, cut with an ellipsis where it is longer."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + ellipsis


def line(pieces: Iterable[Piece], width: int, base: Style) -> Strip:
    """A strip of exactly this width; pieces' styles stand above the base.

    Pieces of one style become one: each costs some forty bytes on the line to the terminal.
    """
    segments: list[Segment] = []
    for text, style in pieces:
        if text:
            own = base + style
            if segments and segments[-1].style == own:
                segments[-1] = Segment(segments[-1].text + text, own)
            else:
                segments.append(Segment(text, own))
    return Strip(segments).adjust_cell_length(width, base)


def wrapped(text: str, width: int) -> list[str]:
    """Text broken at spaces into lines of at most so many cells."""
    lines: list[str] = []
    current = ""
    for word in text.split():
        candidate = f"{current} {word}" if current else word
        if cell_len(candidate) <= width or not current:
            current = candidate
        else:
            lines.append(current)
            current = word
    if current:
        lines.append(current)
    return lines


def near_home(path: Path) -> str:
    """A path as people write it: with ~ for the home folder."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if home in path.parents else str(path)


def plain(*parts: str | tuple[str, str]) -> Content:
    """A title of literal text: no part is read as markup. A pair is text and its style."""
    return Content.assemble(*((clean(part) if isinstance(part, str) else (clean(part[0]), part[1])) for part in parts))


def joined(parts: Sequence[str | None], between: str) -> str:
    """The parts that there are, with a sign between."""
    return between.join(part for part in parts if part)
