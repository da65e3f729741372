"""What a model thinks of an answer that is there already, place by place, and how far another variant is from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from backends.engines.engine import Alternative, Score
from backends.engines.reasoning import CHANNEL, ENDS, MESSAGE, START, USUAL_TAGS
from backends.errors import EngineError
from specs.model import LLAMA_CPP, MLX, SGLANG, TRANSFORMERS, VLLM

SCORERS: Final = (LLAMA_CPP, TRANSFORMERS, MLX)
"""Engines of ours that can score an answer which is not their own."""
NO_SCORERS: Final = (VLLM, SGLANG, "remote")
SCORED_AT_ONCE: Final = 16
"""Tokens that one pass scores: the logits of 262,144 words are 1 MB a token."""
LIKELY: Final = 64
"""Tokens of a place that are kept to compare with. A whole distribution of 262,144 words would be 1 MB a token."""


class LogProbabilities:
    """Natural logarithms of every word's probability, made of a place's logits."""

    def __init__(self, logits: Any) -> None:
        import numpy

        self._values = logits.astype(numpy.float64)
        self._values -= self._values.max()
        self._values -= math.log(float(numpy.exp(self._values).sum()))

    def likely(self, count: int = LIKELY) -> tuple[tuple[int, float], ...]:
        """The most probable words, best first."""
        import numpy

        values = self._values
        count = min(count, len(values))
        best = numpy.argpartition(values, -count)[-count:]
        return tuple((int(word), float(values[word])) for word in best[numpy.argsort(-values[best])])

    def of(self, word: int) -> float:
        """The logprob of one word."""
        return float(self._values[word])

    def score(self, token: int, text_of: Callable[[int], str], reference: Score | None) -> Score:
        """What this distribution says of a token, and how far it is from the reference's."""
        likely = self.likely()
        first, logprob = likely[0]
        given = self.of(token)
        if given >= logprob:  # two words may be equally probable
            first, logprob = token, given
        away = None
        if reference is not None:
            away = divergence(reference.likely, [self.of(word) for word, _ in reference.likely])
        return Score(token, text_of(token), given, Alternative(text_of(first), first, logprob), likely, away)


def divergence(reference: tuple[tuple[int, float], ...], logprobs: list[float]) -> float:
    """Nats of Kullback-Leibler divergence from the reference over its likely words, all others taken as one.

    KL(P || Q) = sum of p log(p / q). Merging words can only make it smaller (the data processing inequality).

    Args:
        reference: Words with their logprobs.
        logprobs: Of the same words, in the other distribution.
    """
    total = 0.0
    for (_, p), q in zip(reference, logprobs, strict=True):
        total += math.exp(p) * (p - q)
    rest_p = 1.0 - sum(math.exp(p) for _, p in reference)
    rest_q = 1.0 - sum(math.exp(q) for q in logprobs)
    if rest_p > 1e-12:
        total += rest_p * math.log(rest_p / max(rest_q, 1e-12))
    return max(0.0, total)


def cannot_score(engine: str) -> str:
    """Why an engine cannot, and what to do."""
    return (
        f"{engine} tells the probabilities of its own words alone, so it cannot score another model's answer: "
        f"load this variant with {', '.join(SCORERS[:-1])} or {SCORERS[-1]}"
    )


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of what stands after the prompt."""

    text: str
    scored: bool = True
    """False: a tag, which is only read."""
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """One token of it."""

    token: int
    scored: bool
    reasoning: bool


def stretches(
    answer: str, reasoning: str, tags: tuple[str, str] | None, opened: tuple[str, str] | None, *, channels: bool
) -> list[Stretch]:
    """What the model would have written after its prompt: the thinking between its tags, then the answer.

    The screen's text has neither the tags nor the white space around them; they are put back as models write them.

    Args:
        tags: The family's own pair; None: the usual ones.
        opened: The pair whose first tag the template has written already.
        channels: Whether it is gpt-oss, which writes in channels.
    """
    if channels:
        final = f"{CHANNEL}final{MESSAGE}"
        if not reasoning:
            return [Stretch(final, scored=False), Stretch(answer)]
        between = f"{ENDS[0]}{START}assistant{final}"
        return _thought(f"{CHANNEL}analysis{MESSAGE}", reasoning, between, answer)
    if reasoning:
        opening, closing = opened or tags or USUAL_TAGS[0]
        return _thought("" if opened else f"{opening}\n", reasoning, f"\n{closing}\n\n", answer)
    if opened:  # the template opens what this answer went without
        return [Stretch(f"\n{opened[1]}\n\n", scored=False), Stretch(answer)]
    return [Stretch(answer)]


def _thought(opening: str, reasoning: str, between: str, answer: str) -> list[Stretch]:
    parts = [Stretch(opening, scored=False), Stretch(reasoning, reasoning=True)]
    if answer:
        parts += [Stretch(between, scored=False), Stretch(answer)]
    return [part for part in parts if part.text]


def given_tokens(
    parts: Iterable[Stretch], tokenize: Callable[[str, bool], list[int]], reference: Sequence[Score]
) -> list[Given]:
    """The tokens of all parts; scored ones are the reference's where there is one.

    Args:
        tokenize: A text, and whether control tokens in it are meant.
    """
    found: list[Given] = []
    for part in parts:
        if reference and part.scored:
            tokens = [one.token for one in reference if one.reasoning == part.reasoning]
        else:
            tokens = tokenize(part.text, not part.scored)
        found += [Given(token, part.scored, part.reasoning) for token in tokens]
    return found


def score_all(
    given: Sequence[Given],
    first: Any,
    forward: Callable[[list[int]], Sequence[Any] | None],
    text_of: Callable[[int], str],
    reference: Sequence[Score],
    *,
    block_tokens: int,
) -> tuple[Score, ...]:
    """Score each place; the reference's scores stand in the same order.

    Args:
        first: Logits behind the prompt, as numpy knows them.
        forward: Computes some tokens and gives the logits behind each of them, None after a stop.
        block_tokens: So many at a time.

    Raises:
        EngineError: the reference's tokens are none of this vocabulary.
    """
    if given and max(one.token for one in given) >= len(first):
        raise EngineError("this model has another vocabulary: only variants of one model can be compared")
    scores: list[Score] = []

    def put(place: int, logits: Any) -> None:
        one = given[place]
        if one.scored:
            against = reference[len(scores)] if len(scores) < len(reference) else None
            scored = LogProbabilities(logits).score(one.token, text_of, against)
            scores.append(replace(scored, reasoning=True) if one.reasoning else scored)

    if given:
        put(0, first)
    for at in range(0, len(given) - 1, block_tokens):
        upto = min(at + block_tokens, len(given) - 1)
        rows = forward([one.token for one in given[at:upto]])
        if rows is None:
            break
        for n, logits in enumerate(rows, at + 1):
            put(n, logits)
    return tuple(scores)
