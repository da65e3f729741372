"""A conversation as lines: turns are drawn when they come into sight, an answer grows by its last lines."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from tui.chat_keys import TRANSCRIPT
from tui.widgets.entry import Entry
from tui.widgets.heights import Heights
from tui.widgets.markdown_lines import Line
from tui.widgets.palette import Palette
from tui.widgets.passage import Passage
from tui.widgets.selecting import selected

KEPT_STRIPS = 400
_NOTHING: Line = []
GUTTER = 2
"""Cells left of the text: the cursor's bar and a space."""


class Transcript(ScrollView, can_focus=True):
    """Turns of a conversation, one below the other.

    Follows the end while it stands there; stays where it is once somebody scrolled up.
    """

    DEFAULT_CSS = """
    Transcript {
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
        padding: 0 0 0 1;
        background: $background;
    }
    """
    ALLOW_SELECT = True
    BINDINGS: ClassVar[list[BindingType]] = [*TRANSCRIPT]

    cursor: var[int | None] = var[int | None](None)
    """Index of the turn that keys act on; None: none is chosen."""

    class Chosen(Message):
        """Another turn is under the cursor."""

        def __init__(self, transcript: Transcript, key: str | None) -> None:
            super().__init__()
            self.transcript = transcript
            self.key = key

        @property
        def control(self) -> Transcript:
            return self.transcript

    class Wished(Message):
        """The user wants something done with the turn under the cursor."""

        def __init__(self, transcript: Transcript, what: str) -> None:
            super().__init__()
            self.transcript = transcript
            self.what = what
            """As the key says it: "copy", "copy_code", "edit", "previous", "next", "delete", or a digit."""

        @property
        def control(self) -> Transcript:
            return self.transcript

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.entries: list[Entry] = []
        self.following = True
        """Whether the end stays in sight as it grows."""
        self.draw_seconds = 0.0
        """What the last growth took to draw."""
        self._heights = Heights()
        self._palette: Palette | None = None
        self._drawn_width = 0
        self._strips: dict[int, tuple[Line, Segment, Strip]] = {}
        self._settling = False
        self._edging = False
        """Whether an empty line is wanted, for what stands left and right of it."""
        self._edges_made: tuple[object, tuple[list[Segment], list[Segment]]] | None = None

    # -- content

    def show(self, entries: Iterable[Entry]) -> None:
        """Show these turns instead of what there is, and go to the end."""
        self.entries = list(entries)
        self.cursor = None
        self.following = True
        self._measure_again()
        self.refresh()

    def add(self, entry: Entry) -> None:
        """One more turn at the end."""
        self.entries.append(entry)
        self._heights.add()
        self._grow(len(self.entries) - 1)

    def changed(self, entry: Entry) -> None:
        """An entry has other text, note or fold than when it was drawn."""
        try:
            index = self.entries.index(entry)
        except ValueError:
            return
        self._grow(index)

    def remove_after(self, entry: Entry | None) -> None:
        """Take away every turn after this one, or all of them."""
        keep = 0 if entry is None else self.entries.index(entry) + 1
        del self.entries[keep:]
        self._heights.cut(keep)
        if self.cursor is not None and self.cursor >= keep:
            self.cursor = None
        self._resize_content()
        self.refresh()

    @property
    def chosen(self) -> Entry | None:
        """The turn under the cursor."""
        return self.entries[self.cursor] if self.cursor is not None and self.cursor < len(self.entries) else None

    # -- drawing

    @property
    def palette(self) -> Palette:
        """Styles of the current theme on this widget's background."""
        if self._palette is None:
            self._palette = Palette(self.app.theme_variables, self.background_colors[1])
        return self._palette

    @property
    def text_width(self) -> int:
        """Cells that a line of text has."""
        return max(4, self.scrollable_content_region.width - GUTTER - 1)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self._palette is not None:
            fresh = Palette(self.app.theme_variables, self.background_colors[1])
            if (fresh.text, fresh.primary, fresh.muted) != (
                self._palette.text,
                self._palette.primary,
                self._palette.muted,
            ):
                self._palette = fresh
                self._measure_again()

    def on_resize(self, _event: events.Resize) -> None:
        if self.text_width != self._drawn_width:
            self._measure_again()
        elif self.following:
            self._to_end()
        self._settle()

    def _measure_again(self) -> None:
        """The width or the theme is another one: estimate everything, draw what is in sight."""
        top = self._heights.at(self.scroll_offset.y) if len(self._heights) and not self.following else None
        self._drawn_width = width = self.text_width
        self._heights = Heights(entry.estimate(width) for entry in self.entries)
        self._resize_content()
        if top is not None and top < len(self.entries):
            self._scroll_now(self._heights.start(top))
        self._settle()
        self.refresh()

    def _draw_entry(self, index: int) -> int:
        entry = self.entries[index]
        changed = entry.draw(self._drawn_width, self.palette, first=index == 0)
        self._heights.put(index, entry.height or 0, exact=True)
        return changed

    def _grow(self, index: int) -> None:
        """An entry changed: draw it, keep what is in sight where it is, and follow the end if that is wanted."""
        if not self._drawn_width or not self.is_mounted:
            self._heights.put(index, self.entries[index].estimate(max(4, self._drawn_width)), exact=False)
            return
        begun = perf_counter()
        before, top = self._heights[index], self.scroll_offset.y
        start = self._heights.start(index)
        changed = self._draw_entry(index)
        growth = self._heights[index] - before
        self.draw_seconds = perf_counter() - begun
        if growth:
            self._resize_content()
        if self.following:
            self._to_end()
        elif growth and start + before <= top:
            self._scroll_now(top + growth)
        first = start + changed - self.scroll_offset.y
        height = self.scrollable_content_region.height
        if first < height:
            first = max(0, first)
            # In the content's own coordinates.
            self.refresh(Region(0, first, self.scrollable_content_region.width, height - first))

    def _resize_content(self) -> None:
        """Tell the scroll bar, without laying out the screen again: our own size stays as it is."""
        size = Size(self.scrollable_content_region.width, self._heights.total)
        if size == self.virtual_size:
            return
        self.set_reactive(Widget.virtual_size, size)
        if self.is_mounted and self.container_size.height:
            self._scroll_update(size)

    def _scroll_now(self, y: float) -> None:
        self.scroll_to(y=max(0, y), animate=False, immediate=True, force=True)

    def _to_end(self) -> None:
        if round(self.scroll_y) != self.max_scroll_y:
            self._scroll_now(self.max_scroll_y)
            self.following = True

    def _settle(self) -> None:
        """Draw the turns in sight; where an estimate was wrong, what stands on the screen stays there."""
        if self._settling or not self._drawn_width or not self.is_mounted or not self.entries:
            return
        self._settling = True
        try:
            for _ in range(6):
                top = self.scroll_offset.y
                height = self.scrollable_content_region.height
                first, last = self._heights.at(top), self._heights.at(top + max(0, height - 1))
                inexact = [
                    i for i in range(first, last + 1) if not self._heights.exact(i) or self.entries[i].height is None
                ]
                if not inexact:
                    break
                shift = 0
                for index in inexact:
                    before = self._heights[index]
                    self._draw_entry(index)
                    if index == first and self._heights.start(index) < top:
                        shift += self._heights[index] - before
                self._resize_content()
                self.refresh()
                if self.following:
                    self._to_end()
                elif shift:
                    self._scroll_now(top + shift)
        finally:
            self._settling = False

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._settling and round(old_value) != round(new_value):
            self.following = new_value >= self.max_scroll_y
            self._settle()

    def render_line(self, y: int) -> Strip:
        """One line with its offsets, as selecting with the mouse looks them up."""
        width = self.scrollable_content_region.width
        line = self.scroll_offset.y + y
        parts = self._parts(line) if not self._edging else None
        if parts is None:
            return Strip([Segment(" " * width, self.palette.text)], width)
        gutter, text = parts
        # It may be asked for before the new width is known here, and the text be longer than the line.
        made = Strip([gutter, *text, Segment(" ", self.palette.text)]).adjust_cell_length(width, self.palette.text)
        selection = self.text_selection
        span = selection.get_span(line) if selection is not None else None
        if span is not None:
            made = selected(made, span, self.screen.get_component_rich_style("screen--selection"))
        return made.apply_offsets(0, line)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines as they are painted.

        Not by the widget's usual way: it makes seven strips of each line, and offsets give each segment a style of its
        own whose escape sequence is then made anew. A page of 33 lines took 25 ms that way and takes 7 so.
        """
        if self.text_selection is not None or self.opacity < 1 or not self.entries:
            return super().render_lines(crop)
        edges = self._edges()
        filters, background = self.get_line_filters(), self.background_colors[1]
        width = self.region.width
        painted = self._painted if self.text_width == self._drawn_width else self._cut
        strips = []
        for y in crop.line_range:
            strip = painted(self.scroll_offset.y + y, width, edges)
            for line_filter in filters:
                strip = strip.apply_filter(line_filter, background)
            strips.append(strip)
        if crop.column_span != (0, width):
            strips = [strip.crop(*crop.column_span) for strip in strips]
        return strips

    def _edges(self) -> tuple[list[Segment], list[Segment]]:
        """What stands left and right of every line: border and padding."""
        width, gutter = self.region.width, self.gutter
        styles = self.styles
        # With the gutter: it has one cell more once the scroll bar stands in it.
        key = (width, gutter, styles.border_left, styles.border_right, self.background_colors, self.palette)
        if self._edges_made is None or self._edges_made[0] != key:
            self._styles_cache.clear()
            # Of an empty line: a text that was drawn for another width would be cut at the wrong cells.
            self._edging = True
            whole = super().render_lines(Region(0, 0, width, 1))[0]
            self._edging = False
            self._styles_cache.clear()
            edges = list(whole.crop(0, gutter.left)), list(whole.crop(width - gutter.right, width))
            self._edges_made = key, edges
            self._strips.clear()
        return self._edges_made[1]

    def _painted(self, line: int, width: int, edges: tuple[list[Segment], list[Segment]]) -> Strip:
        parts = self._parts(line)
        gutter, text = parts if parts is not None else (self.palette.no_mark, _NOTHING)
        kept = self._strips.get(line)
        # A strip keeps what the compositor makes of it: the same line must stay the same strip.
        if kept is not None and kept[0] is text and kept[1] is gutter and kept[2].cell_length == width:
            return kept[2]
        left, right = edges
        used = self.gutter.width + (GUTTER + self._drawn_width if parts is not None else GUTTER)
        blank = Segment(" " * max(0, width - used), self.palette.text)
        made = Strip([*left, gutter, *text, blank, *right], width)
        if len(self._strips) >= KEPT_STRIPS:
            self._strips.clear()
        self._strips[line] = (text, gutter, made)
        return made

    def _cut(self, line: int, width: int, edges: tuple[list[Segment], list[Segment]]) -> Strip:
        """A line as long as it has to be, while the text is still broken for another width."""
        parts = self._parts(line)
        gutter, text = parts if parts is not None else (self.palette.no_mark, _NOTHING)
        left, right = edges
        room = max(0, width - self.gutter.width)
        return Strip([*left, *Strip([gutter, *text]).adjust_cell_length(room, self.palette.text), *right], width)

    def _parts(self, line: int) -> tuple[Segment, Line] | None:
        """The mark before a line, and its text; None: nothing stands there."""
        if not self.entries or line >= self._heights.total:
            return None
        index = self._heights.at(line)
        if not self._heights.exact(index):
            self._draw_entry(index)
        n = line - self._heights.start(index)
        try:
            return self._gutter(index, n), self.entries[index].line(n)
        except IndexError:
            return None

    def _gutter(self, index: int, line: int) -> Segment:
        blank_above = 1 if index else 0
        if line >= blank_above:
            if index == self.cursor and self.has_focus:
                return self.palette.chosen_mark
            if self.entries[index].kind == "user":
                return self.palette.user_mark
        return self.palette.no_mark

    # -- selecting with the mouse

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        total = self._heights.total
        first = selection.start.y if selection.start is not None else 0
        last = min(total - 1, selection.end.y if selection.end is not None else total - 1)
        lines: list[str] = []
        for y in range(first, last + 1):
            index = self._heights.at(y)
            if not self._heights.exact(index):
                self._draw_entry(index)
            height = self.entries[index].height or 0
            n = y - self._heights.start(index)
            text = "  " + "".join(s.text for s in self.entries[index].line(n)) if n < height else ""
            start, end = selection.get_span(y) or (0, 0)
            text = text[start:] if end == -1 else text[start:end]
            lines.append(text.removeprefix("  ").rstrip() if start == 0 else text.rstrip())
        return "\n".join(lines), "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002
        self.refresh()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # One text has no turns; of a duel nothing but its places can be walked over.
        if self.walks_tokens:
            wish = parameters[0] if action == "wish" else None
            if self.compares and wish not in (None, "previous", "next", "copy"):
                return False
            if not self.compares and (action == "fold" or wish == "delete"):
                return False
        return super().check_action(action, parameters)

    @property
    def walks_tokens(self) -> bool:
        """Whether keys walk over the tokens of a text instead of branches."""
        return bool(self.entries) and isinstance(self.entries[-1], Passage)

    @property
    def compares(self) -> bool:
        """Whether that text is the answer of a duel, below what was asked."""
        return self.walks_tokens and len(self.entries) > 1

    def key_label(self, binding: Binding) -> str | None:
        """What a key does here, where that is not what it does among turns; None: the same."""
        if not self.walks_tokens:
            return None
        return {"turn.up": "scroll", "turn.next": "place" if self.compares else "token"}.get(binding.id or "")

    def watch_cursor(self, _old: int | None, _new: int | None) -> None:
        self.refresh()
        entry = self.chosen
        self.post_message(self.Chosen(self, entry.key if entry else None))

    def on_focus(self) -> None:
        if self.cursor is None and self.entries:
            self.cursor = self._heights.at(self.scroll_offset.y + self.scrollable_content_region.height - 1)
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def action_walk(self, step: int) -> None:
        """To the next turn; inside one that is longer than the screen, a few lines on."""
        if not self.entries:
            return
        if self.cursor is None:
            self.cursor = len(self.entries) - 1
            return
        start = self._heights.start(self.cursor)
        end = start + self._heights[self.cursor]
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        if step > 0 and end > top + height and start < top + height:
            self._scroll_now(min(top + 3, end - height))
            return
        if step < 0 and start < top and end > top:
            self._scroll_now(max(start, top - 3))
            return
        self.cursor = max(0, min(len(self.entries) - 1, self.cursor + step))
        self._into_sight(self.cursor, from_above=step > 0)

    def _into_sight(self, index: int, *, from_above: bool = True) -> None:
        start = self._heights.start(index)
        end = start + self._heights[index]
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        if end - start > height:
            self._scroll_now(start if from_above else end - height)
        elif start < top:
            self._scroll_now(start)
        elif end > top + height:
            self._scroll_now(end - height)

    def action_wish(self, what: str) -> None:
        """Ask for something to be done with the turn under the cursor, which is lost where others are shown."""
        if self.cursor is None and self.entries:
            self.cursor = len(self.entries) - 1
        self.post_message(self.Wished(self, what))

    def action_page_up(self) -> None:
        """A page up, at once."""
        self._scroll_now(self.scroll_offset.y - max(1, self.scrollable_content_region.height - 1))

    def action_page_down(self) -> None:
        """A page down, at once."""
        self._scroll_now(self.scroll_offset.y + max(1, self.scrollable_content_region.height - 1))

    def action_scroll_home(self) -> None:
        """To the beginning, at once."""
        self._scroll_now(0)

    def action_follow(self) -> None:
        """To the end, and stay there as it grows."""
        self.following = True
        if self.entries:
            self.cursor = len(self.entries) - 1
        self._to_end()
        self._settle()

    def action_fold(self) -> None:
        """Fold or unfold the thinking, or a long prompt."""
        if self.chosen is not None:
            self.fold(self.chosen)

    def show_line(self, entry: Entry, line: int) -> None:
        """Bring a line of an entry into sight."""
        y = self._heights.start(self.entries.index(entry)) + line
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        if not top <= y < top + height:
            self.following = False
            self._scroll_now(y - height // 2)

    def fold(self, entry: Entry) -> None:
        """Fold or unfold one entry, with its fold line staying in sight."""
        if not entry.fold():
            return
        self.following = False
        self._grow(self.entries.index(entry))
        self._settle()

    def on_click(self, event: events.Click) -> None:
        if not self.entries:
            return
        y = self.scroll_offset.y + int(event.y)
        index = self._heights.at(y)
        self.cursor = index
        entry = self.entries[index]
        if entry.fold_line is not None and y - self._heights.start(index) == entry.fold_line:
            self.fold(entry)
