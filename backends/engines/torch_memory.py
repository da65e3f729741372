"""The KV caches of a transformers model: cut, put into host memory, brought back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from backends.engines.prefix_cache import Conversation

KEPT_PAST_TOKENS: Final = 2048
"""How much more than its window a sliding layer may hold, so that answers can be taken back."""


@dataclass(slots=True, eq=False)
class TorchState:
    """One cache of transformers."""

    cache: Any
    floor: int = 0
    """The lowest place that the cache can be cut to: sliding windows have lost what lies before."""


class TorchMemory:
    """Makes caches of one class for one model."""

    keeps_live = False

    def __init__(self, cache_class: Any, config: Any) -> None:
        self._cache_class = cache_class
        self._config = config

    def fresh(self) -> TorchState:
        cache = self._cache_class(config=self._config)
        for layer in cache.layers:
            # Keeps what a window has passed until the next turn begins, so that an answer can be taken back.
            if getattr(layer, "is_sliding", False) and hasattr(layer, "activate_past_recording"):
                layer.activate_past_recording()
        return TorchState(cache)

    def cut(self, live: Conversation, length: int) -> int:
        state, surplus = live.state, len(live.tokens) - length
        layers = state.cache.layers
        if length < state.floor:
            return 0
        if surplus and not all(getattr(layer, "is_croppable", False) or layer.is_sliding for layer in layers):
            return 0
        windowed = any(getattr(layer, "is_sliding", False) for layer in layers)
        for layer in layers if surplus else ():
            if not _shorten(layer, surplus):
                layer.crop(-surplus)
                state.floor = length if getattr(layer, "is_sliding", False) else state.floor
        if windowed and length - state.floor > KEPT_PAST_TOKENS:
            state.cache.crop(0)
            state.floor = length
        return length

    def set_aside(self, live: Conversation) -> TorchState | None:
        state: TorchState = live.state
        if not all(hasattr(layer, "keys") for layer in state.cache.layers):
            return None  # layers of a kind that we cannot move
        _move(state.cache, back=False)
        return state

    def bring_back(self, parked: Conversation) -> TorchState:
        state: TorchState = parked.state
        _move(state.cache, back=True)
        return state

    def bytes_of(self, state: TorchState) -> int:
        return sum(
            layer.keys.nbytes + layer.values.nbytes
            for layer in state.cache.layers
            if getattr(layer, "keys", None) is not None and getattr(layer, "values", None) is not None
        )


def _shorten(layer: Any, surplus: int) -> bool:
    """Take the last places off a window that keeps its past; False: it is of another kind.

    Its own crop() would drop the past as well, so that after one answer was taken back no earlier one could be.
    """
    if not (getattr(layer, "record_past", False) and hasattr(layer, "cumulative_length")):
        return False
    layer.keys, layer.values = layer.keys[..., :-surplus, :], layer.values[..., :-surplus, :]
    layer.cumulative_length -= surplus
    return True


def _move(cache: Any, *, back: bool) -> None:
    for layer in cache.layers:
        if layer.keys is not None and layer.keys.numel():
            place = layer.device if back else "cpu"
            layer.keys = layer.keys.to(place)
            layer.values = layer.values.to(place)
