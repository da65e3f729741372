"""The cheapest change that makes a variant run, each one judged again before it is named."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from backends.fit import Wish
from backends.machine.model import Machine
from backends.machine.presets import PRESETS, preset
from backends.memory.demand import Demand
from backends.memory.estimators import demand_of
from backends.memory.placement import place
from backends.places import Places, driven, places
from backends.support import CONTEXT_STEP, cache_type_of, context_of, refusal_of
from backends.words import amount, tokens
from specs.engines import candidate_engines
from specs.formats import parse_quantization
from specs.model import LLAMA_CPP, VLLM, ModelSpec, Variant


def cheapest_cure(
    variant: Variant,
    engine: str,
    machine: Machine,
    found: Places,
    wish: Wish,
    demand: Demand,
) -> str | None:
    """The smallest change that makes it run, each one judged again before it is named."""
    context = context_of(variant.family, wish)
    cache_type = cache_type_of(engine, wish)
    shorter = _longest_that_runs(demand, found, cache_type, context)
    if shorter >= max(context // 2, 1024):
        return f"a context of {tokens(shorter)} fits"
    if engine == LLAMA_CPP and cache_type == "f16" and place(demand, found, context, "q8_0").verdict != "no":
        return "a KV cache of type q8_0 fits"
    smaller = next_quantization(variant, engine, machine, found, context, cache_type, demand)
    if smaller is not None:
        return f"{smaller[0].quantization} ({amount(smaller[1])}) fits"
    if shorter >= 1024:
        return f"a context of {tokens(shorter)} fits"
    other = _other_way(variant, engine, machine, context, wish)
    if other is not None:
        return other
    return _smaller_size(variant, engine, machine, context, wish)


def refusal_cure(variant: Variant, engine: str, machine: Machine, wish: Wish) -> str | None:
    """What runs here instead where an engine does not take a variant: another engine, else another format of it."""
    context = context_of(variant.family, wish)
    for other in candidate_engines(variant.spec, variant.quantization):
        if other == engine or refusal_of(variant, other, machine) is not None:
            continue
        demand = demand_of(variant, other)
        if place(demand, _as_used_by(other, machine), context, cache_type_of(other, wish)).verdict != "no":
            return f"{other} runs it here"
    return _other_way(variant, engine, machine, context, wish)


def larger_machine(variant: Variant, engine: str, wish: Wish) -> str | None:
    """The smallest of the machines we have figures of that would run it, where nothing of the family runs here."""
    context = context_of(variant.family, wish)
    cache_type = cache_type_of(engine, wish)
    demand = demand_of(variant, engine)
    for name, machine in _by_memory():
        if refusal_of(variant, engine, machine) is None:
            placed = place(demand, _as_used_by(engine, machine), context, cache_type)
            if placed.verdict in {"gpu", "split"}:
                return f"a machine such as {name} runs it"
    return None


@cache
def _by_memory() -> tuple[tuple[str, Machine], ...]:
    """The presets, the one with the least memory first."""
    known = [(name, preset(name)) for name in PRESETS]

    def memory_bytes(one: tuple[str, Machine]) -> int:
        cards = sum(card.total_bytes or 0 for card in one[1].accelerators if not card.unified)
        return cards + (one[1].memory.total_bytes or 0)

    return tuple(sorted(known, key=memory_bytes))


def cluster_cure(variant: Variant, demand: Demand, context: int) -> str | None:
    """What several machines would have to give where no single one of eight cards does; None: one machine is enough.

    The weights that vLLM takes need not shrink for it, which is what sets it apart from the other cures.
    """
    from backends.engines.cluster import load_of, machines_needed, requirement

    load = load_of(demand, context)
    if (machines_needed(load) or 0) < 2:
        return None
    bits = parse_quantization(variant.spec.format, variant.quantization).bits_per_weight
    takes = requirement(load, bits=round(bits or 16))
    named = "--ray-address HOST:PORT names it, in the app ray_address of config.toml"
    return f"or a Ray cluster under {VLLM}, {takes}: {named}"


def _as_used_by(engine: str, machine: Machine) -> Places:
    return places(driven(machine, None, engine))


def _longest_that_runs(demand: Demand, found: Places, cache_type: str, context: int) -> int:
    if place(demand, found, CONTEXT_STEP, cache_type).verdict == "no":
        return 0
    low, high = 1, -(-context // CONTEXT_STEP)
    while high - low > 1:
        middle = (low + high) // 2
        if place(demand, found, middle * CONTEXT_STEP, cache_type).verdict == "no":
            high = middle
        else:
            low = middle
    return low * CONTEXT_STEP


def next_quantization(
    variant: Variant, engine: str, machine: Machine, found: Places, context: int, cache_type: str, demand: Demand
) -> tuple[Variant, int] | None:
    """The next smaller quantization of the same size and format that runs, with its bytes."""
    best: tuple[int, Variant, int] | None = None
    for spec in variant.family.specs:
        if spec.format != variant.spec.format or spec.size_in_billions != variant.spec.size_in_billions:
            continue
        for name in spec.quantizations:
            other = Variant(variant.family, spec, name)
            theirs = demand_of(other, engine)
            if theirs.weights_bytes >= demand.weights_bytes or (best and theirs.weights_bytes <= best[0]):
                continue
            if refusal_of(other, engine, machine) is not None:
                continue
            placed = place(theirs, found, context, cache_type)
            if placed.verdict != "no":
                total = theirs.estimate(context, cache_type, placed.kind, max(1, len(placed.cards)))
                best = (theirs.weights_bytes, other, total.total_bytes)
    return (best[1], best[2]) if best else None


def _other_way(variant: Variant, engine: str, machine: Machine, context: int, wish: Wish) -> str | None:
    specs = [spec for spec in variant.family.specs if spec.size_in_billions == variant.spec.size_in_billions]
    best = _largest_that_runs(variant, specs, machine, context, wish, but=(variant.spec, engine))
    return f"{best} fits" if best else None


def _smaller_size(variant: Variant, engine: str, machine: Machine, context: int, wish: Wish) -> str | None:
    """The next smaller size that runs, in the format and under the engine that were asked for where they do."""
    sizes = [size for size in variant.family.sizes_in_billions if size < variant.spec.size_in_billions]
    for size in reversed(sizes):
        specs = [spec for spec in variant.family.specs if spec.size_in_billions == size]
        alike = [spec for spec in specs if spec.format == variant.spec.format]
        best = _largest_that_runs(variant, alike, machine, context, wish, only=engine)
        if best := best or _largest_that_runs(variant, specs, machine, context, wish):
            return f"the {size}B size fits ({best})"
    return None


def _largest_that_runs(
    variant: Variant,
    specs: Sequence[ModelSpec],
    machine: Machine,
    context: int,
    wish: Wish,
    but: tuple[ModelSpec, str] | None = None,
    only: str | None = None,
) -> str | None:
    """The format, quantization and engine with the most bytes of weights that run, as "gptq Int4 under vLLM"."""
    best: tuple[int, str] | None = None
    for spec in specs:
        for name in spec.quantizations:
            other = Variant(variant.family, spec, name)
            for engine in candidate_engines(spec, name):
                if (spec, engine) == but or (only and engine != only) or refusal_of(other, engine, machine) is not None:
                    continue
                theirs = demand_of(other, engine)
                if best and theirs.weights_bytes <= best[0]:
                    continue
                found = _as_used_by(engine, machine)
                if place(theirs, found, context, cache_type_of(engine, wish)).verdict != "no":
                    best = (theirs.weights_bytes, f"{spec.format} {name} under {engine}")
    return best[1] if best else None
