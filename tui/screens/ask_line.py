"""A question that is answered with one line."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from tui.screens.dialog import Dialog
from tui.widgets.lines import clean, plain
from tui.widgets.typing_line import TypingLine


class AskLine(Dialog[str | None]):
    """One line of text; None: given up."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "close", id="ask.leave")]
    DEFAULT_CSS = """
    AskLine Input { background: $panel; }
    """

    def __init__(self, title: str, text: str = "", placeholder: str = "") -> None:
        super().__init__()
        self._title = title
        self._text = clean(text)
        self._placeholder = placeholder

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = plain(self._title)
            box.border_subtitle = plain("enter takes it   esc leaves")
            yield TypingLine(self._text, placeholder=self._placeholder, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)
