"""Places to type into whose editing keys keep their turn among the letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.widgets import Input

if TYPE_CHECKING:
    from textual.widget import Widget
else:
    # A widget of its own kind would stand between a class and what it inherits from its own widget: focus, styles.
    Widget = object

EDITING = ("delete_", "cursor_", "home", "end")
"""How the names of actions begin that change the text or move in it."""


class InTurn(Widget):
    """Takes its editing keys where it takes its letters.

    Textual lets a bound key bubble up to the app before it acts, and the letters typed after it overtake it on the way:
    a mistake wiped out with backspace and written anew at once stood wrong in the line.
    """

    async def _on_key(self, event: events.Key) -> None:
        if event.is_printable or self.leaves(event.key):
            return
        chain = self.screen._binding_chain  # with the user's own keys, as the app would look them up
        own = next((bindings for node, bindings in chain if node is self), self._bindings)
        for binding in own.key_to_bindings.get(event.key, ()):
            if binding.action.startswith(EDITING):
                event.stop()
                event.prevent_default()
                await self.run_action(binding.action)
                return

    def leaves(self, key: str) -> bool:  # noqa: ARG002
        """Whether a key is for somebody further up now."""
        return False


class TypingLine(InTurn, Input):
    """One line to type into."""
