"""The same seed gives the same text, whatever was asked before."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from asking import QUESTION, ask, text

from backends.engines.engine import Engine, Sampling, Turn


def test_the_same_seed_gives_the_same_text(subject: Any, loaded: Engine) -> None:
    if not subject.exact:
        pytest.skip("this engine promises no such thing")
    sampling = Sampling(max_tokens=16, temperature=1.0, seed=7)
    first = text(ask(loaded, QUESTION, sampling))
    ask(loaded, [Turn("user", "Something else in between, so that the cache holds other tokens.")])
    assert text(ask(loaded, QUESTION, sampling)) == first
    assert text(ask(loaded, QUESTION, replace(sampling, seed=8))) != first


def test_with_a_seed_nothing_depends_on_what_was_cached(subject: Any, loaded: Engine) -> None:
    """To the last bit: a probability that differs in its last digits draws another word sooner or later."""
    if not subject.exact:
        pytest.skip("this engine promises no such thing")
    words = [f"{number} ships" for number in random.Random(5).choices(range(100), k=150)]
    prompt = ", ".join(words)
    sampling = Sampling(max_tokens=4, temperature=1.0, seed=11, logprobs=4)

    def numbers(engine: Engine) -> list[float]:
        chunks = engine.complete(prompt, sampling)
        return [one.logprob for chunk in chunks for token in chunk.alternatives for one in token]

    for part in (7, 80, 149):
        list(loaded.complete(", ".join(words[:part]), Sampling(max_tokens=3, temperature=0)))
    warm = [numbers(loaded), numbers(loaded)]
    fresh = subject.load()
    try:
        cold = numbers(fresh)
    finally:
        fresh.close()
    assert warm == [cold, cold]


def test_without_a_seed_answers_differ(loaded: Engine) -> None:
    sampling = Sampling(max_tokens=24, temperature=1.5, top_k=0, top_p=1.0, min_p=0.0)
    assert len({text(ask(loaded, QUESTION, sampling)) for _ in range(3)}) > 1
