"""Conversations as trees: every turn has one before it, and may have several after it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from backends.engines.engine import Alternative, Role, Turn
from backends.errors import NotFound

Kind = Literal["chat", "completion"]
TITLE_CHARACTERS = 60


def fresh_id() -> str:
    """A new name for a turn or a conversation: sorts by time, unique between two programs on one database."""
    return f"{int(time.time() * 1000):011x}{secrets.token_hex(5)}"


@dataclass(frozen=True, slots=True)
class Spot:
    """One token of a completion, and what could have stood there instead."""

    offset: int
    """Characters of the same turn before it."""
    text: str
    alternatives: tuple[Alternative, ...]
    """The most probable first."""


@dataclass(frozen=True, slots=True)
class Node:
    """One turn in the tree."""

    id: str
    parent: str | None
    """The turn before; None: it is a first one."""
    role: Role
    text: str
    reasoning: str = ""
    model: str = ""
    """The variant's key that wrote it; empty for the user's turns."""
    created: float = 0.0
    """Seconds since 1970."""
    reasoning_tokens: int = 0
    decoded_tokens: int | None = None
    """Tokens of the answer, thinking included; None: not counted."""
    tokens_per_second: float | None = None
    first_seconds: float | None = None
    """From the prompt to the first token."""
    stop_reason: str | None = None
    """As Stats has it, or "error"; None: the user's turn, or an answer that the program did not live to finish."""
    error: str = ""
    """The line that the engine ended with; empty: it ended well."""
    spots: tuple[Spot, ...] = ()
    """Of a completion: the tokens whose alternatives are known, in the text's order."""


def node(role: Role, text: str, parent: str | None = None, **more: object) -> Node:
    """A new turn with an ID and a time of its own."""
    return Node(fresh_id(), parent, role, text, created=time.time(), **more)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A tree of turns, and the place in it where the conversation stands."""

    id: str
    title: str = ""
    """Empty: the first words of the first prompt stand in for it."""
    nodes: tuple[Node, ...] = ()
    """Every turn of every branch; a turn stands after its parent."""
    leaf: str | None = None
    """The last turn of the branch that is shown; None: nothing was said."""
    system: str = ""
    kind: Kind = "chat"
    model: str = ""
    """The variant's key that it was held with last."""
    pinned: bool = False
    created: float = 0.0
    updated: float = 0.0
    dropped: tuple[str, ...] = field(default=())
    """Turns that the user chose to leave out of the context; they stay on the screen."""

    def __contains__(self, node_id: str) -> bool:
        return any(n.id == node_id for n in self.nodes)

    def node(self, node_id: str) -> Node:
        """One turn."""
        for n in self.nodes:
            if n.id == node_id:
                return n
        raise NotFound(f"there is no turn {node_id} in this conversation")

    def path(self, leaf: str | None = None) -> tuple[Node, ...]:
        """The turns of one branch, oldest first."""
        by_id = {n.id: n for n in self.nodes}
        at = leaf if leaf is not None else self.leaf
        found: list[Node] = []
        while at is not None and at in by_id and len(found) <= len(by_id):
            found.append(by_id[at])
            at = by_id[at].parent
        return tuple(reversed(found))

    def children(self, node_id: str | None) -> tuple[Node, ...]:
        """The turns that follow one, oldest first; None: the first turns."""
        return tuple(n for n in self.nodes if n.parent == node_id)

    def siblings(self, node_id: str) -> tuple[Node, ...]:
        """The turns that stand at the same place, this one included."""
        return self.children(self.node(node_id).parent)

    def append(self, new: Node) -> Conversation:
        """The conversation with one more turn, standing there."""
        return replace(self, nodes=(*self.nodes, new), leaf=new.id, updated=new.created)

    def with_node(self, changed: Node) -> Conversation:
        """The conversation with another content of one turn."""
        return replace(self, nodes=tuple(changed if n.id == changed.id else n for n in self.nodes))

    def edit(self, node_id: str, text: str) -> Conversation:
        """A branch of its own that begins with another text of this turn."""
        old = self.node(node_id)
        whole = "end" if old.role == "assistant" else None
        return self.append(node(old.role, text, old.parent, stop_reason=whole))

    def standing_at(self, node_id: str | None) -> Conversation:
        """The same conversation, its branch ending here."""
        return replace(self, leaf=node_id)

    def walk(self, node_id: str, step: int) -> Conversation:
        """On the branch of the next or previous sibling, at its latest turn; the same where there is none."""
        siblings = self.siblings(node_id)
        at = next(i for i, n in enumerate(siblings) if n.id == node_id) + step
        if not 0 <= at < len(siblings):
            return self
        return replace(self, leaf=self.latest_leaf(siblings[at].id))

    def latest_leaf(self, node_id: str) -> str:
        """The last turn of the branch below a turn that was grown last."""
        below: dict[str | None, str] = {}
        for n in self.nodes:
            below[n.parent] = n.id
        while node_id in below:
            node_id = below[node_id]
        return node_id

    def below(self, node_id: str) -> tuple[str, ...]:
        """The turns that follow one, on every branch."""
        found: dict[str | None, None] = {node_id: None}
        for n in self.nodes:
            if n.parent in found:
                found[n.id] = None
        return tuple(name for name in found if name is not None and name != node_id)

    def delete(self, node_id: str) -> Conversation:
        """Without a turn and all that follows it; it stands at a sibling's branch, else at the turn before."""
        gone = {node_id, *self.below(node_id)}
        old = self.node(node_id)
        kept = replace(self, nodes=tuple(n for n in self.nodes if n.id not in gone))
        if self.leaf not in gone:
            return kept
        siblings = kept.children(old.parent)
        return replace(kept, leaf=kept.latest_leaf(siblings[-1].id) if siblings else old.parent)

    def place(self, node_id: str) -> tuple[int, int]:
        """Which of its siblings a turn is, counted from 1, and how many there are."""
        siblings = self.siblings(node_id)
        return next(i for i, n in enumerate(siblings, 1) if n.id == node_id), len(siblings)

    def places(self) -> dict[str, tuple[int, int]]:
        """place() of every turn at once."""
        by_parent: dict[str | None, list[str]] = {}
        for n in self.nodes:
            by_parent.setdefault(n.parent, []).append(n.id)
        return {name: (i, len(group)) for group in by_parent.values() for i, name in enumerate(group, 1)}

    def turns(self, leaf: str | None = None) -> tuple[Turn, ...]:
        """What the engine is given: the system prompt, then the branch without the turns left out."""
        first = (Turn("system", self.system),) if self.system.strip() else ()
        dropped = set(self.dropped)
        return first + tuple(Turn(n.role, n.text) for n in self.path(leaf) if n.id not in dropped)

    @property
    def name(self) -> str:
        """The title, or the first words of the first prompt."""
        return self.title or first_words(self.nodes)


def conversation(kind: Kind = "chat", model: str = "", system: str = "") -> Conversation:
    """A new one, with nothing said."""
    now = time.time()
    return Conversation(fresh_id(), kind=kind, model=model, system=system, created=now, updated=now)


def first_words(nodes: Sequence[Node]) -> str:
    """A title made of the first turn's beginning."""
    for n in nodes:
        words = " ".join(n.text[:400].split())
        if words:
            return words if len(words) <= TITLE_CHARACTERS else words[: TITLE_CHARACTERS - 1].rstrip() + "…"
    return "nothing said yet"
