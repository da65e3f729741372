"""Verdicts of a whole catalog at once: the same as one by one, and quick by what is shared."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from machines import EIGHT_H100, LAPTOP, READY, RTX_3060, RTX_4090, TWO_3090, UNLIKE, mac

from backends import quick
from backends.collector import KEPT_OBJECTS, uncollected
from backends.fit import Correction, Wish
from backends.judge import best_option, options
from backends.machine.model import Machine
from backends.memory import estimators
from specs.catalog import load_catalog

FAMILIES = load_catalog().families
LOADS = {("llama.cpp", "ggufv2"): Correction(((5 << 30, 6 << 30),) * 3)}


@pytest.mark.parametrize(
    ("machine", "wish", "ready", "first"),
    [
        (RTX_4090, Wish(), READY, 0),
        (RTX_3060, Wish(32_768, "q8_0"), {}, 1),
        (UNLIKE, Wish(131_072), READY, 2),
        (TWO_3090, Wish(131_072, "q4_0"), {}, 3),
        (EIGHT_H100, Wish(131_072), READY, 4),
        (LAPTOP, Wish(), READY, 5),
        (mac(64), Wish(16_384), {}, 6),
    ],
    ids=["one card", "a small card", "unlike cards", "like cards", "eight cards", "no card", "unified memory"],
)
def test_the_bundled_catalog_is_judged_as_each_variant_by_itself(
    machine: Machine, wish: Wish, ready: dict[str, object], first: int
) -> None:
    # A part of the families for each kind of machine, so that all of them are asked for.
    variants = [variant for family in FAMILIES[first::7] for variant in family.variants()]
    assert len(variants) > 200
    for corrections in ({}, LOADS):
        quick.forget()
        estimators.forget()
        found = quick.quick_verdicts(variants, machine, wish, ready, corrections)  # type: ignore[arg-type]
        alone = [
            best_option(options([one], machine, wish, statuses=ready, corrections=corrections)).verdict  # type: ignore[arg-type]
            for one in variants
        ]
        assert found == alone


def test_fine_tunes_of_a_model_share_its_verdicts_whatever_they_are_called() -> None:
    asked = [family for family in FAMILIES if family.name in {"llama-3.1-instruct", "qwen3", "deepseek-r1"}]
    assert len(asked) == 3
    renamed = [
        replace(family, name=f"{family.name}-{turn}", specs=tuple(replace(spec) for spec in family.specs))
        for family in asked
        for turn in range(3)
    ]
    found = quick.quick_verdicts([one for family in renamed for one in family.variants()], RTX_3060)
    plain = [quick.quick_verdicts(list(family.variants()), RTX_3060) for family in asked]
    assert found == [verdict for verdicts in plain for _ in range(3) for verdict in verdicts]


def test_the_collector_stands_still_while_values_are_made_and_is_left_as_it_was() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    try:
        with uncollected():
            kept = [[] for _ in range(KEPT_OBJECTS + 1000)]
        assert gc.get_freeze_count() >= frozen + len(kept)
    finally:
        gc.unfreeze()
