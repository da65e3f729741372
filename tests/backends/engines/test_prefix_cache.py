"""The books of a KV cache agree with what is in it, whatever conversations come and go."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.engines import prefix_cache
from backends.engines.prefix_cache import Conversation, PrefixCache, blocks

BLOCK = 16


@dataclass
class Held:
    """What a library has of one conversation."""

    tokens: list[int] = field(default_factory=list)


class Memory:
    """A KV memory that holds the tokens themselves; with a window it goes back so far only."""

    def __init__(self, *, keeps_live: bool, reach: int | None = None) -> None:
        self.keeps_live = keeps_live
        self.reach = reach
        self.live = Held()

    def fresh(self) -> Held:
        self.live = Held()
        return self.live

    def cut(self, live: Conversation, length: int) -> int:
        assert live.state is self.live
        if self.reach is not None and len(self.live.tokens) - length > self.reach:
            return 0
        del self.live.tokens[length:]
        return length

    def set_aside(self, live: Conversation) -> Held:
        return Held(list(self.live.tokens)) if self.keeps_live else live.state

    def bring_back(self, parked: Conversation) -> Held:
        self.live = parked.state
        return self.live

    def bytes_of(self, state: Held) -> int:
        return len(state.tokens)


def answer(cache: PrefixCache, memory: Memory, wanted: list[int], *, exact: bool) -> int:
    """As a runner computes a prompt; what needed no computing."""
    cached = cache.prepare(wanted, exact=exact)
    assert memory.live.tokens == wanted[:cached], "the cache holds this prompt's beginning and nothing else"
    for start, end in blocks(cached, len(wanted), BLOCK, aligned=exact):
        memory.live.tokens += wanted[start:end]
        cache.added(wanted[start:end])
    assert memory.live.tokens == cache.live.tokens == wanted
    return cached


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[list[int], bool]]:
    """Prompts that share beginnings of many lengths."""
    seeds = [[draw(st.integers(0, 3))] * draw(st.integers(1, 90)) for _ in range(4)]
    asked = []
    for _ in range(draw(st.integers(1, 8))):
        one = [token for at in draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)) for token in seeds[at]]
        asked.append((one, draw(st.booleans())))
    return asked


@pytest.mark.parametrize("keeps_live", [False, True])
@pytest.mark.parametrize("reach", [None, 30])
@given(asked=conversations())
def test_what_is_taken_from_the_cache_is_the_prompt_s_own_beginning(
    keeps_live: bool, reach: int | None, asked: list[tuple[list[int], bool]]
) -> None:
    memory = Memory(keeps_live=keeps_live, reach=reach)
    cache = PrefixCache(memory, BLOCK)
    for wanted, exact in asked:
        cached = answer(cache, memory, wanted, exact=exact)
        assert cached < len(wanted), "one token is always computed: its logits are wanted"
        if exact:
            assert cached % BLOCK == 0


@pytest.mark.parametrize("keeps_live", [False, True])
def test_conversations_that_wait_come_back_whole(keeps_live: bool) -> None:
    memory = Memory(keeps_live=keeps_live)
    cache = PrefixCache(memory, BLOCK)
    one, two = list(range(200)), list(range(1000, 1200))
    for wanted in (one, two, one, two):
        answer(cache, memory, wanted, exact=False)
    assert answer(cache, memory, [*one, 7], exact=False) == 200
    assert answer(cache, memory, [*two, 7], exact=False) == 200


def test_the_oldest_goes_when_there_is_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_cache, "PARKED_BYTES", 250)
    memory = Memory(keeps_live=False)
    cache = PrefixCache(memory, BLOCK)
    prompts = [[at] * 100 for at in range(4)]
    for wanted in prompts:
        answer(cache, memory, wanted, exact=False)
    assert answer(cache, memory, prompts[2], exact=False) == 99
    assert answer(cache, memory, prompts[0], exact=False) == 0


def test_only_whole_blocks_computed_as_such_are_used_for_a_seed() -> None:
    memory = Memory(keeps_live=True)
    cache = PrefixCache(memory, BLOCK)
    prompt = list(range(100))
    answer(cache, memory, prompt[:5], exact=False)
    assert answer(cache, memory, prompt, exact=False) == 5
    assert answer(cache, memory, prompt, exact=True) == 0, "every block began 5 tokens late"
    assert answer(cache, memory, prompt, exact=True) == 96


def test_blocks_begin_at_multiples_and_pause_where_they_are_told() -> None:
    assert list(blocks(5, 40, 16)) == [(5, 16), (16, 32), (32, 40)]
    assert list(blocks(5, 40, 16, aligned=False)) == [(5, 21), (21, 37), (37, 40)]
    assert list(blocks(0, 40, 16, 20)) == [(0, 16), (16, 20), (20, 32), (32, 40)]
    assert list(blocks(0, 10, 16, 0, 10, 99)) == [(0, 10)]
    assert list(blocks(7, 7, 16)) == []
