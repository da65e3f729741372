"""Two variants of one model on one answer: where the second would have gone another way, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.engines.engine import Score


@dataclass(frozen=True, slots=True)
class Duel:
    """One answer as the second variant scored it."""

    scores: tuple[Score, ...]
    """By token of the first variant's answer."""
    reference: tuple[Score, ...]
    """What the first variant says of the same tokens."""

    def differs(self, place: int) -> bool:
        """Whether the two have another first choice here."""
        return self.scores[place].first.token != self.reference[place].first.token

    def part(self, *, reasoning: bool) -> Duel:
        """The thinking alone, or the answer alone."""
        kept = [place for place, score in enumerate(self.scores) if score.reasoning == reasoning]
        return Duel(tuple(self.scores[n] for n in kept), tuple(self.reference[n] for n in kept))

    @property
    def same_share(self) -> float | None:
        """Places with the same first choice, 0 to 1; None: nothing was scored."""
        if not self.scores:
            return None
        return 1 - sum(self.differs(place) for place in range(len(self.scores))) / len(self.scores)

    @property
    def mean_divergence(self) -> float | None:
        """Nats a token; None: nothing was scored."""
        known = [one.divergence for one in self.scores if one.divergence is not None]
        return sum(known) / len(known) if known else None

    @property
    def short_words(self) -> str:
        """Both figures where there is little room."""
        if self.same_share is None or self.mean_divergence is None:
            return "nothing to compare"
        return f"same {int(self.same_share * 100)} %, divergence {self.mean_divergence:.2f}"

    @property
    def words(self) -> str:
        """Both figures, as the foot of a pane says them."""
        if self.same_share is None or self.mean_divergence is None:
            return "nothing to compare"
        # Rounded down: 100 % is said where it is so.
        return f"same first choice {int(self.same_share * 100)} %, mean divergence {self.mean_divergence:.2f}"


def duel(reference: Sequence[Score], scores: Sequence[Score]) -> Duel:
    """Put both side by side, as far as the shorter one goes."""
    length = min(len(reference), len(scores))
    return Duel(tuple(scores[:length]), tuple(reference[:length]))
