"""Models whose layers forget what is far back: going back in a conversation computes what they have forgotten."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import computed
import pytest
from asking import ask, stats, text

from backends.engines import registry
from backends.engines.engine import Chunk, Engine, LoadOptions, Sampling, Turn, Weights
from specs.model import MLX, TRANSFORMERS
from tests.backends.engines import make_weights
from tests.conftest import weights_cache

WINDOW = 32
ONCE = Sampling(max_tokens=24, temperature=0, logprobs=5)
QUESTION = [Turn("user", " ".join(map(str, range(60))))]


@dataclass(frozen=True)
class Pair:
    """An engine that has been talked to, and how to load one that has not."""

    engine: Any
    weights: Weights

    def cold(self, asked: list[Turn] | str) -> list[Chunk]:
        """What an engine answers that has seen nothing before."""
        fresh = registry.adapter(self.engine.name).load(self.weights, LoadOptions(context=2048))
        try:
            return answer(fresh, asked)
        finally:
            fresh.close()


def answer(engine: Engine, asked: list[Turn] | str) -> list[Chunk]:
    return list(engine.complete(asked, ONCE)) if isinstance(asked, str) else ask(engine, asked, ONCE)


@pytest.fixture(
    params=[
        pytest.param(
            (name, kind),
            id=f"{name} {kind}",
            marks=[
                pytest.mark.weights,
                pytest.mark.skipif(importlib.util.find_spec(library) is None, reason=f"{library} is not installed"),
            ],
        )
        for name, library in ((TRANSFORMERS, "transformers"), (MLX, "mlx_lm"))
        for kind in ("windowed", "lfm2", "mamba")
    ]
)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Each engine whose caches are taken back by ours, with each kind of layer that forgets."""
    name, kind = request.param
    cache = weights_cache()
    folder = make_weights.windowed_folder(cache) if kind == "windowed" else make_weights.recurrent_folder(cache, kind)
    weights = Weights(folder, kind, "pytorch", "none")
    if name == MLX:
        weights = replace(weights, path=make_weights.mlx_folder(cache, folder), format="mlx")
    engine = registry.adapter(name).load(weights, LoadOptions(context=2048))
    yield Pair(engine, weights)
    engine.close()


def require_same(warm: list[Chunk], cold: list[Chunk]) -> None:
    """Token by token the same choice, and the same probabilities but for rounding."""
    both = [[token for chunk in chunks for token in chunk.alternatives] for chunks in (warm, cold)]
    assert len(both[0]) == len(both[1]) > 3
    for ours, theirs in zip(*both, strict=True):
        expected = {one.token: math.exp(one.logprob) for one in theirs}
        for one in ours[:2]:
            assert math.exp(one.logprob) == pytest.approx(expected.get(one.token, 0.0), abs=0.02)


def test_a_completion_given_again_is_the_one_that_a_fresh_engine_gives(pair: Pair) -> None:
    """More than a window is written behind the prompt each time; nothing of it may stand in the next one's window."""
    prompt = QUESTION[0].text
    cold = pair.cold(prompt)
    for _ in range(3):
        require_same(answer(pair.engine, prompt), cold)
    require_same(answer(pair.engine, prompt + " 60 61"), pair.cold(prompt + " 60 61"))
    require_same(answer(pair.engine, prompt), cold)


def test_a_prompt_that_grows_by_single_tokens_is_continued_as_by_a_fresh_engine(pair: Pair) -> None:
    """A window that is full to the last place is written over where it lies, also where a copy of it was kept."""
    prompt = QUESTION[0].text
    answer(pair.engine, prompt)
    for _ in range(3):
        prompt += "!"
        cold = pair.cold(prompt)
        for _ in range(3):
            require_same(answer(pair.engine, prompt), cold)


def test_an_answer_given_again_is_the_one_that_a_fresh_engine_gives(pair: Pair) -> None:
    cold = pair.cold(QUESTION)
    for _ in range(3):
        warm = answer(pair.engine, QUESTION)
        require_same(warm, cold)
    assert stats(warm).cached_tokens > stats(warm).prompt_tokens - WINDOW


def test_an_edited_turn_and_an_earlier_one_are_answered_as_by_a_fresh_engine(pair: Pair) -> None:
    said = Turn("assistant", text(answer(pair.engine, QUESTION)))
    for word in ("and", "or", "and", "but"):
        turns = [*QUESTION, said, Turn("user", f"{word} {' '.join(map(str, range(40)))}")]
        require_same(answer(pair.engine, turns), pair.cold(turns))
    require_same(answer(pair.engine, QUESTION), pair.cold(QUESTION))


def test_conversations_that_alternate_are_answered_as_by_a_fresh_engine(pair: Pair) -> None:
    other = [Turn("user", " ".join("abcdefghij" * 8))]
    for number in range(3):
        for turns in (QUESTION, other):
            warm = answer(pair.engine, turns)
            require_same(warm, pair.cold(turns))
            assert not number or stats(warm).cached_tokens > stats(warm).prompt_tokens - WINDOW


def test_a_second_turn_computes_only_what_is_new(pair: Pair) -> None:
    first = answer(pair.engine, QUESTION)
    turns = [*QUESTION, Turn("assistant", text(first)), Turn("user", "And two more?")]
    with computed.counting(pair.engine) as count:
        second = stats(answer(pair.engine, turns))
    assert count is not None
    assert second.cached_tokens > stats(first).prompt_tokens - WINDOW
    ended = second.stop_reason == "end"  # by a token that was computed and is none of the answer's
    assert count.tokens == second.prompt_tokens - second.cached_tokens + second.decoded_tokens - (not ended)
