"""The tour of the first run: three steps in a corner; a key that is not its own ends it and still does its work."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click, Key
from textual.widgets import Static

from tui.screens.dialog import Dialog
from tui.widgets.lines import plain

STEPS: Final = (
    (
        "Find a model",
        "Each row is a family of models. Go with the arrows, or type / and a few letters. "
        "The sign before a name is the best that any size of it does on this machine.",
    ),
    (
        "See what fits",
        "enter opens a family: sizes in rows, quantizations in columns. Each cell says whether it runs on the GPU, "
        "in RAM, or not at all; the line below says why.",
    ),
    (
        "Talk to it",
        "enter on a cell downloads what is missing, after asking, and opens the chat. "
        "ctrl+p finds every action, ? explains every sign and key.",
    ),
)


class Tour(Dialog[None]):
    """What to do first, beside the screen where it is done."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "step(1)", "next", id="tour.next"),
        Binding("backspace", "step(-1)", "back", id="tour.back"),
        Binding("escape", "step(3)", "skip", id="tour.skip"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def compose(self) -> ComposeResult:
        yield Static(classes="box", markup=False)

    def on_mount(self) -> None:
        self._show()

    def _show(self) -> None:
        title, words = STEPS[self._at]
        box = self.query_one(Static)
        box.border_title = plain(f"{self._at + 1} of {len(STEPS)}: {title}")
        last = self._at + 1 == len(STEPS)
        box.border_subtitle = plain("space ends the tour" if last else "space next   esc skips")
        box.update(words)

    def action_step(self, by: int) -> None:
        """To another step; past the last one the tour ends."""
        self._at = max(0, self._at + by)
        if self._at < len(STEPS):
            self._show()
        else:
            self.dismiss()

    def on_click(self, event: Click) -> None:
        event.stop()
        self.action_step(1)

    def on_key(self, event: Key) -> None:
        if event.key in {"space", "backspace", "escape"}:
            return
        event.stop()
        event.prevent_default()
        app = self.app
        self.dismiss()
        app.call_later(app.simulate_key, event.key)
