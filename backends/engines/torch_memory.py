"""The caches of a transformers model: cut, taken back to a snapshot, put into host memory, brought back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from backends.engines.prefix_cache import Conversation

KEPT_PAST_TOKENS: Final = 2048
"""How much more than its window a sliding layer may hold, so that answers can be taken back."""
STATES: Final = ("conv_states", "recurrent_states")
"""What a recurrent layer has of all that came before: tensors by number."""


@dataclass(slots=True, eq=False)
class TorchState:
    """One cache of transformers."""

    cache: Any
    floor: int = 0
    """The lowest place that the cache can be cut to: sliding windows have lost what lies before."""
    snapshot: list[dict[str, Any]] | None = None
    """By layer, what cannot be cut, as it was at an earlier place."""
    snapshot_tokens: int = 0


class TorchMemory:
    """Makes caches of one class for one model."""

    keeps_live = False

    def __init__(self, cache_class: Any, config: Any) -> None:
        self._cache_class = cache_class
        self._config = config
        self.needs_snapshots = any(_is_recurrent(layer) for layer in cache_class(config=config).layers)
        """Whether going back needs one."""

    def fresh(self) -> TorchState:
        cache = self._cache_class(config=self._config)
        for layer in cache.layers:
            # Keeps what a window has passed, so that an answer can be taken back.
            if _slides(layer) and not _is_recurrent(layer) and hasattr(layer, "activate_past_recording"):
                layer.activate_past_recording()
        return TorchState(cache)

    def snapshot(self, live: Conversation) -> None:
        """Remember this place."""
        live.state.snapshot = [_uncuttable(layer) for layer in live.state.cache.layers]
        live.state.snapshot_tokens = len(live.tokens)

    def cut(self, live: Conversation, length: int) -> int:
        state: TorchState = live.state
        layers = state.cache.layers
        if length < len(live.tokens) and self.needs_snapshots:
            if state.snapshot is None or state.snapshot_tokens > length:
                return 0
            length = state.snapshot_tokens
        surplus = len(live.tokens) - length
        if length < state.floor or (surplus and not all(_can_go_back(layer) for layer in layers)):
            return 0
        for place, layer in enumerate(layers if surplus else ()):
            kept = state.snapshot[place] if state.snapshot is not None else {}
            if "keys" not in kept:
                _shorten(layer, surplus)
            for name, value in kept.items():
                setattr(layer, name, _copied(value))
        if any(_slides(layer) for layer in layers) and length - state.floor > KEPT_PAST_TOKENS:
            for layer in layers:
                if _slides(layer) and not _is_recurrent(layer):
                    layer.crop(0)
            state.floor = length
        if state.snapshot_tokens > length:
            state.snapshot, state.snapshot_tokens = None, 0
        return length

    def set_aside(self, live: Conversation) -> TorchState | None:
        state: TorchState = live.state
        if not all(hasattr(layer, "keys") or _is_recurrent(layer) for layer in state.cache.layers):
            return None  # layers of a kind that we cannot move
        _move(state.cache, back=False)
        return state

    def bring_back(self, parked: Conversation) -> TorchState:
        state: TorchState = parked.state
        _move(state.cache, back=True)
        return state

    def bytes_of(self, state: TorchState) -> int:
        return sum(tensor.nbytes for layer in state.cache.layers for tensor in _tensors(layer))


def _slides(layer: Any) -> bool:
    return bool(getattr(layer, "is_sliding", False))


def _is_recurrent(layer: Any) -> bool:
    return hasattr(layer, STATES[0])


def _can_go_back(layer: Any) -> bool:
    return _is_recurrent(layer) or (_slides(layer) and getattr(layer, "record_past", False)) or layer.is_croppable


def _uncuttable(layer: Any) -> dict[str, Any]:
    """A copy of what a layer cannot be cut back to: recurrent states, and a window beside them."""
    if not _is_recurrent(layer):
        return {}
    names = [*STATES, "has_previous_state"]
    if _slides(layer) and getattr(layer, "keys", None) is not None:
        names += ["keys", "values", "cumulative_length"]
    return {name: _copied(getattr(layer, name)) for name in names}


def _copied(value: Any) -> Any:
    """States are written over where they lie."""
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return value.clone() if hasattr(value, "clone") else value


def _shorten(layer: Any, surplus: int) -> None:
    """Take the last places off what a layer has of every token.

    A window's own crop() would drop the past that it keeps as well, so that after one answer was taken back no earlier
    one could be.
    """
    keys = getattr(layer, "keys", None)
    if keys is None or not keys.numel():
        return
    if _slides(layer) or _is_recurrent(layer):
        layer.keys, layer.values = keys[..., :-surplus, :], layer.values[..., :-surplus, :]
        if hasattr(layer, "cumulative_length"):
            layer.cumulative_length -= surplus
    else:
        layer.crop(-surplus)


def _tensors(layer: Any) -> list[Any]:
    found = [getattr(layer, name, None) for name in ("keys", "values")]
    found += [tensor for name in STATES for tensor in getattr(layer, name, {}).values()]
    return [tensor for tensor in found if tensor is not None]


def _move(cache: Any, *, back: bool) -> None:
    for layer in cache.layers:
        place = layer.device if back else "cpu"
        if getattr(layer, "keys", None) is not None and layer.keys.numel():
            layer.keys = layer.keys.to(place)
            layer.values = layer.values.to(place)
        for name in STATES:
            states = getattr(layer, name, {})
            for key, tensor in states.items():
                if tensor is not None:
                    states[key] = tensor.to(place)
