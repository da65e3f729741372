"""Judging a catalog for the list: each family's best, and no more questions than that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends.fit import Verdict
from backends.machine.presets import preset
from backends.quick import quick_verdicts
from specs.catalog import load_catalog
from specs.model import Variant
from tui.judging import judge_families

FAMILIES = load_catalog().families
CARD = preset("RTX 4090")
BETTER_FIRST: tuple[Verdict, ...] = ("gpu", "split", "cpu", "no")


def test_a_family_whose_smallest_size_runs_on_a_card_is_asked_no_further() -> None:
    asked: list[Variant] = []

    def verdicts_of(variants: Sequence[Variant]) -> list[Verdict]:
        asked.extend(variants)
        return quick_verdicts(variants, CARD)

    done: list[Mapping[int, Verdict]] = []
    judge_families(FAMILIES, verdicts_of, lambda: False, done.append)
    every = [quick_verdicts(list(family.variants()), CARD) for family in FAMILIES]
    assert done == [{index: min(found, key=BETTER_FIRST.index) for index, found in enumerate(every)}]
    assert len(asked) < sum(map(len, every)) / 2
