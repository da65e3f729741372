"""Keeps a conversation in the history while it is held."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from backends.conversation import Conversation, Node, Spot
from backends.history import History


class Written(Protocol):
    """A turn that is being written."""

    @property
    def reasoning(self) -> str:
        """Its thinking so far."""
        ...

    def answer_text(self, node_id: str) -> str:
        """The text of this turn so far."""
        ...

    def spots(self, node_id: str, first: int = 0) -> tuple[Spot, ...]:
        """Its tokens with alternatives, from this one on."""
        ...


class Keeper:
    """Tells the history what is new of one pane's conversation, each thing once."""

    def __init__(self, history: History | None = None) -> None:
        self.history = history
        """Where the conversation is kept; None: nowhere."""
        self._kept = ("", 0, 0, 0)
        """The turn that is being written, and how much of its text, thinking and tokens the history has."""

    def said(self, held: Conversation, turn: Node) -> None:
        """A turn began, and what was typed for it is no draft any more."""
        if self.history is None:
            return
        if turn.role == "user":
            self.history.save_draft("", "")
            self.history.save_draft(held.id, "")
        self.history.save(held)
        self.history.save_node(held.id, turn)

    def arrived(self, held: Conversation, node_id: str, written: Written) -> None:
        """Text was shown."""
        if self.history is None:
            return
        name, text_kept, reasoning_kept, spots_kept = self._kept
        text, reasoning = written.answer_text(node_id), written.reasoning
        if name != node_id:
            old = held.node(node_id)
            text_kept, reasoning_kept, spots_kept = len(old.text), len(old.reasoning), len(old.spots)
        spots = written.spots(node_id, spots_kept)
        if len(text) < text_kept or len(reasoning) < reasoning_kept:
            self.history.save_node(held.id, replace(held.node(node_id), text=text, reasoning=reasoning))
        else:
            self.history.append(node_id, text[text_kept:], reasoning[reasoning_kept:], spots)
        self._kept = (node_id, len(text), len(reasoning), spots_kept + len(spots))

    def finished(self, held: Conversation, turn: Node) -> None:
        """A turn is as it stays."""
        if self.history is not None:
            self.history.save_node(held.id, turn)
            self.history.save(held)
            self._kept = ("", 0, 0, 0)

    def keep(self, held: Conversation) -> None:
        """It stands elsewhere, or is called otherwise."""
        if self.history is not None and held.nodes:
            self.history.save(held)

    def deleted(self, before: Conversation, after: Conversation) -> None:
        """Turns were taken away."""
        if self.history is None:
            return
        kept = {n.id for n in after.nodes}
        self.history.delete_nodes([n.id for n in before.nodes if n.id not in kept])
        self.keep(after)

    def drafted(self, held: Conversation, text: str) -> None:
        """Something was typed and not sent."""
        if self.history is not None:
            self.history.save_draft(held.id if held.nodes else "", text)
