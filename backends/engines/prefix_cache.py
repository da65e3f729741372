"""Which tokens a model's KV cache holds, and how the next prompt finds as many of them as possible.

Libraries use whatever cache they are given and check nothing: a wrong prefix makes a wrong answer without a word. So
the books are kept here by token numbers, one way for all libraries. One conversation is live; others wait, in host
memory or where the library has them, and come back when their prefix is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

PARKED_BYTES: Final = 1 << 30
"""Memory for the conversations of one model that wait; the oldest goes first."""
WORTH_TOKENS: Final = 64
"""A shorter stretch is computed again sooner than it is kept."""


@dataclass(slots=True, eq=False)
class Conversation:
    """Tokens whose KV is known."""

    state: Any
    """What the library holds of it, as its memory made it."""
    tokens: list[int] = field(default_factory=list)
    exact_tokens: int = 0
    """So many from the beginning were computed in whole blocks and lie where a fresh computation would put them."""


class Memory(Protocol):
    """One library's KV memory, which knows no tokens."""

    keeps_live: bool
    """Whether the live conversation is still there after it was set aside."""

    def fresh(self) -> Any:
        """An empty live state."""
        ...

    def cut(self, live: Conversation, length: int) -> int:
        """Take the live conversation back to its first tokens, or as near below as it can; how many are left.

        0 says that the state is to be thrown away. May lower exact_tokens.
        """
        ...

    def set_aside(self, live: Conversation) -> Any:
        """A state that waits; None: not possible."""
        ...

    def bring_back(self, parked: Conversation) -> Any:
        """Make a waiting state the live one; None: not possible. May lower exact_tokens."""
        ...

    def bytes_of(self, state: Any) -> int:
        """What a waiting state takes."""
        ...


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


def blocks(start: int, end: int, block_tokens: int, *pauses: int, aligned: bool = True) -> Iterator[tuple[int, int]]:
    """The stretches in which a prompt is computed: a stop is heard between two.

    Args:
        pauses: Places at which one stretch must end.
        aligned: Blocks begin at multiples of their length, so that the same prompt is computed in the same shapes
            whatever was cached: the last bits of a token's KV depend on the batch that it was computed in, and at
            temperature 1 they change a word within a few lines (seen with Gemma).
    """
    at = start
    for pause in sorted({place for place in pauses if start < place < end} | {end}):
        while at < pause:
            upto = min(pause, at + block_tokens - (at % block_tokens if aligned else 0))
            yield at, upto
            at = upto


class PrefixCache:
    """Keeps the books of one model. All calls come from the model's thread."""

    def __init__(self, memory: Memory, block_tokens: int) -> None:
        """
        Args:
            block_tokens: Tokens of a whole block, where the same seed must give the same text.
        """
        self._memory = memory
        self._block_tokens = block_tokens
        self._parked: list[Conversation] = []
        self.live = Conversation(memory.fresh())

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return len(self.live.tokens)

    def added(self, tokens: list[int]) -> None:
        """Note what was computed in one batch."""
        live = self.live
        if len(live.tokens) == live.exact_tokens and len(tokens) == self._block_tokens:
            live.exact_tokens += self._block_tokens
        live.tokens += tokens

    def forget(self) -> None:
        """Drop the live conversation: after a failure nobody knows what it holds."""
        self.live = Conversation(self._memory.fresh())

    def shorten(self, length: int) -> None:
        """Note that the library has fewer tokens than the books say."""
        live = self.live
        del live.tokens[length:]
        live.exact_tokens = min(live.exact_tokens, length // self._block_tokens * self._block_tokens)

    def prepare(self, wanted: list[int], *, exact: bool) -> int:
        """Make the cache hold the longest known beginning of wanted, all but its last token at most.

        Args:
            exact: Use nothing that a fresh computation would not give to the last bit.

        Returns:
            Tokens that need no computing.
        """
        reach = len(wanted) - 1
        found = min(common_prefix(self.live.tokens, wanted), reach)
        other = max(self._parked, key=lambda one: common_prefix(one.tokens, wanted), default=None)
        elsewhere = min(common_prefix(other.tokens, wanted), reach) if other is not None else 0
        if other is not None and elsewhere >= found + WORTH_TOKENS:
            self._parked.remove(other)
            self._park()
            found = elsewhere if self._bring_back(other) else 0
        elif found < self.length // 2 and self.length >= WORTH_TOKENS:
            self._park()
            found = min(found, self.length)
        if exact:
            found = min(found, self.live.exact_tokens) // self._block_tokens * self._block_tokens
        return self._cut(found)

    def _cut(self, length: int) -> int:
        live = self.live
        if not live.tokens:
            return 0
        left = self._memory.cut(live, length) if length > 0 else 0
        if left <= 0:
            self.forget()
            return 0
        self.shorten(left)
        return left

    def _park(self) -> None:
        """Keep the live conversation where it is worth its memory."""
        live = self.live
        state = self._memory.set_aside(live) if self.length >= WORTH_TOKENS else None
        if not self._memory.keeps_live:
            self.forget()
        if state is None:
            return
        # A shorter beginning of the same conversation has nothing that this one has not.
        self._parked = [one for one in self._parked if common_prefix(one.tokens, live.tokens) < len(one.tokens)]
        self._parked.append(Conversation(state, list(live.tokens), live.exact_tokens))
        while sum(self._memory.bytes_of(one.state) for one in self._parked) > PARKED_BYTES:
            self._parked.pop(0)

    def _bring_back(self, parked: Conversation) -> bool:
        state = self._memory.bring_back(parked)
        if state is None:
            self.forget()
            return False
        self.live = Conversation(state, parked.tokens, parked.exact_tokens)
        return True
