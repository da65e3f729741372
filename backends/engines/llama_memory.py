"""llama.cpp's KV cache: rolled back, copied to host memory, brought back.

One sequence is live in the cache. Other conversations are parked in host memory as copies of their state and come
back when their prefix is asked for. Measured on 2 cores with Gemma 3 270M, 1,000 tokens: parking 8 ms (6 of them for
the memory's first touch), coming back 1.4 ms, computing again 1,100 ms; 10 MiB of host memory. A second sequence in
the same cache would have cost that much from the start, for every conversation, used or not, on the card.

A sliding-window or recurrent model cannot go back: what its window has lost is lost. It gets a checkpoint of that
part of its state (7.5 MiB, 5 ms here) at the last place where the next turn's prompt will still be the same. A window
is copied when the answer is under way or over, since its cache has a batch's length more than the window; a recurrent
state must be copied at that very place.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Final

from backends.engines.prefix_cache import PARKED_BYTES, Conversation

PARTIAL: Final = 1
"""LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: the sliding-window or recurrent part alone."""
CHECKPOINTS: Final = 4
"""Kept for one conversation."""


@dataclass(slots=True, eq=False)
class Checkpoint:
    """The part of the state that cannot be rolled back, at one place."""

    position: int
    copy: Any


@dataclass(slots=True, eq=False)
class LlamaState:
    """What is kept of one conversation beside the cache itself."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    copy: Any = None
    """The parked copy of everything; None while it is live."""


class LlamaMemory:
    """Sequence 0 of one context."""

    keeps_live = True

    def __init__(self, library: Any, context: Any, *, window: int, recurrent: bool) -> None:
        """
        Args:
            window: Tokens of the sliding window; 0: every layer sees everything.
            recurrent: Whether layers keep a state that cannot be taken back.
        """
        self._library = library
        self._context = context
        self._memory = library.llama_get_memory(context)
        self._window = window
        self.recurrent = recurrent
        """Whether a checkpoint can be taken at its own place only."""
        self.forgets = window > 0 or recurrent
        """Whether going back needs checkpoints."""

    def fresh(self) -> LlamaState:
        self._library.llama_memory_clear(self._memory, False)
        return LlamaState()

    def held_tokens(self) -> int:
        """Tokens that the library has, after a decode that was aborted or failed."""
        return int(self._library.llama_memory_seq_pos_max(self._memory, 0)) + 1

    def checkpoint(self, live: Conversation, position: int) -> None:
        """Make it possible to come back to a place that the cache has just passed."""
        checkpoints, length = live.state.checkpoints, len(live.tokens)
        if any(one.position == position for one in checkpoints):
            return
        if position > length or not (position == length or self._reaches_back_to(position)):
            return
        copy = self._copy(PARTIAL)
        if copy is not None:
            checkpoints.append(Checkpoint(position, copy))
            del checkpoints[:-CHECKPOINTS]

    def cut(self, live: Conversation, length: int) -> int:
        library, checkpoints = self._library, live.state.checkpoints
        if length == len(live.tokens):
            return length
        if self._reaches_back_to(length) and library.llama_memory_seq_rm(self._memory, 0, length, -1):
            live.state.checkpoints = [one for one in checkpoints if one.position <= length]
            return length
        saved = next((one for one in reversed(checkpoints) if one.position <= length), None)
        if saved is None:
            return 0
        read = library.llama_state_seq_set_data_ext(self._context, saved.copy, len(saved.copy), 0, PARTIAL)
        if not read or not library.llama_memory_seq_rm(self._memory, 0, saved.position, -1):
            return 0
        live.state.checkpoints = [one for one in checkpoints if one.position <= saved.position]
        live.exact_tokens = 0  # the window's cells come back in another order
        return int(saved.position)

    def set_aside(self, live: Conversation) -> LlamaState | None:
        copy = self._copy(0)
        return None if copy is None else LlamaState(list(live.state.checkpoints), copy)

    def bring_back(self, parked: Conversation) -> LlamaState | None:
        copy = parked.state.copy
        self._library.llama_memory_clear(self._memory, False)
        if not self._library.llama_state_seq_set_data_ext(self._context, copy, len(copy), 0, 0):
            return None
        if self.forgets:
            parked.exact_tokens = 0
        return LlamaState(parked.state.checkpoints)

    def bytes_of(self, state: LlamaState) -> int:
        held = len(state.copy) if state.copy is not None else 0
        return held + sum(len(checkpoint.copy) for checkpoint in state.checkpoints)

    def _reaches_back_to(self, length: int) -> bool:
        """Whether every layer still has what a token at this place looks at."""
        first = int(self._library.llama_memory_seq_pos_min(self._memory, 0))
        return 0 <= first <= max(0, length - self._window) if self.forgets else True

    def _copy(self, flags: int) -> Any:
        size = self._library.llama_state_seq_get_size_ext(self._context, 0, flags)
        if not size or size > PARKED_BYTES:
            return None
        copy = (ctypes.c_uint8 * size)()
        written = self._library.llama_state_seq_get_data_ext(self._context, copy, size, 0, flags)
        return copy if written == size else None
