"""What a prompt takes of the context: system prompt, history and draft in tokens."""

from __future__ import annotations

from dataclasses import dataclass

from backends.conversation import Conversation
from backends.engines.engine import Engine, Turn


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens of one pane's next prompt against its context."""

    system: int
    history: int
    """Turns with their template; the system prompt not counted."""
    draft: int
    context: int

    @property
    def reserve(self) -> int:
        """Tokens that an answer needs at least."""
        return min(256, self.context // 8)

    @property
    def total(self) -> int:
        """Everything before the answer."""
        return self.system + self.history + self.draft

    @property
    def over(self) -> int:
        """Tokens too many for even a short answer; 0: it fits."""
        return max(0, self.total + self.reserve - self.context)


def count_budget(engine: Engine, turns: tuple[Turn, ...], system: str, draft: str, *, completes: bool) -> Budget:
    """Count with the model's own tokenizer and template.

    Args:
        engine: Counts.
        turns: The conversation, the system prompt first where there is one.
        system: The system prompt.
        draft: What stands in the prompt.
        completes: Whether it is a text without turns.
    """
    if completes:
        held = engine.count_tokens("".join(turn.text for turn in turns))
        return Budget(0, held, engine.count_tokens(draft) if draft else 0, engine.context)
    said = tuple(turn for turn in turns if turn.role != "system")
    whole = engine.prompt_tokens(turns) if turns else 0
    first = engine.count_tokens(system) if system.strip() else 0
    if not said:
        whole = first
    added = engine.prompt_tokens((*turns, Turn("user", draft))) - whole if draft.strip() else 0
    return Budget(first, whole - first, max(0, added), engine.context)


def oldest_to_drop(held: Conversation, history_tokens: int, tokens: int) -> tuple[str, ...]:
    """The oldest turns that together hold about so many tokens, never half of a question and its answer.

    Args:
        held: The conversation.
        history_tokens: What its turns take together; 0: not counted.
        tokens: What must become free.
    """
    dropped = set(held.dropped)
    path = [n for n in held.path() if n.id not in dropped]
    characters = sum(len(n.text) + 16 for n in path) or 1
    whole = history_tokens or characters // 4 or 1
    found: list[str] = []
    freed = 0.0
    for n in path:
        if freed >= tokens * 1.1 and n.role == "user":
            break
        found.append(n.id)
        freed += (len(n.text) + 16) / characters * whole
    return tuple(found)
