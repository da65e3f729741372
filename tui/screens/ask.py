"""A question that is answered with enter or escape."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from tui.screens.dialog import Dialog
from tui.widgets.lines import clean, plain


class Ask(Dialog[bool]):
    """Yes or no; None when the question has lost its meaning meanwhile."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "answer(True)", "yes", id="ask.yes"),
        Binding("escape,n,q", "answer(False)", "no", id="ask.no"),
    ]

    def __init__(self, title: str, question: str, *, moot: Callable[[], bool] | None = None) -> None:
        """Ask.

        Args:
            title: What it is about.
            question: The question, literally.
            moot: Whether nobody needs to answer any more; asked whenever the app learns something.
        """
        super().__init__()
        self._moot = moot
        self._title = title
        self._question = question

    def compose(self) -> ComposeResult:
        box = Static("\n".join(map(clean, self._question.split("\n"))), classes="box", markup=False)
        box.border_title = plain(self._title)
        box.border_subtitle = plain("enter yes   esc no")
        yield box

    def close_if_moot(self) -> None:
        """Close without an answer when there is nothing left to ask."""
        if self._moot is not None and self.is_current and self._moot():
            self._moot = None
            self.dismiss(None)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
