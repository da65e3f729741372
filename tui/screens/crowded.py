"""What to do when a model does not fit beside those that are loaded."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from backends.loaded import LoadRequest
from backends.room import Room, held_bytes
from tui import units
from tui.screens.dialog import Dialog
from tui.widgets.lines import clean, plain

Choice = Literal["unload", "anyway"]


class Crowded(Dialog[Choice | None]):
    """Gives back what the user chose; None: nothing is loaded and nothing unloaded."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u,enter", "take('unload')", "unload and load", id="crowded.unload"),
        Binding("a", "take('anyway')", "load anyway", id="crowded.anyway"),
        Binding("escape", "leave", "leave it", id="crowded.leave"),
    ]
    DEFAULT_CSS = """
    Crowded { .box { width: 76; } .way { margin-top: 1; height: auto; } #back { margin-top: 1; color: $muted; } }
    """

    def __init__(self, request: LoadRequest, room: Room) -> None:
        super().__init__()
        self._request = request
        self._room = room

    def compose(self) -> ComposeResult:
        room = self._room
        name = clean(f"{self._request.weights.name} {self._request.weights.quantization}")
        with Vertical(classes="box") as box:
            box.border_title = plain("Not enough room beside the others")
            yield Static(
                plain(
                    f"{name} takes about {units.memory(room.wanted_bytes)}. {units.memory(room.free_bytes)} of "
                    f"{units.memory(room.total_bytes)} are free, and loaded models hold "
                    f"{units.memory(room.held_bytes)}: {units.memory(room.missing_bytes)} are missing."
                )
            )
            if room.unload:
                named = ", ".join(f"{clean(model.name)} ({units.memory(held_bytes(model))})" for model in room.unload)
                yield Static(plain(("u", "bold"), f"   unload {named}, then load it"), classes="way")
            else:
                yield Static(plain("No loaded model would free enough; a shorter context needs less."), classes="way")
            yield Static(plain(("a", "bold"), "   load it anyway; the system may run out of memory"), classes="way")
            yield Static(plain("esc   leave everything as it is"), id="back")

    def action_take(self, choice: Choice) -> None:
        if choice == "anyway" or self._room.unload:
            self.dismiss(choice)

    def action_leave(self) -> None:
        self.dismiss(None)
