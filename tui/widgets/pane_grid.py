"""Where the panes stand: side by side, in a grid, or behind each other with their names in a line of tabs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual.containers import Container

from specs.text import printable
from tui.glyphs import glyphs

if TYPE_CHECKING:
    from tui.widgets.chat_pane import ChatPane

NARROW = 100
"""Columns below which panes stand behind each other instead of side by side."""
NARROW_FOR_THREE = 130
SHORT = 20
"""Lines of the screen below which four panes are too low to read in."""
_COLUMNS = {1: 1, 2: 2, 3: 3, 4: 2}
"""Panes that stand beside each other, by how many there are."""
_ROWS = {1: 1, 2: 1, 3: 1, 4: 2}
EVEN, LEAST, MOST = 10, 4, 30
"""A column's share of the width, or a row's of the height: to begin with, at least, at most."""
_COUNTS = {1: "-one", 2: "-two", 3: "-three", 4: "-four"}


class PaneGrid(Container):
    """Where the panes stand; nothing of its own is drawn."""

    BLANK = True

    DEFAULT_CSS = """
    PaneGrid {
        height: 1fr;
        layout: grid;
        grid-size: 1 1;
        display: none;
        &.-some { display: block; layout: grid; }
        &.-two { grid-size: 2 1; }
        &.-three { grid-size: 3 1; }
        &.-four { grid-size: 2 2; }
        &.-alone { grid-size: 1 1; }
        &.-alone ChatPane { display: none; }
        &.-alone ChatPane.-active { display: block; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._widths: list[int] = []
        """Shares of the columns; of another length than there are columns: all are as wide."""
        self._heights: list[int] = []
        """Shares of the rows, alike."""

    def place(self, count: int, width: int, height: int, *, zoomed: bool) -> bool:
        """Give so many panes their places; True: only the one that is talked to is seen.

        Args:
            count: Panes.
            width: Columns of the screen.
            height: Its lines.
            zoomed: Whether the user wants to see one alone.
        """
        self.set_class(count > 0, "-some")
        for number, name in _COUNTS.items():
            self.set_class(number == count, name)
        narrow = width < NARROW or (count == 3 and width < NARROW_FOR_THREE)
        alone = count > 1 and (zoomed or narrow or (_ROWS.get(count, 1) > 1 and height < SHORT))
        self.set_class(alone, "-alone")
        columns, rows = _COLUMNS.get(count, 1), _ROWS.get(count, 1)
        self.styles.grid_columns = None if alone else _shares(self._widths, columns)
        self.styles.grid_rows = None if alone else _shares(self._heights, rows)
        return alone

    def widen(self, at: int, count: int, step: int) -> bool:
        """Give the column of one of so many panes more or less of the width; False: there is only one."""
        columns = _COLUMNS.get(count, 1)
        self._widths = _grown(self._widths, columns, at % columns, step)
        return columns > 1

    def heighten(self, at: int, count: int, step: int) -> bool:
        """Give the row of one of so many panes more or less of the height; False: there is only one."""
        rows = _ROWS.get(count, 1)
        self._heights = _grown(self._heights, rows, at // _COLUMNS.get(count, 1), step)
        return rows > 1


def _shares(shares: list[int], number: int) -> str | None:
    return " ".join(f"{share}fr" for share in shares) if len(shares) == number > 1 else None


def _grown(shares: list[int], number: int, at: int, step: int) -> list[int]:
    fresh = list(shares) if len(shares) == number else [EVEN] * number
    fresh[at] = max(LEAST, min(MOST, fresh[at] + step))
    return fresh


def tabs(panes: Sequence[ChatPane], width: int) -> str:
    """All panes in one line; where it is too short, only the one that is talked to says its whole name."""

    def line(name: Callable[[ChatPane], str]) -> str:
        mark = glyphs().pointer
        return "   ".join(f"{mark if pane.active else ' '}{n} {name(pane)}" for n, pane in enumerate(panes, 1))

    whole = line(lambda pane: printable(pane.title))
    if len(whole) <= width:
        return whole
    return line(lambda pane: printable(pane.title if pane.active else pane.title.rpartition(" ")[2]))
