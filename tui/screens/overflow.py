"""What to do when a prompt and the conversation before it are more than the context holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from backends.budget import Budget
from tui import units
from tui.screens.dialog import Dialog
from tui.widgets.lines import plain

Way = Literal["drop", "summarise", "enlarge"]
KEYS: dict[Way, str] = {"drop": "d", "summarise": "s", "enlarge": "l"}


def larger_context(budget: Budget) -> int:
    """The context that would hold it, twice as large as it is or twice that, and so on."""
    context = budget.context
    while context < budget.total + budget.reserve:
        context *= 2
    return context


def ways(budget: Budget, droppable: int, context: int, max_context: int | None) -> list[tuple[Way, str]]:
    """What can be done, in words.

    Args:
        budget: More than the context holds.
        droppable: Oldest turns that would make room; 0: none may go.
        context: That would hold it.
        max_context: Up to which the fit says that it fits; None: not known.
    """
    found: list[tuple[Way, str]] = []
    if droppable and budget.draft + budget.system + budget.reserve <= budget.context:
        found.append(("drop", f"leave the {droppable} oldest turns out; they stay on the screen"))
        found.append(("summarise", f"let the model put the {droppable} oldest turns into a few words first"))
    if max_context is None or max_context >= context:
        fits = "" if max_context is None else "; the fit says that it fits"
        found.append(("enlarge", f"load the model again with a context of {units.count(context)}{fits}"))
    return found


class Overflow(Dialog[Way | None]):
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

    def __init__(self, budget: Budget, offered: Sequence[tuple[Way, str]]) -> None:
        super().__init__()
        self._what = (
            f"System prompt, conversation and this prompt are {units.count(budget.total)} tokens, an answer needs "
            f"at least {units.count(budget.reserve)} more, and the context holds {units.count(budget.context)}."
        )
        self._ways = offered

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = plain("More than the context holds")
            yield Static(plain(self._what))
            if not self._ways:
                yield Static(
                    plain("It can be sent when it is shorter, or to a model with a longer context."), classes="way"
                )
            for way, words in self._ways:
                yield Static(plain((KEYS[way], "bold"), f"   {words}"), classes="way")
            yield Static(plain("esc   back to the prompt, nothing is sent"), id="back")

    def action_take(self, way: Way) -> None:
        if any(way == offered for offered, _ in self._ways):
            self.dismiss(way)

    def action_leave(self) -> None:
        self.dismiss(None)
