"""How far two distributions are apart, and what a duel says of it."""

from __future__ import annotations

import math

import numpy
import pytest

from backends.duel import duel
from backends.engines.engine import Turn
from backends.engines.scoring import LogProbabilities, Stretch, divergence, stretches
from backends.engines.scripted import ScriptedEngine

ASKED = (Turn("user", "go"),)


def test_the_logarithms_are_those_of_a_softmax() -> None:
    here = LogProbabilities(numpy.array([0.0, math.log(3.0)], dtype=numpy.float32))
    assert here.likely() == ((1, pytest.approx(math.log(0.75))), (0, pytest.approx(math.log(0.25))))


def test_divergence_is_kullback_leiblers() -> None:
    # KL((0.5, 0.5) || (0.25, 0.75)) = 0.5 ln 2 + 0.5 ln (2/3) = 0.1438 nats (Cover and Thomas, example 2.3.1 in bits).
    half = ((0, math.log(0.5)), (1, math.log(0.5)))
    assert divergence(half, [math.log(0.25), math.log(0.75)]) == pytest.approx(0.14384, abs=1e-5)
    assert divergence(half, [math.log(0.5), math.log(0.5)]) == 0


def test_words_beyond_the_likely_ones_count_as_one() -> None:
    assert divergence(((0, math.log(0.5)),), [math.log(0.25)]) == pytest.approx(0.14384, abs=1e-5)


def test_a_variant_agrees_with_itself_everywhere() -> None:
    one = ScriptedEngine().score(ASKED, "the same words")
    made = duel(one, ScriptedEngine().score(ASKED, "the same words", reference=one))
    assert (made.same_share, made.mean_divergence) == (1.0, 0.0)
    assert made.words == "same first choice 100 %, mean divergence 0.00"


def test_a_place_with_another_first_choice_is_found() -> None:
    one = ScriptedEngine().score(ASKED, "a b c d")
    made = duel(one, ScriptedEngine(choices={2: " x"}).score(ASKED, "a b c d", reference=one))
    assert [made.differs(place) for place in range(4)] == [False, False, True, False]
    assert made.scores[2].first.text == " x"
    assert made.same_share == 0.75
    assert made.mean_divergence and made.mean_divergence > 0


def test_nothing_scored_says_so() -> None:
    assert duel((), ()).words == "nothing to compare"


THINK = ("<think>", "</think>")


def written(parts: list[Stretch]) -> list[tuple[str, bool]]:
    return [(part.text, part.scored) for part in parts]


def test_thinking_is_scored_between_tags_that_are_only_read() -> None:
    parts = stretches("Blue.", "Let me see.", None, None, channels=False)
    assert written(parts) == [
        ("<think>\n", False),
        ("Let me see.", True),
        ("\n</think>\n\n", False),
        ("Blue.", True),
    ]
    assert [part.reasoning for part in parts if part.scored] == [True, False]


def test_thinking_that_the_template_opened_is_not_opened_twice() -> None:
    parts = stretches("Blue.", "Let me see.", None, THINK, channels=False)
    assert written(parts)[0] == ("Let me see.", True)
    assert written(stretches("Blue.", "", None, THINK, channels=False))[0] == ("\n</think>\n\n", False)


def test_thinking_that_was_stopped_has_no_end() -> None:
    assert written(stretches("", "Let me", THINK, None, channels=False)) == [("<think>\n", False), ("Let me", True)]


def test_channels_are_written_as_gpt_oss_writes_them() -> None:
    parts = stretches("Blue.", "Let me see.", None, None, channels=True)
    assert written(parts) == [
        ("<|channel|>analysis<|message|>", False),
        ("Let me see.", True),
        ("<|end|><|start|>assistant<|channel|>final<|message|>", False),
        ("Blue.", True),
    ]


def test_both_parts_of_an_answer_have_their_own_figures() -> None:
    one = ScriptedEngine().score(ASKED, "a b", "t u v w")
    made = duel(one, ScriptedEngine(choices={1: " x"}).score(ASKED, "a b", "t u v w", one))
    assert made.part(reasoning=True).same_share == 0.75
    assert made.part(reasoning=False).same_share == 1.0
    assert [score.reasoning for score in made.scores] == [True] * 4 + [False] * 2
