"""The prompt caches of an MLX model: cut, or taken back to a snapshot."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backends.engines.prefix_cache import Conversation


@dataclass(slots=True, eq=False)
class MlxState:
    """The caches of all layers."""

    layers: list[Any]
    snapshot: list[Any] | None = None
    """The layers as they were at an earlier place: rotating and recurrent ones cannot be cut."""
    snapshot_tokens: int = 0


class MlxMemory:
    """Makes prompt caches for one model; those that wait stay in the unified memory."""

    keeps_live = False

    def __init__(self, make: Callable[[], list[Any]]) -> None:
        self._make = make
        self.needs_snapshots = any(type(layer).__name__ != "KVCache" for layer in make())
        """Whether going back may need one."""

    def fresh(self) -> MlxState:
        return MlxState(self._make())

    def snapshot(self, live: Conversation) -> None:
        """Remember this place.

        A window that is full is written over where it lies, and recurrent states stand in a list: a shallow copy would
        change with them. Copies of arrays share their memory until one of them is written to.
        """
        live.state.snapshot = copy.deepcopy(live.state.layers)
        live.state.snapshot_tokens = len(live.tokens)

    def cut(self, live: Conversation, length: int) -> int:
        state, surplus = live.state, len(live.tokens) - length
        if surplus and all(layer.is_trimmable() for layer in state.layers):
            for layer in state.layers:
                layer.trim(surplus)
        elif surplus and state.snapshot is not None and state.snapshot_tokens <= length:
            length = state.snapshot_tokens
            state.layers = copy.deepcopy(state.snapshot)
        elif surplus:
            return 0
        if state.snapshot_tokens > length:
            state.snapshot, state.snapshot_tokens = None, 0
        return length

    def set_aside(self, live: Conversation) -> MlxState:
        state: MlxState = live.state
        return state

    def bring_back(self, parked: Conversation) -> MlxState:
        state: MlxState = parked.state
        return state

    def bytes_of(self, state: MlxState) -> int:
        return sum(layer.nbytes for layer in state.layers)
