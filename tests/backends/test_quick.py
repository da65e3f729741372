"""Verdicts of a whole catalog at once: the same as one by one, and quick by what is shared."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from machines import EIGHT_H100, LAPTOP, READY, RTX_3060, RTX_4090, TWO_3090, UNLIKE, mac

from backends import quick
from backends.collector import KEPT_OBJECTS, let_go, uncollected
from backends.fit import Correction, Wish
from backends.judge import best_option, options
from backends.machine.model import Machine
from backends.memory import estimators
from backends.memory.demand import Portion
from specs.catalog import load_catalog
from specs.engines import candidate_engines
from specs.model import LLAMA_CPP

FAMILIES = load_catalog().families
KINDS = ("f16", "q8_0", "q4_0")
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


def test_portions_are_those_of_whole_demands() -> None:
    estimators.forget()
    asked = 0
    for family in FAMILIES[::3]:
        for variant in family.variants():
            spec, quantization = variant.spec, variant.quantization
            shape = estimators.catalog_shape(family, spec)
            for engine in candidate_engines(spec, quantization):
                for imatrix in (False, True) if engine == LLAMA_CPP else (False,):
                    known = (shape, spec.format, quantization, engine)
                    demand = estimators.demand_of_shape(*known, imatrix=imatrix)
                    assert estimators.portion_of_shape(*known, imatrix=imatrix) == Portion.of(demand), variant.key
                    asked += 1
    assert asked > 1000


def test_formats_of_one_model_share_its_shape_whoever_wrote_the_figures_down() -> None:
    family = next(one for one in FAMILIES if one.name == "qwen3")
    spec = family.specs[0]
    assert spec.architecture is not None
    again = replace(spec, architecture=replace(spec.architecture))
    assert again.architecture is not spec.architecture
    assert estimators.catalog_shape(family, again) is estimators.catalog_shape(family, spec)


def test_what_was_kept_is_freed_one_entry_after_the_other() -> None:
    table: dict[int, Freed] = {}
    left: list[int] = []

    class Freed:
        def __del__(self) -> None:
            left.append(len(table))

    table.update({number: Freed() for number in range(5)})
    let_go(table)
    # A table that is cleared is empty before its first value is freed.
    assert left == [4, 3, 2, 1, 0]


def test_a_machine_gets_the_same_verdicts_after_many_others_took_its_place() -> None:
    variants = [variant for family in FAMILIES[::5] for variant in family.variants()]
    machines = (RTX_4090, RTX_3060, LAPTOP, TWO_3090, mac(64))
    quick.forget()
    first = [quick.quick_verdicts(variants, machine, Wish(8192, kind)) for machine in machines for kind in KINDS]
    again = [quick.quick_verdicts(variants, machine, Wish(8192, kind)) for machine in machines for kind in KINDS]
    assert again == first
    assert len({tuple(verdicts) for verdicts in first}) > len(machines)


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
