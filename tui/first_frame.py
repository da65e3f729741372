"""A first frame that is on the screen before Textual is imported: the app's outline, painted over by the app itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

ENTER = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
LEAVE = "\x1b[?25h\x1b[?1049l"
LEAST_COLUMNS, LEAST_LINES = 40, 10
"""On less the app draws something else."""


def outline(columns: int, lines: int, *, plain: bool) -> str:
    """The strip's name and the empty list, at the places where the app will draw them."""
    corners, across, down = ("++++", "-", "|") if plain else ("╭╮╰╯", "─", "│")
    inner = columns - 2
    title = f"{across} modeldeck starts ".ljust(inner, across)[:inner]
    rows = [" modeldeck", f"{corners[0]}{title}{corners[1]}"]
    rows += [f"{down}{' ' * inner}{down}"] * (lines - 4)
    rows.append(f"{corners[2]}{across * inner}{corners[3]}")
    return "".join(f"\x1b[{at};1H{row}" for at, row in enumerate(rows, 1))


def draw() -> Callable[[], None]:
    """Draw it on the terminal in one write.

    Returns:
        A function that takes it away again, for a start that comes to nothing; once the app draws it is not called.
    """
    terminal = sys.__stdout__
    try:
        descriptor = terminal.fileno() if terminal is not None else -1
        columns, lines = os.get_terminal_size(descriptor)
    except (OSError, ValueError):
        return _nothing
    if columns < LEAST_COLUMNS or lines < LEAST_LINES:
        return _nothing
    from tui.charset import ascii_wanted

    _write(descriptor, ENTER + outline(columns, lines, plain=ascii_wanted()))
    return lambda: _write(descriptor, LEAVE)


def _nothing() -> None:
    """There is nothing to take away."""


def _write(descriptor: int, text: str) -> None:
    left = text.encode()
    while left:
        left = left[os.write(descriptor, left) :]
