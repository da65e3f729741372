"""Verdicts for the screen: the best of every family in slices, and all options of one family."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from backends.collector import uncollected
from specs.model import Variant

if TYPE_CHECKING:
    from backends.fit import Option, Verdict
    from backends.machine.model import Machine
    from specs.model import ModelFamily


RANK: Mapping[str, int] = {"no": 0, "cpu": 1, "split": 2, "gpu": 3}
STALE_BYTES = 256 << 20
"""Memory that must come or go before the family on the screen is judged again."""
SLICE_VARIANTS = 400
"""Some milliseconds of work: between two slices the screen's thread may run."""
FEWEST_BITS = 3.5
"""Bits a weight below which a model loses more than a smaller one with more bits would."""
READING_SPEED = 5.0
"""Tokens a second; slower than this one waits for every word."""


def better(first: Verdict | None, second: Verdict) -> Verdict:
    """The verdict that a user would rather have."""
    return second if first is None or RANK[second] > RANK[first] else first


def judge_families(
    families: Sequence[ModelFamily],
    quick_verdicts: Callable[[Sequence[Variant]], Sequence[Verdict]],
    stale: Callable[[], bool],
    done: Callable[[Mapping[int, Verdict]], object],
) -> None:
    """Find the best verdict of each family by its index, giving way to other threads; calls done unless stale.

    A variant of each family's smallest size is asked first: where it runs on a card, no other can do better.
    """
    best: dict[int, Verdict] = {}

    def firsts() -> Iterator[tuple[int, Variant]]:
        for index, family in enumerate(families):
            spec = min(family.specs, key=lambda spec: spec.size_in_billions, default=None)
            if spec is not None and spec.quantizations:
                yield index, Variant(family, spec, spec.quantizations[0])

    def others() -> Iterator[tuple[int, Variant]]:
        for index, family in enumerate(families):
            if best.get(index) != "gpu":
                yield from ((index, variant) for variant in family.variants())

    with uncollected():
        for some in (firsts(), others()):
            while asked := tuple(islice(some, SLICE_VARIANTS)):
                if stale():
                    return
                verdicts = quick_verdicts([variant for _, variant in asked])
                for (index, _), verdict in zip(asked, verdicts, strict=True):
                    best[index] = better(best.get(index), verdict)
                time.sleep(0.001)
    if not stale():
        done(best)


@dataclass(frozen=True, slots=True)
class Judged:
    """The options of one family's variants, by their keys."""

    family: ModelFamily
    options: Mapping[str, tuple[Option, ...]]
    best: Mapping[str, Option]

    @classmethod
    def of(
        cls, family: ModelFamily, options: Sequence[Option], best_option: Callable[[Sequence[Option]], Option]
    ) -> Judged:
        """Sort options by variant, in the order in which engines are offered, and find the best of each."""
        from backends.engines.choice import choices

        by_key: dict[str, list[Option]] = {}
        for option in options:
            by_key.setdefault(option.variant.key, []).append(option)
        return cls(
            family,
            {key: tuple(one.option for one in choices(found)) for key, found in by_key.items()},
            {key: best_option(found) for key, found in by_key.items()},
        )

    def of_variant(self, variant: Variant) -> tuple[Option, ...]:
        """One option an engine that takes it, the one to offer first at the front."""
        return self.options.get(variant.key, ())

    def option(self, variant: Variant, engine: str | None) -> Option | None:
        """The option with this engine, else the best."""
        found = next((option for option in self.of_variant(variant) if option.engine == engine), None)
        return found or self.best.get(variant.key)

    def chosen(self, engine: str | None) -> dict[str, Option]:
        """What each cell shows, by key."""
        if engine is None:
            return dict(self.best)
        return {
            key: next((option for option in found if option.engine == engine), self.best[key])
            for key, found in self.options.items()
        }

    def best_start(self, on_disk: frozenset[str]) -> Variant | None:
        """Where a newcomer should look first: what is here already, else the largest model that runs best.

        What keeps too few bits of its weights, or answers slower than one reads, comes after what does not. Among
        quantizations of one model the middle ones of four to five bits, which most people want.
        """
        here = [option for key, option in self.best.items() if key in on_disk and option.verdict != "no"]
        candidates = here or list(self.best.values())
        if not candidates:
            return None

        def rank(option: Option) -> tuple[int, int, bool, bool, float, int, int]:
            ready = option.engine_status == "ready"
            spec = option.variant.spec
            size = float(spec.size_in_billions)
            slow = option.tokens_per_second is not None and option.tokens_per_second.value < READING_SPEED
            usual = "Q4_K_M" in option.variant.quantization.upper()
            return (
                int(ready),
                RANK[option.verdict],
                _bits_per_weight(option) >= FEWEST_BITS,
                not slow,
                -size if slow or option.verdict == "no" else size,
                int(usual),
                option.memory.weights_bytes,
            )

        return max(candidates, key=rank).variant


def _bits_per_weight(option: Option) -> float:
    return option.memory.weights_bytes * 8 / (float(option.variant.spec.size_in_billions) * 1e9)


def materially_different(judged: Machine | None, now: Machine, share: float = 0.0) -> bool:
    """Whether verdicts for one state of a machine are stale for another: so much memory came or went, or a device."""
    if judged is None or judged.label or judged.host_bandwidth_bytes_per_second != now.host_bandwidth_bytes_per_second:
        return True
    if len(judged.accelerators) != len(now.accelerators):
        return True
    places = [
        (before.free_bytes, after.free_bytes, after.total_bytes)
        for before, after in zip(judged.accelerators, now.accelerators, strict=True)
    ]
    places.append((judged.memory.available_bytes, now.memory.available_bytes, now.memory.total_bytes))
    return any(
        (before is None) != (after is None)
        or abs((before or 0) - (after or 0)) > max(STALE_BYTES, share * (total or 0))
        for before, after, total in places
    )
