"""The sampling settings reach each library and mean the same there."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from asking import QUESTION, ask, stats, text

from backends.engines.engine import Alternative, Engine, Sampling


def test_sampling_settings_change_what_is_chosen(loaded: Engine) -> None:
    greedy = text(ask(loaded, QUESTION))
    narrowed = Sampling(max_tokens=12, temperature=2.0, top_k=1, seed=3)
    assert text(ask(loaded, QUESTION, narrowed)) == greedy
    assert text(ask(loaded, QUESTION, Sampling(max_tokens=12, temperature=2.0, top_p=1e-6, top_k=0, seed=3))) == greedy
    assert text(ask(loaded, QUESTION, Sampling(max_tokens=12, temperature=2.0, min_p=1.0, top_k=0, seed=3))) == greedy


def drawn(engine: Engine, sampling: Sampling) -> list[tuple[Alternative, tuple[Alternative, ...]]]:
    """Each token that is told apart by its text, with those that it was drawn from."""
    found = []
    for chunk in ask(engine, QUESTION, replace(sampling, logprobs=40)):
        for alternatives in chunk.alternatives if chunk.tokens == 1 else ():
            same = [one for one in alternatives if one.text == chunk.text]
            if len(same) == 1:
                found.append((same[0], alternatives))
    assert len(found) >= 12
    return found


HOT = Sampling(max_tokens=60, temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=5)


def test_top_k_leaves_so_many_and_no_fewer(loaded: Engine) -> None:
    ranks = {alternatives.index(token) for token, alternatives in drawn(loaded, replace(HOT, top_k=3))}
    assert ranks == {0, 1, 2}


def test_top_p_leaves_the_fewest_that_hold_so_much(subject: Any, loaded: Engine) -> None:
    """What stands before the last one that is left holds less than top_p of all, before any temperature."""
    found = drawn(loaded, replace(HOT, temperature=subject.hot, top_p=0.6))
    before = [
        sum(math.exp(one.logprob) for one in alternatives[: alternatives.index(token)]) for token, alternatives in found
    ]
    assert max(before) < 0.62
    assert max(before) > 0, "not the first one alone"


def test_min_p_leaves_what_has_that_share_of_the_best(subject: Any, loaded: Engine) -> None:
    found = drawn(loaded, replace(HOT, temperature=subject.hot, min_p=0.05))
    shares = [math.exp(token.logprob - alternatives[0].logprob) for token, alternatives in found]
    assert min(shares) > 0.045
    assert min(shares) < 1


def test_a_higher_temperature_strays_further(loaded: Engine) -> None:
    def lost(temperature: float) -> float:
        found = drawn(loaded, replace(HOT, temperature=temperature, top_k=30))
        return sum(alternatives[0].logprob - token.logprob for token, alternatives in found) / len(found)

    assert lost(0.2) < lost(2.0)


def test_a_repetition_penalty_counts_the_prompt_too(loaded: Engine) -> None:
    """By the first token: a penalty drives it away where the prompt has it, and a reward towards what it has."""
    prompt = "The sea is blue. " * 5 + "The sea is"

    def first(penalty: float) -> str:
        return text(loaded.complete(prompt, Sampling(max_tokens=1, temperature=0, repetition_penalty=penalty)))

    assert {first(5.0), first(0.05)} != {first(1.0)}


def test_alternatives_come_with_each_token_best_first(subject: Any, loaded: Engine) -> None:
    if not subject.logprobs:
        pytest.skip("this engine has none")
    chunks = list(loaded.complete("The sun is", Sampling(max_tokens=4, temperature=0, logprobs=3)))
    ranked = [token for chunk in chunks for token in chunk.alternatives]
    assert len(ranked) == stats(chunks).decoded_tokens
    for alternatives in ranked:
        assert len(alternatives) == 3
        logprobs = [one.logprob for one in alternatives]
        assert logprobs == sorted(logprobs, reverse=True)
        assert all(logprob <= 0 for logprob in logprobs)
