"""What the KV caches of a transformers model hold, checked by token numbers.

transformers uses whatever cache it is given and checks nothing: a wrong prefix makes a wrong answer without a word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from backends.engines.llama_cache import common_prefix

BLOCK_TOKENS: Final = 128
"""Tokens computed at a time in prefill: a stop is heard between two blocks, and blocks begin at multiples of it, so
that the same prompt is computed in the same shapes and the same seed gives the same text."""
PARKED_BYTES: Final = 1 << 30
"""Host memory for conversations that are not live; the oldest goes first."""
WORTH_TOKENS: Final = 64
"""A shorter stretch is computed again sooner than it is kept."""
KEPT_PAST_TOKENS: Final = 2048
"""How much more than its window a sliding layer may hold, so that answers can be taken back."""


@dataclass(slots=True, eq=False)
class Conversation:
    """One cache with the tokens that it holds."""

    cache: Any
    tokens: list[int] = field(default_factory=list)
    floor: int = 0
    """The lowest place that the cache can be cut to: sliding windows have lost what lies before."""
    exact_tokens: int = 0
    """So many from the beginning were computed in whole blocks."""


class TorchCaches:
    """The live cache and those of other conversations, which wait in host memory."""

    def __init__(self, torch: Any, cache_class: Any, config: Any) -> None:
        self._torch = torch
        self._cache_class = cache_class
        self._config = config
        self._parked: list[Conversation] = []
        self._live = self._fresh()

    @property
    def live(self) -> Any:
        """The cache to compute with."""
        return self._live.cache

    @property
    def length(self) -> int:
        return len(self._live.tokens)

    def added(self, tokens: list[int]) -> None:
        """Note what one forward pass has added."""
        live = self._live
        if len(live.tokens) == live.exact_tokens and len(tokens) == BLOCK_TOKENS:
            live.exact_tokens += BLOCK_TOKENS
        live.tokens += tokens

    def forget(self) -> None:
        """Drop the live cache: after a failure nobody knows what it holds."""
        self._live = self._fresh()

    def prepare(self, wanted: list[int], *, exact: bool) -> int:
        """Make the live cache hold the longest known beginning of wanted; returns its tokens."""
        reach = len(wanted) - 1
        live = min(common_prefix(self._live.tokens, wanted), reach)
        other = max(self._parked, key=lambda one: common_prefix(one.tokens, wanted), default=None)
        elsewhere = min(common_prefix(other.tokens, wanted), reach) if other is not None else 0
        if other is not None and elsewhere >= live + WORTH_TOKENS:
            self._parked.remove(other)
            self._park()
            self._move(other.cache, back=True)
            self._live = other
            live = elsewhere
        elif live < len(self._live.tokens) // 2 and len(self._live.tokens) >= WORTH_TOKENS:
            self._park()
            live = 0
        if exact:
            live = min(live, self._live.exact_tokens) // BLOCK_TOKENS * BLOCK_TOKENS
        return self._cut(live)

    def _fresh(self) -> Conversation:
        cache = self._cache_class(config=self._config)
        for layer in cache.layers:
            # Keeps what a window has passed until the next turn begins, so that an answer can be taken back.
            if getattr(layer, "is_sliding", False) and hasattr(layer, "activate_past_recording"):
                layer.activate_past_recording()
        return Conversation(cache)

    def _cut(self, length: int) -> int:
        live = self._live
        if length <= 0 or length < live.floor or not self._can_cut(length):
            if live.tokens:
                self.forget()
            return 0
        windowed = any(getattr(layer, "is_sliding", False) for layer in live.cache.layers)
        if length < len(live.tokens):
            live.cache.crop(length - len(live.tokens))
            live.floor = length if windowed else 0
        elif windowed and length - live.floor > KEPT_PAST_TOKENS:
            live.cache.crop(0)
            live.floor = length
        del live.tokens[length:]
        live.exact_tokens = min(live.exact_tokens, length // BLOCK_TOKENS * BLOCK_TOKENS)
        return length

    def _can_cut(self, length: int) -> bool:
        if length == len(self._live.tokens):
            return True
        return all(getattr(layer, "is_croppable", False) or layer.is_sliding for layer in self._live.cache.layers)

    def _park(self) -> None:
        """Put the live cache aside, or drop it where its layers are of a kind that we cannot move."""
        live = self._live
        self._live = self._fresh()
        if len(live.tokens) < WORTH_TOKENS or not all(hasattr(layer, "keys") for layer in live.cache.layers):
            return
        self._move(live.cache, back=False)
        self._parked.append(live)
        while sum(_bytes(one.cache) for one in self._parked) > PARKED_BYTES:
            self._parked.pop(0)

    def _move(self, cache: Any, *, back: bool) -> None:
        for layer in cache.layers:
            if layer.keys is not None and layer.keys.numel():
                place = layer.device if back else "cpu"
                layer.keys = layer.keys.to(place)
                layer.values = layer.values.to(place)


def _bytes(cache: Any) -> int:
    return sum(
        layer.keys.nbytes + layer.values.nbytes
        for layer in cache.layers
        if getattr(layer, "keys", None) is not None and getattr(layer, "values", None) is not None
    )
