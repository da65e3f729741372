"""The most probable tokens of one place, with their logprobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backends.engines.engine import Alternative


def ranked(
    found: Iterable[tuple[int, float]], chosen: tuple[int, float], piece: Callable[[int], str]
) -> tuple[Alternative, ...]:
    """Alternatives best first; the token that was chosen is always among them.

    Args:
        found: Tokens with their logprobs before any sampler, as many as were asked for.
        chosen: The one that stands in the answer.
        piece: A token's text.
    """
    known = dict(found)
    known.setdefault(*chosen)
    best = sorted(known.items(), key=lambda item: -item[1])
    # A logprob above 0 is rounding.
    return tuple(Alternative(piece(token), token, min(0.0, logprob)) for token, logprob in best)
