"""What MLX's prompt caches hold, checked by token numbers: mlx-lm uses whatever it is given."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from backends.engines.llama_cache import common_prefix

BLOCK_TOKENS: Final = 256
"""Tokens computed at a time in prefill; a stop is heard between two blocks."""
PARKED_BYTES: Final = 1 << 30
"""Unified memory for conversations that are not live; the oldest goes first."""
WORTH_TOKENS: Final = 64


@dataclass(slots=True, eq=False)
class Conversation:
    """The caches of all layers with the tokens that they hold."""

    layers: list[Any]
    tokens: list[int] = field(default_factory=list)
    snapshot: list[Any] | None = None
    """The layers as they were at an earlier place: rotating and recurrent ones cannot be cut."""
    snapshot_tokens: int = 0
    exact_tokens: int = 0
    """So many from the beginning were computed in whole blocks."""


class MlxCaches:
    """The live caches and those of other conversations."""

    def __init__(self, make: Callable[[], list[Any]]) -> None:
        self._make = make
        self._parked: list[Conversation] = []
        self._live = Conversation(make())

    @property
    def live(self) -> list[Any]:
        """The caches to compute with."""
        return self._live.layers

    @property
    def rotates(self) -> bool:
        """Whether going back may need a snapshot."""
        return any(type(layer).__name__ != "KVCache" for layer in self._live.layers)

    def added(self, tokens: list[int]) -> None:
        """Note what one pass has added."""
        live = self._live
        if len(live.tokens) == live.exact_tokens and len(tokens) == BLOCK_TOKENS:
            live.exact_tokens += BLOCK_TOKENS
        live.tokens += tokens

    def snapshot(self) -> None:
        """Remember this place; arrays are values in MLX, so that a shallow copy of each layer does."""
        self._live.snapshot = [copy.copy(layer) for layer in self._live.layers]
        self._live.snapshot_tokens = len(self._live.tokens)

    def forget(self) -> None:
        """Drop the live caches: after a failure nobody knows what they hold."""
        self._live = Conversation(self._make())

    def prepare(self, wanted: list[int], *, exact: bool) -> int:
        """Make the live caches hold the longest known beginning of wanted; returns its tokens."""
        reach = len(wanted) - 1
        live = min(common_prefix(self._live.tokens, wanted), reach)
        other = max(self._parked, key=lambda one: common_prefix(one.tokens, wanted), default=None)
        elsewhere = min(common_prefix(other.tokens, wanted), reach) if other is not None else 0
        if other is not None and elsewhere >= live + WORTH_TOKENS:
            self._parked.remove(other)
            self._park()
            self._live, live = other, elsewhere
        elif live < len(self._live.tokens) // 2:
            self._park()
            live = 0
        if exact:
            live = min(live, self._live.exact_tokens) // BLOCK_TOKENS * BLOCK_TOKENS
        return self._cut(live)

    def _cut(self, length: int) -> int:
        live = self._live
        surplus = len(live.tokens) - length
        if length > 0 and surplus and all(layer.is_trimmable() for layer in live.layers):
            for layer in live.layers:
                layer.trim(surplus)
        elif length > 0 and surplus and live.snapshot is not None and live.snapshot_tokens <= length:
            length = live.snapshot_tokens
            live.layers = [copy.copy(layer) for layer in live.snapshot]
        elif surplus or not length:
            if live.tokens:
                self.forget()
            return 0
        del live.tokens[length:]
        live.exact_tokens = min(live.exact_tokens, length // BLOCK_TOKENS * BLOCK_TOKENS)
        if live.snapshot_tokens > length:
            live.snapshot, live.snapshot_tokens = None, 0
        return length

    def _park(self) -> None:
        live = self._live
        self.forget()
        if len(live.tokens) < WORTH_TOKENS:
            return
        self._parked.append(live)
        while sum(layer.nbytes for one in self._parked for layer in one.layers) > PARKED_BYTES:
            self._parked.pop(0)
