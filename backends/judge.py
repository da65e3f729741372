"""Judging variants: verdict, place, longest context and reason for every variant, engine and machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

from backends.engines.engine import EngineStatus
from backends.fit import DEFAULT_CONTEXT, Correction, Knowledge, Option, Speed, Verdict, Wish
from backends.machine.model import Machine
from backends.memory.demand import CPU, Demand
from backends.memory.estimators import demand_of
from backends.memory.placement import Placement, place
from backends.places import Places, places
from backends.speed import decode_speed
from backends.words import amount, tokens
from specs.engines import candidate_engines, refusal
from specs.model import LLAMA_CPP, ModelFamily, Variant

CONTEXT_STEP: Final = 256
"""Contexts are searched in steps of llama.cpp's own padding."""
UNKNOWN_CONTEXT_LIMIT: Final = 1 << 20
"""Tokens beyond which nobody asks, for families that do not say what they were trained for."""

Status = Literal["ready", "not-installed", "unsupported"]


def context_of(family: ModelFamily, wish: Wish) -> int:
    """Tokens to judge at: the wish, else the default, else what the family was trained for where that is shorter."""
    if wish.context is not None:
        return max(1, wish.context)
    if family.context_length:
        return min(DEFAULT_CONTEXT, family.context_length)
    return DEFAULT_CONTEXT


def judge(
    variant: Variant,
    engine: str,
    machine: Machine,
    wish: Wish | None = None,
    *,
    knowledge: Knowledge | None = None,
    status: EngineStatus | None = None,
    correction: Correction | None = None,
) -> Option:
    """How this variant runs under this engine on this machine, and what would make it run if it does not."""
    wish = wish or Wish()
    state, refused = support(variant, engine, machine, status)
    demand = demand_of(variant, engine, knowledge)
    if correction is not None:
        demand = demand.corrected(correction.ratio, correction.loads)
    context = context_of(variant.family, wish)
    found = places(machine)
    cache_type = cache_type_of(engine, wish)
    placed = place(demand, found, context, cache_type)
    speed = None
    verdict: Verdict = placed.verdict
    reason: str | None
    longest: int | None = None
    if refused is not None:
        verdict, reason = "no", refused
    elif verdict == "no":
        reason = _missing(demand, found, placed, context, cache_type)
        cure = cheapest_cure(variant, engine, machine, found, wish, demand, knowledge)
        reason = f"{reason}; {cure}" if cure else reason
    else:
        longest = max_context(demand, found, placed.verdict, cache_type, variant.family.context_length)
        reason = _why_not_better(demand, found, placed, context, cache_type)
        reason = _join(
            _too_long(variant.family, context), reason, _correction_note(demand, placed, context, cache_type)
        )
        speed = decode_speed(demand, placed, machine, context)
    kind = placed.kind
    devices = max(1, len(placed.cards)) if placed.verdict in {"gpu", "split"} else 1
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
        tokens_per_second=Speed(speed, "predicted") if speed is not None else None,
        memory=demand.estimate(context, cache_type, kind, devices),
        budget_bytes=placed.budget_bytes or None,
        about=demand.about,
        card_indices=tuple(card.accelerator.index for card in placed.cards) if verdict in {"gpu", "split"} else (),
        card_layers=placed.card_layers if verdict in {"gpu", "split"} else (),
    )


def cache_type_of(engine: str, wish: Wish) -> str:
    """The KV cache type that this engine can be asked for: the others keep 16 bits."""
    return wish.kv_cache_type if engine == LLAMA_CPP else "f16"


def options(
    variants: Iterable[Variant],
    machine: Machine,
    wish: Wish | None = None,
    *,
    statuses: Mapping[str, EngineStatus] | None = None,
    knowledge: Mapping[str, Knowledge] | None = None,
    corrections: Mapping[tuple[str, str], Correction] | None = None,
) -> list[Option]:
    """One option for each variant and engine of ours that takes its format, ready or not."""
    wish = wish or Wish()
    statuses = statuses or {}
    knowledge = knowledge or {}
    corrections = corrections or {}
    found: list[Option] = []
    for variant in variants:
        known = knowledge.get(variant.key) if knowledge else None
        found.extend(
            judge(
                variant,
                engine,
                machine,
                wish,
                knowledge=known,
                status=statuses.get(engine),
                correction=corrections.get((engine, variant.spec.format)),
            )
            for engine in candidate_engines(variant.spec, variant.quantization)
        )
    return found


_VERDICT_RANK: Final[Mapping[str, int]] = {"gpu": 0, "split": 1, "cpu": 2, "no": 3}
_STATUS_RANK: Final[Mapping[str, int]] = {"ready": 0, "not-installed": 1, "unsupported": 2}


def best_option(options: Sequence[Option]) -> Option:
    """The option to offer first: the best verdict, of equal ones the engine that is ready, then the earliest.

    An engine that is ready and runs it anyhow stands before one that would have to be installed.
    """

    def rank(option: Option) -> tuple[int, int, int]:
        runs = option.verdict != "no"
        ready = option.engine_status == "ready"
        return (
            0 if runs and ready else 1 if runs else 2,
            _VERDICT_RANK[option.verdict],
            _STATUS_RANK[option.engine_status],
        )

    return min(options, key=rank)


def support(variant: Variant, engine: str, machine: Machine, status: EngineStatus | None) -> tuple[Status, str | None]:
    """Whether the engine takes the variant on this machine, and is installed: status, and the refusal if there is one."""
    why = _refusal(variant, engine, machine)
    if why is not None:
        return "unsupported", why
    if status is None:
        return "not-installed", None
    if status.status == "unsupported":
        # On another machine than this one, this one's platform says nothing.
        return ("unsupported", status.reason) if machine.label is None else ("not-installed", None)
    return status.status, None


@lru_cache(maxsize=65_536)
def _refusal_cached(
    engine: str, spec_id: int, quantization: str, os: str, arch: str, capability: str | None, has_cuda: bool
) -> str | None:
    spec = _specs[spec_id]
    return refusal(engine, spec, quantization, os=os, arch=arch, compute_capability=capability, has_cuda=has_cuda)


_specs: dict[int, Any] = {}


def _refusal(variant: Variant, engine: str, machine: Machine) -> str | None:
    capability, has_cuda = platform_of(machine)
    spec_id = id(variant.spec)
    if _specs.get(spec_id) is not variant.spec:
        if len(_specs) > 60_000:
            _specs.clear()
            _refusal_cached.cache_clear()
        _specs[spec_id] = variant.spec
    return _refusal_cached(engine, spec_id, variant.quantization, machine.os, machine.arch, capability, has_cuda)


def platform_of(machine: Machine) -> tuple[str | None, bool]:
    """The compute capability of the best CUDA card, and whether there is one."""
    best: tuple[int, int] | None = None
    has_cuda = False
    for accelerator in machine.accelerators:
        if accelerator.kind != "cuda":
            continue
        has_cuda = True
        parts = (accelerator.compute_capability or "").split(".")
        if len(parts) == 2 and all(part.isdigit() for part in parts):
            capability = (int(parts[0]), int(parts[1]))
            best = capability if best is None else max(best, capability)
    return (f"{best[0]}.{best[1]}" if best else None), has_cuda


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


def _better_or_same(verdict: Verdict, wanted: Verdict) -> bool:
    return _VERDICT_RANK[verdict] <= _VERDICT_RANK[wanted]


def cheapest_cure(
    variant: Variant,
    engine: str,
    machine: Machine,
    found: Places,
    wish: Wish,
    demand: Demand,
    knowledge: Knowledge | None,
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
    other = _other_way(variant, engine, machine, found, context, wish)
    if other is not None:
        return other
    return _smaller_size(variant, machine, found, context, wish)


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
            if _refusal(other, engine, machine) is None and place(theirs, found, context, cache_type).verdict != "no":
                total = theirs.estimate(
                    context, cache_type, CPU if not found.cards else found.cards[0].accelerator.kind
                )
                best = (theirs.weights_bytes, other, total.total_bytes)
    return (best[1], best[2]) if best else None


def _other_way(variant: Variant, engine: str, machine: Machine, found: Places, context: int, wish: Wish) -> str | None:
    best: tuple[int, str] | None = None
    for spec in variant.family.specs:
        if spec.size_in_billions != variant.spec.size_in_billions:
            continue
        for name in spec.quantizations:
            other = Variant(variant.family, spec, name)
            for candidate in candidate_engines(spec, name):
                if spec is variant.spec and candidate == engine:
                    continue
                if _refusal(other, candidate, machine) is not None:
                    continue
                theirs = demand_of(other, candidate)
                if best and theirs.weights_bytes <= best[0]:
                    continue
                if place(theirs, found, context, cache_type_of(candidate, wish)).verdict != "no":
                    best = (theirs.weights_bytes, f"{spec.format} {name} under {candidate} fits")
    return best[1] if best else None


def _smaller_size(variant: Variant, machine: Machine, found: Places, context: int, wish: Wish) -> str | None:
    sizes = [size for size in variant.family.sizes_in_billions if size < variant.spec.size_in_billions]
    for size in reversed(sizes):
        best: tuple[int, str] | None = None
        for spec in variant.family.specs:
            if spec.size_in_billions != size:
                continue
            for name in spec.quantizations:
                other = Variant(variant.family, spec, name)
                for candidate in candidate_engines(spec, name):
                    if _refusal(other, candidate, machine) is not None:
                        continue
                    theirs = demand_of(other, candidate)
                    if best and theirs.weights_bytes <= best[0]:
                        continue
                    if place(theirs, found, context, cache_type_of(candidate, wish)).verdict != "no":
                        best = (theirs.weights_bytes, f"the {size}B size fits ({spec.format} {name} under {candidate})")
        if best:
            return best[1]
    return None


def _missing(demand: Demand, found: Places, placed: Placement, context: int, cache_type: str) -> str:
    if not found.cards and not found.host_bytes:
        return "neither memory nor accelerators of this machine are known"
    if not demand.on_cpu and not found.cards:
        return f"{demand.engine} needs an accelerator for these weights, and this machine has none"
    devices = 1
    total = demand.estimate(context, cache_type, placed.kind, devices).total_bytes
    where = _largest_place(demand, found)
    return f"needs {amount(total)} and {where}: {amount(placed.short_bytes)} short"


def _largest_place(demand: Demand, found: Places) -> str:
    if not found.cards:
        return f"RAM has {amount(found.host_bytes)} to give"
    names = _names([card.accelerator.name for card in found.cards])
    if found.unified:
        return f"{names} has {amount(found.largest_bytes)} to give"
    have = "have" if len(found.cards) > 1 else "has"
    cards = f"{names} {have} {amount(found.cards_bytes)}"
    if demand.splits:
        return f"{cards} and RAM {amount(found.host_bytes)} to give"
    return f"{cards} to give"


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
    best = found.cards_bytes if demand.layer_split and not found.unified else found.largest_bytes
    short = round(whole * demand.correction) - best
    names = _names([card.accelerator.name for card in found.cards])
    if short <= 0:
        return None
    return f"{amount(short)} too large for the {names} alone"


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


def _join(*parts: str | None) -> str | None:
    said = [part for part in parts if part]
    return "; ".join(said) if said else None


def quick_verdicts(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish | None = None,
    statuses: Mapping[str, EngineStatus] | None = None,
) -> list[Verdict]:
    """The best option's verdict of every variant, without words: for colouring whole catalogs."""
    wish = wish or Wish()
    return [best_option(options([variant], machine, wish, statuses=statuses)).verdict for variant in variants]


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
        "verdict": option.verdict,
        "where": option.where,
        "context": option.context,
        "max_context": option.max_context,
        "gpu_layers": option.gpu_layers,
        "download_bytes": option.download_bytes,
        "about": option.about,
        "tokens_per_second": {"value": round(speed.value, 1), "basis": speed.basis} if speed else None,
        "memory": {
            "weights_bytes": memory.weights_bytes,
            "kv_cache_bytes": memory.kv_cache_bytes,
            "compute_bytes": memory.compute_bytes,
            "overhead_bytes": memory.overhead_bytes,
            "total_bytes": memory.total_bytes,
            "basis": memory.basis,
        },
    }
