"""What a terminal too small for the screens shows in their place."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

MIN_COLUMNS = 40
MIN_ROWS = 10


class TooSmall(Widget):
    """A few words; the stylesheet shows it alone below 40 x 10."""

    def render(self) -> Content:
        return Content(f"too small:\nenlarge to {MIN_COLUMNS}x{MIN_ROWS}")
