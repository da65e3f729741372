"""A list drawn line by line: nothing in it grows with the number of rows but the rows themselves."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.keys import ROWS
from tui.widgets.drawn import DrawnLines
from tui.widgets.inks import ink


class LineList(DrawnLines, ScrollView, can_focus=True):
    """Rows with a cursor. Subclasses say how many rows there are and draw one."""

    BINDINGS: ClassVar[list[BindingType]] = [*ROWS]
    cursor: reactive[int] = reactive(0, repaint=False)

    class Highlighted(Message):
        """The cursor came to another row."""

        def __init__(self, sender: LineList, row: int) -> None:
            super().__init__()
            self.sender = sender
            self.row = row

        @property
        def control(self) -> LineList:
            return self.sender

    class Chosen(Message):
        """A row was chosen with a click."""

        def __init__(self, sender: LineList, row: int) -> None:
            super().__init__()
            self.sender = sender
            self.row = row

        @property
        def control(self) -> LineList:
            return self.sender

    @property
    def row_count(self) -> int:
        """How many rows there are now."""
        raise NotImplementedError

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        """One row, as wide as the list, on the base style."""
        raise NotImplementedError

    def rows_changed(self, cursor: int | None = None) -> None:
        """The rows are others now: draw what is in view, and nothing else."""
        count = self.row_count
        self.virtual_size = Size(self.scrollable_content_region.width, count)
        target = self.cursor if cursor is None else cursor
        self.set_reactive(LineList.cursor, max(0, min(target, count - 1)))
        self._show_cursor()
        self.redraw()

    def validate_cursor(self, cursor: int) -> int:
        return max(0, min(cursor, self.row_count - 1))

    def watch_cursor(self, before: int, now: int) -> None:
        if before == now:
            return
        top = self.scroll_offset.y
        self._show_cursor()
        if self.scroll_offset.y == top:
            self._refresh_row(before)
            self._refresh_row(now)
        self.post_message(self.Highlighted(self, now))

    def _refresh_row(self, row: int) -> None:
        self.refresh(Region(0, row - self.scroll_offset.y, self.size.width, 1))

    def _show_cursor(self) -> None:
        height = self.scrollable_content_region.height
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif height and self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)

    def draw_line(self, y: int, width: int, base: Style) -> Strip:
        row = self.scroll_offset.y + y
        if row >= self.row_count:
            return Strip.blank(width, base)
        if row == self.cursor:
            base += ink(self, on="cursor", bold=True) if self.has_focus else ink(self, on="cursor-idle")
        return self.draw_row(row, width, base)

    def on_focus(self) -> None:
        self._refresh_row(self.cursor)

    def on_blur(self) -> None:
        self._refresh_row(self.cursor)

    def on_resize(self) -> None:
        self.rows_changed()

    def on_click(self, event: events.Click) -> None:
        row = self.scroll_offset.y + event.y - self.gutter.top
        if 0 <= row < self.row_count:
            again = row == self.cursor
            self.cursor = row
            if again or event.chain > 1:
                self.post_message(self.Chosen(self, row))

    def action_cursor_up(self) -> None:
        self.cursor -= 1

    def action_cursor_down(self) -> None:
        self.cursor += 1

    def _page_rows(self) -> int:
        return max(1, self.scrollable_content_region.height - 1)

    def action_page_up(self) -> None:
        self.cursor -= self._page_rows()

    def action_page_down(self) -> None:
        self.cursor += self._page_rows()

    def action_first(self) -> None:
        self.cursor = 0

    def action_last(self) -> None:
        self.cursor = self.row_count - 1
