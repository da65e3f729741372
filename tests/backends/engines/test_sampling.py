"""Settings within the bounds that every library takes."""

from __future__ import annotations

from backends.engines.engine import Sampling
from backends.engines.sampling import LEAST_TOP_P, MOST_TEMPERATURE, bounded, seed_bits


def test_at_temperature_0_nothing_else_decides() -> None:
    found = bounded(Sampling(temperature=-1, top_k=5, top_p=0.1, min_p=0.5, seed=3, repetition_penalty=1.2))
    assert found == Sampling(temperature=0, top_k=0, top_p=1, min_p=0, seed=None, repetition_penalty=1.2)


def test_what_is_out_of_bounds_is_the_nearest_within() -> None:
    found = bounded(Sampling(temperature=9, top_k=-4, top_p=1.5, min_p=-1))
    assert (found.temperature, found.top_k, found.top_p, found.min_p) == (MOST_TEMPERATURE, 0, 1.0, 0.0)
    assert bounded(Sampling(temperature=1, top_p=0)).top_p == LEAST_TOP_P, "the best one alone, not all of them"


def test_a_seed_keeps_as_many_bits_as_the_library_takes() -> None:
    assert seed_bits(Sampling(seed=None), 31) is None
    assert seed_bits(Sampling(seed=(1 << 40) + 7), 32) == 7
    assert seed_bits(Sampling(seed=-1), 63) == (1 << 63) - 1
