"""The fit matrix: sizes and formats down, quantizations across, a verdict in every cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.glyphs import glyphs
from tui.keys import MATRIX
from tui.widgets.drawn import DrawnLines
from tui.widgets.inks import VERDICT_INKS, ink
from tui.widgets.lines import Piece, clean, fitted, line, wrapped

if TYPE_CHECKING:
    from backends.fit import Option
    from specs.model import ModelFamily, Variant
    from tui.matrix import Group, Place

CELL_CELLS = 8
"""Narrowest column: a sign, a size, the mark of this disk."""
MAX_COLUMN_CELLS = 14


def size_label(billions: float) -> str:
    """A size as the spec pages write it, with its unit: "8B", "0.27B"."""
    return f"{billions:g}B"


def amount_label(weights_bytes: int) -> str:
    """Weights in decimal GB, three figures at most: "0.24", "4.9", "141"."""
    gigabytes = weights_bytes / 1e9
    return f"{gigabytes:.2f}" if gigabytes < 0.95 else f"{gigabytes:.1f}" if gigabytes < 99.95 else f"{gigabytes:.0f}"


def _groups_of(family: ModelFamily | None) -> tuple[Group, ...]:
    if family is None:
        return ()
    from tui.matrix import layout  # 3 ms that a first frame without a family need not wait for

    return layout(family)


class FitMatrix(DrawnLines, ScrollView, can_focus=True):
    """Cells by size, format and quantization, with a cursor that goes from cell to cell.

    The first columns stand still while the quantizations scroll sideways.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*MATRIX]
    place: reactive[Place | None] = reactive(None, repaint=False)

    class CellHighlighted(Message):
        """The cursor came to another cell."""

        def __init__(self, variant: Variant | None) -> None:
            super().__init__()
            self.variant = variant

    class Left(Message):
        """The user went left from the first cell."""

    class Opened(Message):
        """The user wants to talk to the variant under the cursor."""

    def __init__(self) -> None:
        super().__init__(id="matrix")
        self._family: ModelFamily | None = None
        self._groups: tuple[Group, ...] = ()
        self._tops: list[int] = []
        self._column_ends: list[list[int]] = []
        self._firsts: list[int] = []
        self._label_width = 16
        self._size_width = 2
        self._words_top = 0
        self._words: list[str] = []
        self._options: Mapping[str, Option] = {}
        self._on_disk: frozenset[str] = frozenset()
        self._shares: Mapping[str, float] = {}

    @property
    def variant(self) -> Variant | None:
        """The variant under the cursor."""
        place = self.place
        return None if place is None else self._groups[place.group].rows[place.row].cells[place.column]

    def show(self, family: ModelFamily | None, start: Variant | None = None) -> None:
        """Show a family's variants, with the cursor on one of them or on the first."""
        self._family = family
        if self.has_focus:
            self.refresh_bindings()
        self._groups = _groups_of(family)
        self._options = {}
        self._tops = []
        self._column_ends = []
        self._firsts = [0] * len(self._groups)
        top = 0
        for group in self._groups:
            self._tops.append(top)
            top += len(group.rows) + 2
            ends = []
            end = 0
            for name in group.columns:
                end += min(MAX_COLUMN_CELLS, max(CELL_CELLS, cell_len(name) + 2))
                ends.append(end)
            self._column_ends.append(ends)
        self._size_width = max((len(size_label(r.size_in_billions)) for g in self._groups for r in g.rows), default=2)
        self._label_width = (
            1 + self._size_width + 2 + max((len(r.format) for g in self._groups for r in g.rows), default=6) + 2
        )
        self._words_top = top
        self._measure()
        self.set_reactive(FitMatrix.place, self._place_of(start) or self._place_of(None))
        self.scroll_to(y=0, animate=False, force=True)
        self._show_cursor()
        self._tell_rest()
        self.redraw()

    def _place_of(self, variant: Variant | None) -> Place | None:
        """Where a variant stands; None for it: where the first one does."""
        if not self._groups:
            return None
        from tui.matrix import places

        return next((place for place, here in places(self._groups) if variant is None or here == variant), None)

    def _measure(self) -> None:
        """How many lines there are, with the family's description below its rows."""
        family = self._family
        width = self.scrollable_content_region.width - 2
        about = clean(family.description) if family else ""
        if family and family.license:
            about = f"{about} {clean(f'License: {family.license}.')}".strip()
        self._words = wrapped(about, width) if width > 10 else []
        rows = max(0, self._words_top - 1)
        self.virtual_size = Size(width + 2, rows + (len(self._words) + 1 if self._words else 0))

    def judge(self, options: Mapping[str, Option]) -> None:
        """Show what was judged, by the variants' keys."""
        self._options = options
        self.redraw()

    def mark(self, on_disk: frozenset[str], shares: Mapping[str, float]) -> None:
        """Show which variants lie on this disk, and how far the downloads are, by the variants' keys."""
        if (on_disk, shares) != (self._on_disk, self._shares):
            self._on_disk = on_disk
            self._shares = shares
            self.redraw()

    def go_to(self, variant: Variant) -> None:
        """Put the cursor on a variant of this family."""
        place = self._place_of(variant)
        if place is not None:
            self.place = place

    def watch_place(self, before: Place | None, now: Place | None) -> None:
        if before == now:
            return
        offset = self.scroll_offset
        self._show_cursor()
        if self.scroll_offset == offset:
            for place in (before, now):
                if place is not None:
                    y = self._tops[place.group] + 1 + place.row - offset.y
                    self.refresh(Region(0, y, self.size.width, 1))
        self.post_message(self.CellHighlighted(self.variant))

    def _show_cursor(self) -> None:
        place = self.place
        if place is None:
            return
        region = self.scrollable_content_region
        y = self._tops[place.group] + 1 + place.row
        top = self.scroll_offset.y
        if y - 1 < top:  # the line above is the header, which stays in view
            self.scroll_to(y=y - 1, animate=False, force=True)
        elif region.height and y >= top + region.height:
            self.scroll_to(y=y - region.height + 1, animate=False, force=True)
        room = region.width - self._label_width - 1
        if room <= 0:
            return
        ends = self._column_ends[place.group]
        first = min(self._firsts[place.group], place.column)
        while first < place.column and ends[place.column] - (ends[first - 1] if first else 0) > room:
            first += 1
        if first != self._firsts[place.group]:
            self._firsts[place.group] = first
            self.redraw()

    def on_resize(self) -> None:
        self._measure()
        self._show_cursor()
        self._tell_rest()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._tell_rest()

    def _tell_rest(self) -> None:
        """Say on the frame how many rows stand below what is seen: a cell never seen is a model never tried."""
        end = self.scroll_offset.y + self.scrollable_content_region.height
        below = sum(
            max(0, top + 1 + len(group.rows) - max(end, top + 1))
            for top, group in zip(self._tops, self._groups, strict=True)
        )
        words = f"{below} more {'row' if below == 1 else 'rows'} below" if below and end else ""
        self.border_subtitle = Content(words)

    def _style(self, name: str) -> Style:
        return ink(self, VERDICT_INKS.get(name, name))

    def draw_line(self, y: int, width: int, base: Style) -> Strip:
        at = self.scroll_offset.y + y
        for index, top in enumerate(self._tops):
            group = self._groups[index]
            if at == top or (y == 0 and top < at <= top + len(group.rows)):
                return self._draw_header(index, group, width, base)
            if top < at <= top + len(group.rows):
                return self._draw_row(index, at - top - 1, width, base)
        if self._words_top <= at < self._words_top + len(self._words):
            return line([(f" {self._words[at - self._words_top]}", self._style("muted"))], width, base)
        return Strip.blank(width, base)

    def _visible(self, group: int, room: int) -> list[tuple[int, int]]:
        """Columns that show whole at this group's place, with their widths."""
        ends = self._column_ends[group]
        first = self._firsts[group]
        left = ends[first - 1] if first else 0
        columns = []
        for column in range(first, len(ends)):
            if ends[column] > left + room:
                break
            columns.append((column, ends[column] - (ends[column - 1] if column else 0)))
        return columns

    def _draw_header(self, index: int, group: Group, width: int, base: Style) -> Strip:
        signs = glyphs()
        room = width - self._label_width - 1
        visible = self._visible(index, room)
        header = self._style("secondary")
        faint = self._style("muted")
        before = signs.more_left if visible and visible[0][0] > 0 else " "
        label = " " * (self._label_width - 4) + "GB" + " " + before
        pieces: list[Piece] = [(label, faint)]
        pieces += [
            (fitted(" " + clean(group.columns[column]), cells, signs.ellipsis), header) for column, cells in visible
        ]
        if visible and visible[-1][0] < len(group.columns) - 1:
            pieces.append((signs.more_right, faint))
        return line(pieces, width, base)

    def _draw_row(self, index: int, row_index: int, width: int, base: Style) -> Strip:
        signs = glyphs()
        row = self._groups[index].rows[row_index]
        rows = self._groups[index].rows
        repeated = row_index > 0 and rows[row_index - 1].size_in_billions == row.size_in_billions
        size = "" if repeated else size_label(row.size_in_billions)
        place = self.place
        here = place is not None and (place.group, place.row) == (index, row_index)
        label_style = ink(self, "foreground", bold=True) if here else Style.null()
        pieces: list[Piece] = [
            (f" {size:>{self._size_width}}  ", self._style("secondary") if not here else label_style),
            (
                fitted(clean(row.format), self._label_width - self._size_width - 3, signs.ellipsis),
                label_style or self._style("muted"),
            ),
        ]
        for column, cells in self._visible(index, width - self._label_width - 1):
            variant = row.cells[column]
            focused = here and place is not None and place.column == column
            pieces += self._draw_cell(variant, cells, focused)
        return line(pieces, width, base)

    def _draw_cell(self, variant: Variant | None, cells: int, focused: bool) -> list[Piece]:
        signs = glyphs()
        if variant is None:
            return [(f" {signs.unpublished}".ljust(cells), self._style("rule"))]
        key = variant.key
        option = self._options.get(key)
        sign, amount, mark = " ", "", ""
        style = self._style("muted")
        amount_style = self._style("foreground")
        if option is not None:
            sign = signs.verdict(option.verdict)
            style = self._style(option.verdict)
            amount = amount_label(option.memory.weights_bytes)
            if option.verdict == "no":
                amount_style = self._style("muted")
        if key in self._shares:
            amount, mark = f"{self._shares[key]:.0%}", signs.loading
            amount_style = self._style("primary")
        elif key in self._on_disk:
            mark = signs.on_disk
        pieces: list[Piece] = [(f" {sign} ", style), (f"{amount:>4}", amount_style), (mark, self._style("primary"))]
        text_cells = 3 + max(4, len(amount)) + cell_len(mark)
        pieces.append((" " * (CELL_CELLS - text_cells), Style.null()))
        if focused:
            cursor = ink(self, on="cursor", bold=True) if self.has_focus else ink(self, on="cursor-idle")
            pieces = [(text, style + cursor) for text, style in pieces]
        return [*pieces, (" " * (cells - max(CELL_CELLS, text_cells)), Style.null())]

    def on_focus(self) -> None:
        self.redraw()

    def on_blur(self) -> None:
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        from tui.matrix import Place

        x, y = event.x - self.gutter.left, event.y - self.gutter.top + self.scroll_offset.y
        for index, top in enumerate(self._tops):
            group = self._groups[index]
            row = y - top - 1
            if not 0 <= row < len(group.rows):
                continue
            start = self._label_width
            for column, cells in self._visible(index, self.scrollable_content_region.width - self._label_width - 1):
                if start <= x < start + cells and group.rows[row].cells[column] is not None:
                    pressed = Place(index, row, column)
                    again = self.place == pressed
                    self.place = pressed
                    if again and event.chain > 1:
                        self.action_chat()
                start += cells

    def action_move(self, columns: int, rows: int) -> None:
        if self.place is None:
            self.post_message(self.Left())
            return
        from tui.matrix import moved

        target = moved(self._groups, self.place, columns, rows)
        if target is not None:
            self.place = target
        elif columns < 0:
            self.post_message(self.Left())

    def action_edge(self, direction: int) -> None:
        from tui.matrix import moved

        while self.place is not None and (target := moved(self._groups, self.place, direction, 0)) is not None:
            self.place = target

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """One key, named after what the family does: a base model only continues texts."""
        if action in {"chat", "complete"}:
            chats = self._family is None or "chat" in self._family.abilities
            return chats == (action == "chat")
        return True

    def action_chat(self) -> None:
        self.post_message(self.Opened())

    action_complete = action_chat
