"""Thinking apart from the answer, and what a model thinks of an answer that is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from asking import GREEDY, QUESTION, ask, stats, text

from backends.engines.engine import Engine, LoadOptions, Sampling, Scorer


def test_thinking_is_told_apart_by_the_model_s_tags(subject: Any, loaded: Engine) -> None:
    """Tags that this model does say: a stretch of its own answer."""
    whole = text(ask(loaded, QUESTION, Sampling(max_tokens=30, temperature=0)))
    start = len(whole) - len(whole.lstrip())
    begin, end = whole[start : start + 2], whole[start + 6 : start + 8]
    engine = subject.adapter.load(replace(subject.weights, reasoning_tags=(begin, end)), LoadOptions(context=512))
    try:
        chunks = ask(engine, QUESTION, Sampling(max_tokens=30, temperature=0))
        thought = "".join(chunk.text for chunk in chunks if chunk.reasoning).strip()
        expected = whole[start + 2 :].partition(end)[0].strip()
        assert expected
        assert thought.startswith(expected)
        assert stats(chunks).decoded_tokens == sum(chunk.tokens for chunk in chunks)
    finally:
        engine.close()


def test_its_own_answer_is_its_first_choice_all_along(loaded: Engine) -> None:
    if not isinstance(loaded, Scorer):
        pytest.skip("this engine scores no answer that is there already")
    prompt = "One, two, three, four, five,"
    chunks = list(loaded.complete(prompt, replace(GREEDY, max_tokens=40)))
    scores = loaded.score(prompt, text(chunks))
    assert len(scores) >= 30
    # Computed in other batches than it was written, so a close choice may fall otherwise.
    assert sum(score.first.token == score.token for score in scores) >= 0.9 * len(scores)
    again = loaded.score(prompt, text(chunks), reference=scores)
    assert [score.token for score in again] == [score.token for score in scores]
    assert max(score.divergence or 0.0 for score in again) < 0.01


def test_thinking_is_scored_apart_from_the_answer(loaded: Engine) -> None:
    if not isinstance(loaded, Scorer):
        pytest.skip("this engine scores no answer that is there already")
    scores = loaded.score(QUESTION, "Red, green and blue.", "The user wants colours of a rainbow.")
    parts = [score.reasoning for score in scores]
    assert parts == sorted(parts, reverse=True)
    for reasoning, words in ((True, "The user wants colours of a rainbow."), (False, "Red, green and blue.")):
        assert "".join(score.text for score in scores if score.reasoning == reasoning).strip() == words
