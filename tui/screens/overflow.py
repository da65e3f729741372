"""What to do when a prompt and the conversation before it are more than the context holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.widgets.lines import plain

Way = Literal["drop", "summarise", "enlarge"]
KEYS: dict[Way, str] = {"drop": "d", "summarise": "s", "enlarge": "l"}


class Overflow(ModalScreen[Way | None]):
    """Gives back the way that the user chose; None: nothing is sent."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "take('drop')", "leave out", id="overflow.drop"),
        Binding("s", "take('summarise')", "summarise", id="overflow.summarise"),
        Binding("l", "take('enlarge')", "larger", id="overflow.enlarge"),
        Binding("escape", "leave", "back to the prompt", id="overflow.leave"),
    ]
    DEFAULT_CSS = """
    Overflow { .box { width: 76; } .way { margin-top: 1; height: auto; } #back { margin-top: 1; color: $muted; } }
    """

    def __init__(self, what: str, ways: Sequence[tuple[Way, str]]) -> None:
        super().__init__()
        self._what = what
        self._ways = ways

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = plain("More than the context holds")
            yield Static(plain(self._what))
            for way, words in self._ways:
                yield Static(plain((KEYS[way], "bold"), f"   {words}"), classes="way")
            yield Static(plain("esc   back to the prompt, nothing is sent"), id="back")

    def action_take(self, way: Way) -> None:
        if any(way == offered for offered, _ in self._ways):
            self.dismiss(way)

    def action_leave(self) -> None:
        self.dismiss(None)
