"""A second turn computes what is new, and on what a fresh engine would have computed."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from asking import QUESTION, ask, stats, text

from backends.engines.engine import Engine, Sampling, Turn


def test_a_second_turn_computes_only_what_is_new(subject: Any, loaded: Engine) -> None:
    first = ask(loaded, QUESTION)
    turns = [*QUESTION, Turn("assistant", text(first)), Turn("user", "And two more?")]
    found = stats(ask(loaded, turns))
    assert found.cached_tokens > stats(first).prompt_tokens - 4 - subject.cache_block
    assert found.cached_tokens < found.prompt_tokens


def test_a_stopped_answer_goes_on_in_its_own_turn(subject: Any, loaded: Engine) -> None:
    first = stats(ask(loaded, QUESTION))
    begun = [*QUESTION, Turn("assistant", "Red, orange and")]
    open_tokens = loaded.prompt_tokens(begun)
    assert open_tokens <= first.prompt_tokens + loaded.count_tokens("Red, orange and") + 1, "nothing closes the turn"
    assert open_tokens < loaded.prompt_tokens([*begun, Turn("user", "x")]) - loaded.count_tokens("x") - 1
    chunks = ask(loaded, begun)
    assert stats(chunks).prompt_tokens == open_tokens
    assert stats(chunks).cached_tokens > first.prompt_tokens - 4 - subject.cache_block
    assert not text(chunks).startswith("Red, orange and")


@pytest.mark.parametrize("shared_words", [20, 139])
def test_what_is_computed_on_a_cached_prefix_is_what_a_fresh_engine_computes(
    subject: Any, loaded: Engine, shared_words: int
) -> None:
    """The whole prompt counts, and nothing that stood there before: by the distribution after it."""
    numbers = [str(number) for number in random.Random(3).choices(range(10, 100), k=140)]
    first = [*numbers, "One", "two"]
    # What follows is best told by where the same numbers stood before.
    second = [*numbers[:shared_words], *numbers[shared_words - 12 : shared_words - 4], numbers[shared_words - 4][0]]
    once = Sampling(max_tokens=1, temperature=0, logprobs=5)

    def distribution(engine: Engine, words: list[str]) -> dict[int, float]:
        chunks = list(engine.complete(", ".join(words), once))
        return {one.token: one.logprob for chunk in chunks for token in chunk.alternatives for one in token}

    distribution(loaded, first)
    warm = distribution(loaded, second)
    back = distribution(loaded, first)
    fresh = subject.load()
    try:
        cold = distribution(fresh, second)
    finally:
        fresh.close()
    assert distance(warm, cold) < subject.rounding
    assert distance(warm, back) > 2 * subject.rounding, "the two prompts are told apart by what follows"


def distance(one: dict[int, float], other: dict[int, float]) -> float:
    """The greatest difference between the probabilities of tokens in either."""
    return max(abs(math.exp(one.get(token, -9.0)) - math.exp(other.get(token, -9.0))) for token in one | other)


def test_two_conversations_keep_their_prefixes(subject: Any, loaded: Engine) -> None:
    one = [Turn("user", f"First of all: {' '.join(map(str, range(120)))}. What comes next?")]
    two = [Turn("user", f"Another matter: {' '.join('abcdefghij' * 9)}. What comes next?")]
    ask(loaded, one)
    ask(loaded, two)
    again = stats(ask(loaded, one))
    assert again.cached_tokens > again.prompt_tokens - 2 - subject.cache_block
    again = stats(ask(loaded, two))
    assert again.cached_tokens > again.prompt_tokens - 2 - subject.cache_block
