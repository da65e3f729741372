"""What a terminal too small for the screens shows in their place."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

MIN_COLUMNS = 40
MIN_ROWS = 10


class TooSmall(Widget):
    """A few words; the stylesheet shows it alone below 40 x 10."""

    def __init__(self) -> None:
        super().__init__()
        self._focused: Widget | None = None
        """What had the keys last."""

    def on_mount(self) -> None:
        self.watch(self.screen, "focused", self._remember)

    def _remember(self, focused: Widget | None) -> None:
        if focused is not None:
            self._focused = focused

    def on_hide(self) -> None:
        """Give the keys back: what is not displayed loses them, and nobody else would return them."""
        kept = self._focused
        if self.screen.focused is not None:
            return
        if kept is not None and kept.is_attached and kept.focusable:
            self.screen.set_focus(kept, scroll_visible=False)
        else:
            self.screen.focus_next()

    def render(self) -> Content:
        return Content(f"too small:\nenlarge to {MIN_COLUMNS}x{MIN_ROWS}")
