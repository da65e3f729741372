"""Which models have to go before another one fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backends.engines.engine import LoadOptions, Weights
from backends.loaded import LoadedModel, LoadRequest
from backends.machine.model import Accelerator, Cpu, Machine, Memory
from backends.room import room

GIB = 1 << 30


def machine(free_gib: int, card_free_gib: int | None = None) -> Machine:
    cards = () if card_free_gib is None else (Accelerator(0, "cuda", "card", None, 24 * GIB, card_free_gib * GIB),)
    return Machine("linux", "x86_64", Cpu("cpu", 8, 8), Memory(64 * GIB, free_gib * GIB), cards)


def request(gib: int, name: str = "new", where: str = "GPU") -> LoadRequest:
    return LoadRequest(
        "llama.cpp", Weights(Path("w"), name, "ggufv2", "Q4_K_M"), LoadOptions(8192), name, gib * GIB, where
    )


def loaded(gib: int, name: str, used_at: float = 0.0, where: str = "GPU") -> LoadedModel:
    return LoadedModel(request(gib, name, where), state="ready", used_at=used_at)


def names(models: tuple[LoadedModel, ...]) -> list[str]:
    return [model.request.key for model in models]


def test_what_fits_needs_nobody_to_go() -> None:
    found = room(request(8), [loaded(10, "a")], machine(60, 14))
    assert found is not None
    assert (found.missing_bytes, found.unload) == (0, ())


def test_the_cheapest_models_that_free_enough_are_named() -> None:
    found = room(request(10), [loaded(12, "large"), loaded(5, "small"), loaded(4, "smaller")], machine(60, 3))
    assert found is not None
    assert found.missing_bytes == 7 * GIB
    assert names(found.unload) == ["small", "smaller"]
    assert found.held_bytes == 21 * GIB


def test_of_equals_the_longest_unused_goes() -> None:
    found = room(request(10), [loaded(8, "new", 9.0), loaded(8, "old", 1.0)], machine(60, 4))
    assert found is not None
    assert names(found.unload) == ["old"]


def test_a_model_on_the_cpu_is_not_in_a_cards_way() -> None:
    found = room(request(10), [loaded(20, "cpu", where="CPU"), loaded(8, "card")], machine(10, 4))
    assert found is not None
    assert names(found.unload) == ["card"]


def test_mapped_weights_count_though_the_system_calls_them_free() -> None:
    found = room(request(40, where="CPU"), [loaded(50, "a", where="CPU")], machine(60))
    assert found is not None
    assert found.missing_bytes == 26 * GIB


def test_where_nothing_frees_enough_none_is_named() -> None:
    found = room(request(100), [loaded(5, "a")], machine(60, 3))
    assert found is not None
    assert found.missing_bytes > 0
    assert found.unload == ()


def test_what_is_loaded_already_or_not_known_is_not_judged() -> None:
    model = loaded(5, "a")
    assert room(model.request, [model], machine(1, 1)) is None
    assert room(request(5), [], None) is None
    assert room(replace(request(5), predicted_bytes=None), [], machine(1, 1)) is None


def test_what_the_fit_found_missing_counts_though_the_system_has_it_free() -> None:
    """The fit leaves something to other programs, and both must say the same of one load."""
    short = replace(request(10), short_bytes=2 * GIB)
    found = room(short, [loaded(8, "a")], machine(60, 11))
    assert found is not None
    assert found.missing_bytes == 2 * GIB
    assert names(found.unload) == ["a"]
    assert short == request(10), "it is the same load all the same"
