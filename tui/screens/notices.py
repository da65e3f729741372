"""What went wrong without stopping anything, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.screens.dialog import Dialog
from tui.widgets.lines import plain


class Notices(Dialog[None]):
    """A list to read and leave."""

    holds = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f8,enter", "dismiss", "close", id="notices.close")]

    def __init__(self, notices: Sequence[str]) -> None:
        super().__init__()
        self._notices = notices

    def compose(self) -> ComposeResult:
        text = (
            "\n\n".join(self._notices) if self._notices else "Nothing to report: every spec file and device answered."
        )
        with VerticalScroll(classes="box") as box:
            box.border_title = plain("Notices")
            box.border_subtitle = plain("esc closes")
            yield Static(Content(text))

    async def action_dismiss(self, result: None = None) -> None:
        self.dismiss(result)
