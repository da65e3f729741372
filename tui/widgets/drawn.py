"""Widgets that draw line by line, and repaint only the lines that came out differently.

On a slow line a repaint costs its bytes: most lines of a matrix or a list are the same after a key as before it.
"""

from __future__ import annotations

from rich.style import Style
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class DrawnLines(Widget):
    """To be put before Widget or ScrollView: subclasses draw one line of what is in view."""

    _base = Style.null()
    _drawn_width = 0

    def draw_line(self, y: int, width: int, base: Style) -> Strip:
        """The line at y of what is in view, this wide, on the widget's own colours."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Look up once for all lines what Textual works out anew each time it is asked."""
        self._base = self.rich_style
        self._drawn_width = self.scrollable_content_region.width

    def render_lines(self, crop: Region) -> list[Strip]:
        self._begin()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        strip = self.draw_line(y, self._drawn_width, self._base)
        self._drawn[y] = strip
        return strip

    @property
    def _drawn(self) -> dict[int, Strip]:
        """Lines as they were last painted."""
        lines: dict[int, Strip] | None = self.__dict__.get("_drawn_lines")
        if lines is None:
            lines = self.__dict__["_drawn_lines"] = {}
        return lines

    def redraw(self) -> None:
        """Repaint the lines that are others now."""
        if not self.is_attached or not self.size:
            return
        self._begin()
        drawn = self._drawn
        width = self.size.width
        changed = [
            Region(0, y, width, 1)
            for y in range(self.size.height)
            if self.draw_line(y, self._drawn_width, self._base) != drawn.get(y)
        ]
        if changed:
            self.refresh(*changed)

    def retitle(self, title: Content) -> None:
        """Set the title in the border, and repaint that one line only."""
        if self.__dict__.get("_title_shown") == title:
            return
        self.__dict__["_title_shown"] = title
        # The public property repaints the whole widget.
        self._border_title = title
        self.refresh(Region(-self.gutter.left, -self.gutter.top, self.outer_size.width, 1))
