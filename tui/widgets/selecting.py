"""Lines that the mouse marks."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip


def selected(strip: Strip, span: tuple[int, int], style: Style) -> Strip:
    """The line with a span of its cells in this style; an end of -1 is the line's end."""
    start, end = span
    width = strip.cell_length
    if end == -1:
        end = width
    start, end = max(0, min(start, width)), max(0, min(end, width))
    if start >= end:
        return strip
    before, middle, after = (strip.crop(0, start), strip.crop(start, end), strip.crop(end, width))
    marked = Strip([Segment(text, (own + style) if own else style) for text, own, _ in middle], end - start)
    return Strip.join([before, marked, after])
