"""What every screen has in common, boxes included."""

from __future__ import annotations

from typing import TypeVar

from textual.dom import NoScreen
from textual.screen import Screen

Result = TypeVar("Result")


class SteadyScreen(Screen[Result]):
    """A screen that goes on where a widget was taken away in the middle of its painting.

    Textual takes a widget out of the tree a moment before it lays the screen out anew. A frame that falls between,
    such as a word of the answer beside a pane that is being closed or a toast that is over, paints it once more; asked
    for its selection it has no screen any more, and the error would end the app.
    """

    def _compositor_refresh(self) -> None:
        if getattr(self.app, "_batch_count", 0):
            return  # Textual would draw all of it and throw it away; what is to be painted stays noted
        try:
            super()._compositor_refresh()
        except NoScreen:
            # What this frame was to show is forgotten by now: all of it is painted again, by a layout without it.
            self.refresh(layout=True)
