"""What every box that stands over a screen has in common."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual import events
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

from tui.screens.steady import SteadyScreen

Result = TypeVar("Result")


class Dialog(ModalScreen[Result], SteadyScreen[Result]):
    """A modal screen that leaves once.

    Keys that were typed quickly wait in the queue of the box that the first of them closed. Textual's own dismiss would
    then take down the screen below it, and end the app where that is the last one.
    """

    holds: ClassVar[bool] = True
    """Whether it must be answered: something to read lets the user go elsewhere with the keys for that."""

    async def _on_key(self, event: events.Key) -> None:
        if self.holds:
            return
        for node, bindings in self._binding_chain:
            if node is self.app:
                for binding in bindings.key_to_bindings.get(event.key, ()):
                    if binding.action.startswith("mode("):
                        event.stop()
                        await self.app.run_action(binding.action)
                        return

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Leave with a result; nothing happens where this box is not the one in front."""
        return super().dismiss(result) if self.is_active else AwaitComplete()
