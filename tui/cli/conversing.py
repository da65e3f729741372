"""A conversation of the history that the command line goes on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.engines.engine import Stats
from backends.errors import BackendError

if TYPE_CHECKING:
    from backends.conversation import Conversation


def found(conversation_id: str) -> Conversation:
    """The conversation with this ID, or the only one whose ID begins so.

    Raises:
        NotFound: There is none, or several begin so.
    """
    from backends.history import History

    history = History()
    try:
        return history.load(conversation_id)
    finally:
        history.close()


def keep_turns(
    conversation: Conversation, prompt: str, answer: str, reasoning: str, stats: Stats | None, *, model: str
) -> None:
    """Write a prompt and its answer to the history, where the conversation stands."""
    from backends.conversation import node
    from backends.history import History

    asked = node("user", prompt, conversation.leaf)
    said = node(
        "assistant",
        answer,
        asked.id,
        reasoning=reasoning,
        model=model,
        decoded_tokens=stats.decoded_tokens if stats else None,
        tokens_per_second=stats.tokens_per_second if stats else None,
        first_seconds=stats.prefill_seconds if stats else None,
        stop_reason=stats.stop_reason if stats else "cancelled",
    )
    history = History()
    try:
        history.save(conversation.append(asked).append(said))
        history.save_node(conversation.id, asked)
        history.save_node(conversation.id, said)
        if not history.flush():
            raise BackendError(f"the answer was not written to the history at {history.path}")
    finally:
        history.close()
