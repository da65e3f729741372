"""The top or bottom edge of a pane's frame, with words in it: cheap to change while tokens arrive."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from specs.text import printable
from tui.widgets.palette import Palette

Part = tuple[str, str]
"""A text and the name of its style: "text", "muted", "primary", "accent", "warning" or "error"."""


class FrameLine(Widget):
    """One edge: ╭ words ─── more ╮."""

    DEFAULT_CSS = """
    FrameLine { height: 1; color: $foreground; background: $background; }
    """

    def __init__(self, corners: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._corners = corners
        self._left: tuple[Part, ...] = ()
        self._right: tuple[Part, ...] = ()
        self.active = False
        """Whether the frame stands out."""

    def say(self, left: Sequence[Part], right: Sequence[Part] = ()) -> None:
        """Show these words, if they are other ones."""
        fresh = (tuple((printable(t), s) for t, s in left), tuple((printable(t), s) for t, s in right))
        if fresh != (self._left, self._right):
            self._left, self._right = fresh
            self.refresh()

    @property
    def text(self) -> str:
        """The words, for tests and for the screen reader."""
        return "".join(part for part, _ in (*self._left, *self._right))

    def render_line(self, y: int) -> Strip:  # noqa: ARG002
        width = self.size.width
        palette = Palette(self.app.theme_variables, self.background_colors[1])
        edge = palette.edge if self.active else palette.rule
        if width < 8:
            return Strip([Segment("─" * width, edge)], width)
        room = width - 6
        right = _fit(self._right, room // 2 if self._left else room)
        used = sum(cell_len(text) for text, _ in right) + (2 if right else 0)
        left = _fit(self._left, max(0, room - used))
        segments = [Segment(self._corners[0] + "─", edge)]
        at = 2
        for group in (left, right):
            if not group:
                continue
            if group is right:
                gap = width - 2 - at - used
                segments.append(Segment("─" * max(0, gap), edge))
                at += max(0, gap)
            segments.append(Segment(" ", palette.text))
            segments.extend(Segment(text, getattr(palette, style)) for text, style in group)
            segments.append(Segment(" ", palette.text))
            at += 2 + sum(cell_len(text) for text, _ in group)
        segments.append(Segment("─" * max(0, width - 1 - at), edge))
        segments.append(Segment(self._corners[1], edge))
        return Strip(segments).crop(0, width)


def _fit(parts: Sequence[Part], room: int) -> list[Part]:
    """As many whole parts as there is room for, the last one cut with an ellipsis where it stands alone."""
    fitted: list[Part] = []
    for text, style in parts:
        cells = cell_len(text)
        if cells <= room:
            fitted.append((text, style))
            room -= cells
            continue
        if not fitted and room > 1:
            fitted.append((set_cell_size(text, room - 1) + "…", style))
        break
    return fitted
