"""A list drawn line by line: nothing in it grows with the number of rows but the rows themselves."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tui.keys import ROWS
from tui.widgets.drawn import DrawnLines
from tui.widgets.inks import ink
from tui.widgets.lines import line, wrapped

KEPT_ROWS = 600
"""Rows that are kept as they were drawn: some screens of them."""


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

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._kept: dict[Hashable, Strip] = {}
        """Rows as they were drawn, by what their looks depend on."""
        self._whole: dict[int, tuple[Strip, Strip]] = {}
        """Rows and the same with their edges, by the row's ID."""
        self.empty_words = ""
        """Why there are no rows, and what to do first."""
        self._edges_made: tuple[object, tuple[list[Segment], list[Segment]]] | None = None

    @property
    def row_count(self) -> int:
        """How many rows there are now."""
        raise NotImplementedError

    @property
    def row_lines(self) -> int:
        """Lines that every row takes at the list's width."""
        return 1

    @property
    def head_lines(self) -> int:
        """Lines above the rows that stay when they scroll."""
        return 0

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        """A row's first line, as wide as the list, on the base style."""
        raise NotImplementedError

    def draw_under(self, row: int, width: int, base: Style) -> Strip:  # noqa: ARG002
        """A row's further line, in lists whose rows take two."""
        return Strip.blank(width, base)

    def draw_head(self, width: int, base: Style) -> Strip:
        """The line above the rows, in lists that have one."""
        return Strip.blank(width, base)

    def row_key(self, row: int) -> Hashable:  # noqa: ARG002
        """What a row's looks depend on, beside its width and colours; None: rows are drawn anew each time."""
        return None

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.forget_rows()

    def forget_rows(self) -> None:
        """Draw every row anew from now on."""
        self._kept.clear()
        self._whole.clear()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Rows with the list's edges beside them, kept while they scroll.

        Textual's own way makes several strips of every line of each frame, and a strip keeps its escape sequences only
        as long as it lives.
        """
        if self.opacity < 1 or not self.row_count or self.row_key(0) is None:
            return super().render_lines(crop)
        self._begin()
        width, gutter = self.region.width, self.gutter
        top, bottom = gutter.top, self.region.height - gutter.bottom
        edges = self._edges(width)
        filters, background = self.get_line_filters(), self.background_colors[1]
        strips: list[Strip] = []
        for y in crop.line_range:
            if not top <= y < bottom:
                strips += super().render_lines(Region(0, y, width, 1))
                continue
            strip = self._with_edges(self.render_line(y - top), width, edges)
            for line_filter in filters:
                strip = strip.apply_filter(line_filter, background)
            strips.append(strip)
        return [strip.crop(*crop.column_span) for strip in strips] if crop.column_span != (0, width) else strips

    def _edges(self, width: int) -> tuple[list[Segment], list[Segment]]:
        """What stands left and right of every row: border and padding."""
        key = (width, self.styles.border_left, self.styles.border_right, self.background_colors, self._base)
        if self._edges_made is None or self._edges_made[0] != key:
            gutter = self.gutter
            self._styles_cache.clear()
            whole = super().render_lines(Region(0, gutter.top, width, 1))[0]
            self._edges_made = key, (list(whole.crop(0, gutter.left)), list(whole.crop(width - gutter.right, width)))
            self.forget_rows()
        return self._edges_made[1]

    def _with_edges(self, row: Strip, width: int, edges: tuple[list[Segment], list[Segment]]) -> Strip:
        # The row is kept beside it, so that its ID is nobody else's.
        kept, whole = self._whole.get(id(row), (None, row))
        if kept is not row:
            left, right = edges
            inner = row.adjust_cell_length(width - self.gutter.width, self._base)
            whole = Strip([*left, *inner, *right], width)
            self._whole[id(row)] = row, whole
        return whole

    def rows_changed(self, cursor: int | None = None) -> None:
        """The rows are others now: draw what is in view, and nothing else."""
        count = self.row_count
        lines = self.head_lines + count * self.row_lines
        self._hold(Size(self.scrollable_content_region.width, lines))
        target = self.cursor if cursor is None else cursor
        self.set_reactive(LineList.cursor, max(0, min(target, count - 1)))
        self._show_cursor()
        self.redraw()

    def _hold(self, lines: Size) -> None:
        """Scroll over so many lines from now on."""
        if not self.container_size or lines.width != self.virtual_size.width:
            self.virtual_size = lines
        elif lines != self.virtual_size:
            # The public property lays out the whole screen, 5 ms for every letter of a filter. Where the scroll bar
            # comes or goes, which changes what is beside it, the bar asks for that itself.
            self.set_reactive(Widget.virtual_size, lines)
            self._scroll_update(lines)

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
        top = self.head_lines + row * self.row_lines - self.scroll_offset.y
        self.refresh(Region(0, top, self.size.width, self.row_lines))

    def _show_cursor(self) -> None:
        height = self.scrollable_content_region.height - self.head_lines
        top = self.scroll_offset.y
        first, after = self.cursor * self.row_lines, (self.cursor + 1) * self.row_lines
        further = height // 2 if self._calm else 0
        if first < top:
            self.scroll_to(y=max(0, first - further), animate=False, force=True)
        elif height > 0 and after > top + height:
            self.scroll_to(y=after - height + further, animate=False, force=True)

    def _row_at(self, y: int) -> tuple[int, int]:
        """The row that is drawn at y of what is in view, and which of its lines."""
        return divmod(self.scroll_offset.y + y - self.head_lines, self.row_lines)

    @property
    def _calm(self) -> bool:
        """Whether the line is slow: half a page at a time then, since every step of a scroll draws every row."""
        settings = getattr(self.app, "settings", None)
        return settings is not None and bool(settings.low_bandwidth)

    def draw_line(self, y: int, width: int, base: Style) -> Strip:
        if y < self.head_lines:
            return self.draw_head(width, base)
        row, further = self._row_at(y)
        if row >= self.row_count:
            words = wrapped(self.empty_words, width - 3) if not self.row_count else []
            if 1 <= y <= len(words):
                return line([(f"  {words[y - 1]}", ink(self, "muted"))], width, base)
            return Strip.blank(width, base)
        if row == self.cursor:
            base += ink(self, on="cursor", bold=True) if self.has_focus else ink(self, on="cursor-idle")
        key = self.row_key(row)
        kept = (key, further, width, base)
        drawn = self._kept.get(kept) if key is not None else None
        if drawn is None:
            drawn = self.draw_under(row, width, base) if further else self.draw_row(row, width, base)
            if key is not None:
                if len(self._kept) >= KEPT_ROWS:
                    self.forget_rows()
                self._kept[kept] = drawn
        return drawn

    def on_focus(self) -> None:
        self._refresh_row(self.cursor)

    def on_blur(self) -> None:
        self._refresh_row(self.cursor)

    def on_resize(self) -> None:
        self.rows_changed()

    def on_click(self, event: events.Click) -> None:
        y = event.y - self.gutter.top
        row = self._row_at(y)[0]
        if y >= self.head_lines and row < self.row_count:
            again = row == self.cursor
            self.cursor = row
            if again or event.chain > 1:
                self.post_message(self.Chosen(self, row))

    def action_cursor_up(self) -> None:
        self.cursor -= 1

    def action_cursor_down(self) -> None:
        self.cursor += 1

    def _page_rows(self) -> int:
        return max(1, (self.scrollable_content_region.height - self.head_lines) // self.row_lines - 1)

    def action_page_up(self) -> None:
        self.cursor -= self._page_rows()

    def action_page_down(self) -> None:
        self.cursor += self._page_rows()

    def action_first(self) -> None:
        self.cursor = 0

    def action_last(self) -> None:
        self.cursor = self.row_count - 1
