"""What the user may ask of a load on the browse screen: steps of context, and types of KV cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backends.defaults import DEFAULT_CONTEXT

if TYPE_CHECKING:
    from backends.fit import Wish
    from specs.model import ModelFamily


CONTEXTS: Final = tuple(1024 << step for step in range(11))
"""Context lengths that [ and ] step through: 1,024 to 1,048,576 tokens."""
KV_CACHE_TYPES: Final = ("f16", "q8_0", "q4_0")


def next_context(now: int, steps: int) -> int:
    """The context so many steps longer, or shorter below 0; the last one at either end."""
    at = next((i for i, context in enumerate(CONTEXTS) if context >= now), len(CONTEXTS) - 1)
    return CONTEXTS[max(0, min(len(CONTEXTS) - 1, at + steps))]


def next_cache_type(now: str) -> str:
    """The type after this one, in a circle."""
    return KV_CACHE_TYPES[(KV_CACHE_TYPES.index(now) + 1) % len(KV_CACHE_TYPES)]


def wish_for(family: ModelFamily | None, context: int, kv_cache_type: str) -> Wish:
    """What the user asks of a load; a family's own context where it is shorter."""
    from backends.fit import Wish  # values of a fit stand before no first frame

    asked: int | None = context
    if family is not None and family.context_length:
        asked = min(context, family.context_length)
    elif context == DEFAULT_CONTEXT:
        asked = None
    return Wish(context=asked, kv_cache_type=kv_cache_type)
