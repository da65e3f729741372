"""What llama.cpp's KV cache holds, and how the next prompt finds as much of it as possible.

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

PARTIAL: Final = 1
"""LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: the sliding-window or recurrent part alone."""
PARKED_BYTES: Final = 1 << 30
"""Host memory that parked conversations of one model may take; the oldest goes first."""
WORTH_TOKENS: Final = 64
"""A shorter stretch is computed again sooner than it is parked."""
CHECKPOINTS: Final = 4
"""Kept for one conversation."""
BLOCK_TOKENS: Final = 64
"""Tokens of one batch where the same seed must give the same text. The last bits of a token's KV depend on the batch
that it was computed in, and at temperature 1 they change a word within a few lines (seen with Gemma). So such a
prompt is computed in blocks that begin at multiples of this, and only whole blocks made that way are used again."""


@dataclass(slots=True, eq=False)
class Checkpoint:
    """The part of the state that cannot be rolled back, at one place."""

    position: int
    state: Any


@dataclass(slots=True, eq=False)
class Conversation:
    """Tokens whose KV is known, with their checkpoints."""

    tokens: list[int] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    state: Any = None
    """The parked copy; None while it is live."""
    exact_tokens: int = 0
    """So many from the beginning were computed in blocks and lie where a fresh computation would put them."""

    @property
    def parked_bytes(self) -> int:
        held = len(self.state) if self.state is not None else 0
        return held + sum(len(checkpoint.state) for checkpoint in self.checkpoints)


def common_prefix(a: list[int], b: list[int]) -> int:
    """How many tokens two lists share from the beginning."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    low, high = 0, length
    while low < high:  # slices compare in C: 14 comparisons instead of a loop over 30,000 tokens
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class PrefixCache:
    """Keeps the books of sequence 0 of one context. All calls come from the model's thread."""

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
        self._recurrent = recurrent
        self._parked: list[Conversation] = []
        self._live = Conversation()

    @property
    def forgets(self) -> bool:
        """Whether going back needs checkpoints."""
        return self._window > 0 or self._recurrent

    @property
    def forgets_at_once(self) -> bool:
        """Whether a checkpoint can be taken at its own place only."""
        return self._recurrent

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return len(self._live.tokens)

    def added(self, tokens: list[int]) -> None:
        """Note what was decoded in one batch."""
        live = self._live
        if len(live.tokens) == live.exact_tokens and len(tokens) == BLOCK_TOKENS:
            live.exact_tokens += BLOCK_TOKENS
        live.tokens += tokens

    def prepare(self, wanted: list[int], *, exact: bool = False) -> int:
        """Make the cache hold the longest known beginning of wanted, all but its last token at most.

        Args:
            exact: Use nothing that a fresh computation would not give to the last bit.

        Returns:
            Tokens that need no computing.
        """
        reach = len(wanted) - 1
        live = min(common_prefix(self._live.tokens, wanted), reach)
        parked = max(self._parked, key=lambda one: common_prefix(one.tokens, wanted), default=None)
        elsewhere = min(common_prefix(parked.tokens, wanted), reach) if parked is not None else 0
        if parked is not None and elsewhere >= live + WORTH_TOKENS:
            self._park()
            live = elsewhere if self._bring_back(parked) else 0
        elif live < len(self._live.tokens) // 2:
            self._park()
        if exact:
            live = min(live, self._live.exact_tokens) // BLOCK_TOKENS * BLOCK_TOKENS
        return self._roll_back(live)

    def checkpoint(self, position: int) -> None:
        """Make it possible to come back to a place that the cache has just passed."""
        checkpoints = self._live.checkpoints
        if any(one.position == position for one in checkpoints):
            return
        if position > self.length or not (position == self.length or self._reaches_back_to(position)):
            return
        state = self._copy(PARTIAL)
        if state is not None:
            checkpoints.append(Checkpoint(position, state))
            del checkpoints[:-CHECKPOINTS]

    def repair(self) -> None:
        """Believe the cache after a decode that was aborted or failed."""
        end = self._library.llama_memory_seq_pos_max(self._memory, 0) + 1
        if self._recurrent or end > self.length:
            # A recurrent state that saw half a batch is nobody's state.
            self._forget()
        elif end < self.length:
            self._cut(end)

    def _forget(self) -> None:
        self._library.llama_memory_clear(self._memory, False)
        self._live = Conversation()

    def _cut(self, length: int) -> None:
        live = self._live
        del live.tokens[length:]
        live.checkpoints = [one for one in live.checkpoints if one.position <= length]
        live.exact_tokens = min(live.exact_tokens, length // BLOCK_TOKENS * BLOCK_TOKENS)

    def _roll_back(self, length: int) -> int:
        """Cut the cache to its first tokens, or as near below as it can; returns how many there are."""
        live = self._live
        if length <= 0:
            self._forget()
            return 0
        if length == len(live.tokens):
            return length
        if self._reaches_back_to(length) and self._library.llama_memory_seq_rm(self._memory, 0, length, -1):
            self._cut(length)
            return length
        for checkpoint in reversed(live.checkpoints):
            if checkpoint.position > length:
                continue
            read = self._library.llama_state_seq_set_data_ext(
                self._context, checkpoint.state, len(checkpoint.state), 0, PARTIAL
            )
            if read and self._library.llama_memory_seq_rm(self._memory, 0, checkpoint.position, -1):
                self._cut(checkpoint.position)
                live.exact_tokens = 0  # the window's cells come back in another order
                return checkpoint.position
            break
        self._forget()
        return 0

    def _reaches_back_to(self, length: int) -> bool:
        """Whether every layer still has what a token at this place looks at."""
        first = int(self._library.llama_memory_seq_pos_min(self._memory, 0))
        return 0 <= first <= max(0, length - self._window) if self.forgets else True

    def _copy(self, flags: int) -> Any:
        size = self._library.llama_state_seq_get_size_ext(self._context, 0, flags)
        if not size or size > PARKED_BYTES:
            return None
        state = (ctypes.c_uint8 * size)()
        written = self._library.llama_state_seq_get_data_ext(self._context, state, size, 0, flags)
        return state if written == size else None

    def _park(self) -> None:
        """Keep a copy of the live conversation where it is worth its memory."""
        if len(self._live.tokens) < WORTH_TOKENS:
            return
        state = self._copy(0)
        if state is None:
            return
        self._parked = [one for one in self._parked if common_prefix(one.tokens, self._live.tokens) < len(one.tokens)]
        live = self._live
        self._parked.append(Conversation(list(live.tokens), list(live.checkpoints), state, live.exact_tokens))
        while sum(one.parked_bytes for one in self._parked) > PARKED_BYTES:
            self._parked.pop(0)

    def _bring_back(self, parked: Conversation) -> bool:
        if parked in self._parked:
            self._parked.remove(parked)
        self._forget()
        if not self._library.llama_state_seq_set_data_ext(self._context, parked.state, len(parked.state), 0, 0):
            self._forget()
            return False
        exact_tokens = 0 if self.forgets else parked.exact_tokens
        self._live = Conversation(parked.tokens, parked.checkpoints, None, exact_tokens)
        return True
