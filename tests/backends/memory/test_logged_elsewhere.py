"""Buffers and weights that llama.cpp logged of models which the estimators were not made with."""

from __future__ import annotations

import statistics
from pathlib import Path

import logged_models
import pytest

TRUTH = Path(__file__).parents[2] / "truth" / "llama_cpp_buffers_elsewhere.csv"
JUDGED = tuple(logged_models.judged(TRUTH))


def of(*kinds: str) -> list[logged_models.Judged]:
    return [one for one in JUDGED if one.what in kinds]


@pytest.mark.parametrize("one", of("cache", "windows", "state"), ids=lambda one: f"{one.model} {one.what}")
def test_caches_and_states_are_what_was_logged(one: logged_models.Judged) -> None:
    assert one.error <= 0.005


def test_most_logged_caches_are_met_exactly() -> None:
    found = of("cache", "windows", "state")
    assert len(found) >= 45
    assert sum(1 for one in found if one.error == 0) >= 0.9 * len(found)


@pytest.mark.parametrize("one", of("compute", "host compute"), ids=lambda one: f"{one.model} {one.what}")
def test_the_closed_forms_of_compute_buffers_hold(one: logged_models.Judged) -> None:
    assert one.error <= 0.005


def test_weights_in_the_tensors_are_what_was_logged() -> None:
    errors = sorted(one.error for one in of("tensors"))
    assert len(errors) == 3
    assert statistics.median(errors) <= 0.001
    assert errors[-1] <= 0.005
