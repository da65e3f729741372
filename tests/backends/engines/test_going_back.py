"""Models whose layers forget what is far back: going back in a conversation computes what they have forgotten."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import computed
import library_alone
import pytest
from asking import ask, stats, text

from backends.engines import registry
from backends.engines.engine import Chunk, Engine, LoadOptions, Sampling, Turn, Weights
from specs.model import MLX, TRANSFORMERS
from tests.backends.engines import make_weights
from tests.conftest import weights_cache

WINDOW = 32
ROUNDING = 0.04
"""By so much probabilities differ in bf16 with the parts that a prompt was computed in."""
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
        for kind in ("windowed", "lfm2", "qwen3_next", "mamba")
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
    """Token by token the same probabilities but for rounding, up to where two that were as good part the ways."""
    both = [[token for chunk in chunks for token in chunk.alternatives] for chunks in (warm, cold)]
    assert min(map(len, both)) > 3
    for ours, theirs in zip(*both, strict=False):
        expected = {one.token: math.exp(one.logprob) for one in theirs}
        for one in ours[:2]:
            assert math.exp(one.logprob) == pytest.approx(expected.get(one.token, 0.0), abs=ROUNDING)
        if ours[0].token != theirs[0].token:
            break


def reuses(pair: Pair) -> bool:
    """Whether anything of a prompt is used again: not where a library computes it whole or wrongly."""
    return bool(getattr(pair.engine._runner, "_in_parts", True))


def test_a_prompt_longer_than_a_block_is_continued_as_the_library_alone_does(pair: Pair) -> None:
    """Which is given all of it at once."""
    prompt = QUESTION[0].text + " " + QUESTION[0].text
    expected = library_alone.continued(pair.engine, pair.weights, prompt, 12)
    assert expected is not None
    chunks = list(pair.engine.complete(prompt, replace(ONCE, max_tokens=12, logprobs=1)))
    assert [token[0].token for chunk in chunks for token in chunk.alternatives] == expected.tokens


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
    if reuses(pair):
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
            assert not number or not reuses(pair) or stats(warm).cached_tokens > stats(warm).prompt_tokens - WINDOW


def test_a_second_turn_computes_only_what_is_new(pair: Pair) -> None:
    first = answer(pair.engine, QUESTION)
    turns = [*QUESTION, Turn("assistant", text(first)), Turn("user", "And two more?")]
    with computed.counting(pair.engine) as count:
        second = stats(answer(pair.engine, turns))
    assert count is not None
    if reuses(pair):
        assert second.cached_tokens > stats(first).prompt_tokens - WINDOW
    ended = second.stop_reason == "end"  # by a token that was computed and is none of the answer's
    assert count.tokens == second.prompt_tokens - second.cached_tokens + second.decoded_tokens - (not ended)


@pytest.mark.parametrize("kind", ["windowed", "lfm2", "qwen3_next", "mamba"])
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_what_a_library_cannot_compute_in_parts_is_found_while_it_is_loaded(kind: str) -> None:
    """Mamba's models begin anew with each part in transformers 5.23, and every answer after 128 tokens was wrong."""
    cache = weights_cache()
    folder = make_weights.windowed_folder(cache) if kind == "windowed" else make_weights.recurrent_folder(cache, kind)
    engine: Any = registry.adapter(TRANSFORMERS).load(
        Weights(folder, kind, "pytorch", "none"), LoadOptions(context=512)
    )
    try:
        assert engine._runner._in_parts == (kind != "mamba")
    finally:
        engine.close()
