"""A question that is answered with enter or escape."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.widgets.lines import clean, plain


class Ask(ModalScreen[bool]):
    """Yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "answer(True)", "yes", id="ask.yes"),
        Binding("escape,n,q", "answer(False)", "no", id="ask.no"),
    ]

    def __init__(self, title: str, question: str) -> None:
        super().__init__()
        self._title = title
        self._question = question

    def compose(self) -> ComposeResult:
        box = Static(clean(self._question), classes="box", markup=False)
        box.border_title = plain(self._title)
        box.border_subtitle = plain("enter yes   esc no")
        yield box

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
