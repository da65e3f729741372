"""The distribution over a vocabulary at one place, and how far another variant's is from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from backends.engines.engine import Alternative, Score

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
