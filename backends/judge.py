"""Judging variants: verdict, place, longest context and reason for every variant, engine and machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from backends.cures import cheapest_cure, cluster_cure, larger_machine, refusal_cure
from backends.engines.engine import EngineStatus
from backends.fit import Correction, Knowledge, Option, Speed, Verdict, Wish, offer_rank
from backends.machine.model import Machine
from backends.memory.demand import CPU, Demand
from backends.memory.estimators import demand_of
from backends.memory.placement import Placement, place
from backends.memory.vllm import SHARE
from backends.places import Place, Places, driven, places
from backends.quick import quick_verdicts
from backends.speed import decode_speed
from backends.support import CONTEXT_STEP, cache_type_of, context_of, support
from backends.words import amount, tokens
from specs.engines import candidate_engines
from specs.model import LLAMA_CPP, SGLANG, TRANSFORMERS, VLLM, ModelFamily, Variant

__all__ = ["best_option", "judge", "option_to_json", "options", "quick_verdicts"]

_LAYER_REST: Final = 1 << 20
"""A shortage below this is none of bytes."""
UNKNOWN_CONTEXT_LIMIT: Final = 1 << 20
"""Tokens beyond which nobody asks, for families that do not say what they were trained for."""


def judge(
    variant: Variant,
    engine: str,
    machine: Machine,
    wish: Wish | None = None,
    *,
    knowledge: Knowledge | None = None,
    status: EngineStatus | None = None,
    correction: Correction | None = None,
    measured_speed: Speed | None = None,
    as_built: bool = False,
) -> Option:
    """How this variant runs under this engine on this machine, and what would make it run if it does not.

    The verdict is the hardware's: an installed build that does not drive the card is told in the reason, as an engine
    that is not installed is. With as_built the verdict is what a load will meet with that build now.
    """
    wish = wish or Wish()
    state, refused = support(variant, engine, machine, status)
    demand = demand_of(variant, engine, knowledge)
    if correction is not None:
        demand = demand.corrected(correction.extra_bytes(demand.weights_bytes), len(correction.loads))
    context = context_of(variant.family, wish)
    usable = driven(machine, status if as_built else None, engine)
    found = places(usable)
    cache_type = cache_type_of(engine, wish)
    placed = place(demand, found, context, cache_type)
    speed = None
    verdict: Verdict = placed.verdict
    reason: str | None
    longest: int | None = None
    lack, install_line = _lack(variant, engine, state, status)
    if refused is not None:
        # Where the sentence itself names who takes it, that is the change to make.
        named = refused.endswith((" can", " takes it"))
        cure = None if named else refusal_cure(variant, engine, machine, wish) or larger_machine(variant, engine, wish)
        verdict, reason = "no", _join(refused, cure)
    elif verdict == "no":
        reason = _missing(demand, found, placed)
        cure = cheapest_cure(variant, engine, machine, found, wish, demand)
        if engine in {VLLM, SGLANG}:
            cure = _join(cure, cluster_cure(variant, demand, context))
        elif cure and engine == TRANSFORMERS and _may_join_a_cluster(variant, machine):
            # It is offered first where nothing runs, and what it cannot do on several machines vLLM can.
            cure = _join(cure, cluster_cure(variant, demand_of(variant, VLLM, knowledge), context))
        cure = cure or larger_machine(variant, engine, wish)
        reason = f"{reason}; {cure}" if cure else reason
    else:
        longest = max_context(demand, found, placed.verdict, cache_type, variant.family.context_length)
        reason = _why_not_better(demand, found, placed, context, cache_type)
        if status is not None and driven(machine, status, engine) != driven(machine, None, engine):
            build = status.reason or f"the installed {engine} drives no {machine.accelerators[0].kind} card"
            reason = build if as_built else _join(reason, build)
        if usable.accelerators != machine.accelerators and placed.verdict == "cpu" and not found.cards and not as_built:
            reason = f"{engine} does not use the {_names([one.name for one in machine.accelerators])}"
        reason = _join(
            lack,
            _too_long(variant.family, context),
            reason,
            _correction_note(demand, placed, context, cache_type),
        )
        speed = decode_speed(demand, placed, machine, context)
    kind = placed.kind
    devices = max(1, len(placed.cards)) if placed.verdict in {"gpu", "split"} else 1
    if placed.verdict == "no":
        # The sum that the sentence names: each card has a process's share and a compute buffer of its own.
        devices = placed.devices
    layered = engine == LLAMA_CPP and verdict in {"gpu", "split", "cpu"}
    return Option(
        variant=variant,
        engine=engine,
        engine_status=state,
        verdict=verdict,
        reason=reason,
        where=_where(demand, placed, verdict),
        context=context,
        max_context=longest,
        gpu_layers=placed.gpu_layers if layered else None,
        total_layers=len(demand.block_bytes) + 1 if engine == LLAMA_CPP else None,
        download_bytes=demand.download_bytes,
        tokens_per_second=_speed(speed, measured_speed, verdict),
        memory=demand.estimate(context, cache_type, kind, devices),
        budget_bytes=placed.budget_bytes or None,
        about=demand.about,
        card_indices=tuple(card.accelerator.index for card in placed.cards) if verdict in {"gpu", "split"} else (),
        card_layers=placed.card_layers if verdict in {"gpu", "split"} else (),
        compute_by=demand.answered_by,
        kv_cache_type=cache_type,
        device=_device(engine, found, placed, status) if verdict != "no" else None,
        memory_share=_memory_share(demand, placed) if verdict == "gpu" else None,
        lack=lack,
        install_line=install_line,
    )


def _may_join_a_cluster(variant: Variant, machine: Machine) -> bool:
    """Whether vLLM could run it from here on the cards of several machines."""
    cuda = any(card.kind == "cuda" for card in machine.accelerators)
    return cuda and VLLM in candidate_engines(variant.spec, variant.quantization)


def _lack(variant: Variant, engine: str, state: str, status: EngineStatus | None) -> tuple[str | None, str | None]:
    """What would have to be installed for these weights, and the command for it."""
    if state != "not-installed" or status is None:
        return None, None
    status = status.of(variant.spec.format, variant.quantization)
    if status.status == "not-installed" and status.reason:
        return status.reason, status.install_line
    return f"{engine} is not installed here", status.install_line


def _device(engine: str, found: Places, placed: Placement, status: EngineStatus | None) -> str | None:
    """Where engines would take another device, or all, by themselves."""
    if placed.verdict == "cpu":
        return CPU if found.cards else None
    if len(placed.cards) != 1 or len(found.cards) < 2:
        return None
    card = placed.cards[0].accelerator
    if status is not None and status.accelerators is not None and card.kind not in status.accelerators:
        return None  # a build that cannot drive the card, or counts devices in an order of its own, fails on its number
    # vLLM takes the first card by itself, and older ones cannot be told of another.
    if card.unified or (engine == VLLM and card.index == 0):
        return None
    return f"cuda:{card.index}"  # llama.cpp reads the number alone, and PyTorch calls AMD's cards so too


def _memory_share(demand: Demand, placed: Placement) -> float | None:
    """The share of its card that an engine may claim, which refuses to start where less is free."""
    if demand.parallel_heads is None:
        return None
    shares = [card.budget_bytes / total for card in placed.cards if (total := card.accelerator.total_bytes)]
    return math.floor(min(SHARE, *shares) * 100) / 100 if shares else None


def _speed(predicted: float | None, measured: Speed | None, verdict: Verdict) -> Speed | None:
    """What was measured here stands above what is predicted."""
    if measured is not None and verdict != "no":
        return measured
    return Speed(predicted, "predicted") if predicted is not None else None


def options(
    variants: Iterable[Variant],
    machine: Machine,
    wish: Wish | None = None,
    *,
    statuses: Mapping[str, EngineStatus] | None = None,
    knowledge: Mapping[str, Knowledge] | None = None,
    corrections: Mapping[tuple[str, str], Correction] | None = None,
    speeds: Mapping[tuple[str, str], Speed] | None = None,
    as_built: bool = False,
) -> list[Option]:
    """One option for each variant and engine of ours that takes its format, ready or not.

    Args:
        variants: what to judge.
        machine: this machine or another.
        wish: context and cache type.
        statuses: what is installed, by engine.
        knowledge: what is known beyond the catalog, by variant key.
        corrections: by engine and format, from backends.measurements.
        speeds: measured ones by variant key and engine, from backends.measurements.
        as_built: judge what the installed builds can do, for a load now, instead of what the hardware can.
    """
    wish = wish or Wish()
    statuses = statuses or {}
    knowledge = knowledge or {}
    corrections = corrections or {}
    speeds = speeds or {}
    found: list[Option] = []
    for variant in variants:
        key = variant.key if knowledge or speeds else ""
        known = knowledge.get(key)
        found.extend(
            judge(
                variant,
                engine,
                machine,
                wish,
                knowledge=known,
                status=statuses.get(engine),
                correction=corrections.get((engine, variant.spec.format)),
                measured_speed=speeds.get((key, engine)),
                as_built=as_built,
            )
            for engine in candidate_engines(variant.spec, variant.quantization)
        )
    return found


def best_option(options: Sequence[Option]) -> Option:
    """The option to offer first, in the order of offer_rank(); of equal ones the earliest."""
    return min(options, key=offer_rank)


def max_context(demand: Demand, found: Places, verdict: Verdict, cache_type: str, trained: int | None) -> int | None:
    """The longest context that keeps the verdict, by inversion; None: no limit was met and none is published."""
    limit = trained or UNKNOWN_CONTEXT_LIMIT
    if place(demand, found, limit, cache_type).verdict == verdict:
        return trained
    low, high = 0, -(-limit // CONTEXT_STEP)
    while high - low > 1:
        middle = (low + high) // 2
        if place(demand, found, middle * CONTEXT_STEP, cache_type).verdict == verdict:
            low = middle
        else:
            high = middle
    return low * CONTEXT_STEP or None


def _missing(demand: Demand, found: Places, placed: Placement) -> str:
    if not found.cards and not found.host_bytes:
        return "neither memory nor accelerators of this machine are known"
    if not demand.on_cpu and not found.cards:
        return f"{demand.engine} needs an accelerator for these weights, and this machine has none"
    short, budget = placed.short_bytes, placed.budget_bytes
    if placed.nearest == "cards" and short < _LAYER_REST:
        # Together there is room enough, but a layer lies on one card as a whole.
        return f"needs {amount(budget + short)}, and its layers do not divide into what {_cards(found)} have each"
    return (
        f"needs {amount(budget + short)} and {_nearest(found, placed)} {amount(budget)} to give: {amount(short)} short"
    )


def _usable(found: Places) -> list[Place]:
    """The cards that one process can use together: of MIG slices only the best one."""
    whole = [card for card in found.cards if card.accelerator.parent_uuid is None]
    return whole or [max(found.cards, key=lambda card: card.budget_bytes)]


def _cards(found: Places) -> str:
    return _names([card.accelerator.name for card in _usable(found)])


def _nearest(found: Places, placed: Placement) -> str:
    """The place that comes nearest, with its verb."""
    if placed.nearest == "ram" or not found.cards:
        return "RAM has"
    if placed.nearest == "card":
        best = max(found.cards, key=lambda card: card.budget_bytes)
        return f"the {_short_name(best.accelerator.name)} has"
    names = _cards(found)
    several = " x " in names or " and " in names
    those = names if several else f"the {names}"
    if placed.nearest == "all" and not found.unified:
        those += " with RAM"
    return f"{those} {'have' if several else 'has'}"


def _names(names: Sequence[str]) -> str:
    if len(names) > 1 and len(set(names)) == 1:
        return f"{len(names)} x {_short_name(names[0])}"
    return " and ".join(_short_name(name) for name in names)


def _short_name(name: str) -> str:
    for maker in ("NVIDIA GeForce ", "NVIDIA ", "AMD Radeon "):
        if name.startswith(maker):
            return name.removeprefix(maker)
    return name


def _where(demand: Demand, placed: Placement, verdict: Verdict) -> str:
    if verdict == "no":
        return "nowhere"
    if verdict == "cpu":
        return "in RAM, on the CPU"
    names = _names([card.accelerator.name for card in placed.cards])
    total = len(demand.block_bytes) + 1
    if verdict == "split":
        return f"{placed.gpu_layers} of {total} layers on the {names}, the others in RAM"
    if placed.gpu_layers is not None:
        return f"on the {names}, all {total} layers"
    return f"on the {names}"


def _why_not_better(demand: Demand, found: Places, placed: Placement, context: int, cache_type: str) -> str | None:
    if placed.verdict == "gpu":
        return None
    if not found.cards:
        if found.unknown:
            return f"{_names(found.unknown)} does not tell its memory, so the CPU is what is left"
        return None
    kind = found.cards[0].accelerator.kind
    whole = demand.weights_bytes - demand.host_bytes + demand.kv_bytes(context, cache_type)
    whole += demand.device_compute(context) + demand.overhead_of(kind)
    usable = _usable(found)
    together = demand.layer_split and not found.unified
    room = found.largest_bytes
    if together:
        # Each further card has a process's share and a compute buffer of its own.
        whole += (len(usable) - 1) * (demand.device_compute(context) + demand.overhead_of(kind))
        room = sum(card.budget_bytes for card in usable)
    short = whole - room
    names = _names([card.accelerator.name for card in usable])
    if short >= _LAYER_REST:
        return f"{amount(short)} too large for the {names} alone"
    return f"its layers do not divide into what the {names} have each" if together and len(usable) > 1 else None


def _too_long(family: ModelFamily, context: int) -> str | None:
    if family.context_length and context > family.context_length:
        return f"{family.name} was trained for {tokens(family.context_length)} tokens only"
    return None


def _correction_note(demand: Demand, placed: Placement, context: int, cache_type: str) -> str | None:
    if not demand.loads:
        return None
    total = demand.estimate(context, cache_type, placed.kind, max(1, len(placed.cards))).total_bytes
    loads = "1 load" if demand.loads == 1 else f"{demand.loads} loads"
    return f"predicted {amount(total)}, from {loads} here"


def _rounded(tokens_per_second: float) -> float:
    # A slow speed is not none: it keeps digits that count.
    return round(tokens_per_second, 1) if tokens_per_second >= 1 else float(f"{tokens_per_second:.2g}")


def _join(*parts: str | None) -> str | None:
    said = [part for part in parts if part]
    return "; ".join(said) if said else None


def option_to_json(option: Option) -> dict[str, Any]:
    """An option in the form that `fit --json` promises."""
    variant = option.variant
    memory = option.memory
    speed = option.tokens_per_second
    return {
        "name": variant.family.name,
        "size_in_billions": variant.spec.size_in_billions,
        "format": variant.spec.format,
        "quantization": variant.quantization,
        "model_id": variant.model_id,
        "hubs": list(variant.hub_names),
        "engine": option.engine,
        "engine_status": option.engine_status,
        "reason": option.reason,
        "install_line": option.install_line,
        "verdict": option.verdict,
        "where": option.where,
        "context": option.context,
        "max_context": option.max_context,
        "gpu_layers": option.gpu_layers,
        "download_bytes": option.download_bytes,
        "about": option.about,
        "tokens_per_second": {"value": _rounded(speed.value), "basis": speed.basis} if speed else None,
        "memory": {
            "weights_bytes": memory.weights_bytes,
            "kv_cache_bytes": memory.kv_cache_bytes,
            "compute_bytes": memory.compute_bytes,
            "compute_basis": "engine" if option.compute_by else "formula",
            "overhead_bytes": memory.overhead_bytes,
            "total_bytes": memory.total_bytes,
            "basis": memory.basis,
        },
    }
