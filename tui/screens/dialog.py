"""What every box that stands over a screen has in common."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

from tui.screens.steady import SteadyScreen

Result = TypeVar("Result")


class Dialog(ModalScreen[Result], SteadyScreen[Result]):
    """A modal screen that leaves once.

    Keys that were typed quickly wait in the queue of the box that the first of them closed. Textual's own dismiss would
    then take down the screen below it, and end the app where that is the last one.
    """

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Leave with a result; nothing happens where this box is not the one in front."""
        return super().dismiss(result) if self.is_active else AwaitComplete()
