"""Verdicts of whole catalogs at once, without words, fast enough to follow a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from backends.engines.engine import EngineStatus
from backends.fit import Verdict, Wish
from backends.machine.model import Machine
from backends.memory.demand import ANSWER_TOKENS, CPU, Demand
from backends.memory.estimators import demand_of
from backends.memory.kv_cache import DEFAULT_UBATCH, layer_bytes, padded
from backends.memory.placement import place
from backends.places import Places, places
from backends.support import cache_type_of, context_of, platform_of, support
from specs.engines import candidate_engines
from specs.model import ModelSpec, Variant

_RANK: Final[Mapping[Verdict, int]] = {"gpu": 0, "split": 1, "cpu": 2, "no": 3}
_LIMIT: Final = 60_000


class _Sums:
    """A demand with one cache type and one kind of device, folded into the few numbers that a verdict needs."""

    __slots__ = (
        "beside",
        "compute",
        "cpu_overhead",
        "demand",
        "fixed_card",
        "fixed_host",
        "full",
        "last",
        "on_cpu",
        "outside",
        "padded",
        "per_token",
        "per_token_host",
        "plain",
        "prompt",
        "share",
        "splits",
        "state",
        "step",
        "window",
        "window_cells",
        "window_row",
    )  # fmt: skip

    def __init__(self, demand: Demand, cache_type: str, kind: str) -> None:
        self.demand = demand
        kv = demand.kv
        self.full = self.window_row = 0.0
        self.state = 0
        for count, layer in kv.groups:
            if layer.kind == "none":
                continue
            self.state += count * layer.state_elements * 4
            if layer.kind == "recurrent":
                continue
            if demand.padded:
                row: float = layer_bytes(layer, 1, 1, cache_type) - layer.state_elements * 4
            else:
                row = (layer.key_elements + layer.value_elements) * demand.kv_element_bytes
            if layer.kind == "window" and kv.window:
                self.window_row += count * row
            else:
                self.full += count * row
        self.padded = demand.padded
        self.window = kv.window
        self.window_cells = padded(kv.window + DEFAULT_UBATCH) if demand.padded else kv.window
        self.compute = demand.compute_fixed
        self.per_token = demand.compute_per_token
        self.prompt = demand.prompt_bytes
        self.step = demand.step
        self.fixed_card = demand.weights_bytes - demand.host_bytes + demand.overhead_of(kind)
        self.fixed_host = demand.weights_bytes + demand.overhead_of(CPU)
        self.cpu_overhead = demand.overhead_of(CPU)
        self.beside = demand.host_bytes + demand.host_compute_fixed
        self.per_token_host = demand.host_compute_per_token
        self.outside = demand.outside_bytes
        self.last = demand.block_bytes[-1] if demand.block_bytes else 0
        self.splits = demand.splits
        self.on_cpu = demand.on_cpu
        self.share = demand.parallel_heads is not None
        self.plain = len(kv.groups) == 1


class _Entry:
    """One engine for one variant on one platform."""

    __slots__ = ("ready", "sums")

    def __init__(self, ready: bool, sums: _Sums) -> None:
        self.ready = ready
        self.sums = sums


_entries: dict[tuple[object, ...], dict[tuple[int, str], tuple[ModelSpec, tuple[_Entry, ...]]]] = {}


def _entries_for(
    machine: Machine, kind: str, wish: Wish, statuses: Mapping[str, EngineStatus]
) -> dict[tuple[int, str], tuple[ModelSpec, tuple[_Entry, ...]]]:
    known = tuple(sorted((name, status.status) for name, status in statuses.items()))
    platform = (machine.os, machine.arch, *platform_of(machine), machine.label is None, kind, wish.kv_cache_type, known)
    found = _entries.get(platform)
    if found is None:
        if len(_entries) > 8:
            _entries.clear()
        found = _entries[platform] = {}
    return found


def _make(
    variant: Variant, machine: Machine, kind: str, wish: Wish, statuses: Mapping[str, EngineStatus]
) -> tuple[_Entry, ...]:
    entries = []
    for engine in candidate_engines(variant.spec, variant.quantization):
        state, refused = support(variant, engine, machine, statuses.get(engine))
        if refused is None:
            sums = _Sums(demand_of(variant, engine), cache_type_of(engine, wish), kind)
            entries.append(_Entry(state == "ready", sums))
    # The ready ones first, as best_option takes them; the order is kept among equals.
    return tuple(sorted(entries, key=lambda entry: not entry.ready))


def quick_verdicts(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish | None = None,
    statuses: Mapping[str, EngineStatus] | None = None,
) -> list[Verdict]:
    """The verdict of every variant's best option, as judge() and best_option() would give it.

    What depends on neither context nor free memory is kept from call to call, so that only the first call over a
    catalog reads its architectures.
    """
    wish = wish or Wish()
    statuses = statuses or {}
    found = places(machine)
    kind = found.cards[0].accelerator.kind if found.cards else CPU
    kept = _entries_for(machine, kind, wish, statuses)
    verdicts: list[Verdict] = []
    append = verdicts.append
    asked = wish.context
    for variant in variants:
        spec = variant.spec
        key = (id(spec), variant.quantization)
        entry = kept.get(key)
        if entry is None:
            if len(kept) > _LIMIT:
                kept.clear()
            entry = kept[key] = (spec, _make(variant, machine, kind, wish, statuses))
        context = max(1, asked) if asked is not None else context_of(variant.family, wish)
        best: Verdict = "no"
        for one in entry[1]:
            if best != "no" and not one.ready:
                # A ready engine that runs it stands before one that would have to be installed.
                break
            verdict = _verdict(one.sums, found, context, wish)
            if verdict == "gpu":
                best = verdict
                break
            if _RANK[verdict] < _RANK[best]:
                best = verdict
        append(best)
    return verdicts


def _verdict(sums: _Sums, found: Places, context: int, wish: Wish) -> Verdict:
    if sums.padded:
        cells = -(-context // 256) * 256
        windowed = cells if not sums.window or sums.window_cells > cells else sums.window_cells
        kv = int(cells * sums.full + windowed * sums.window_row) + sums.state
        compute = sums.compute + int(sums.per_token * context)
    else:
        seen = context if not sums.window or sums.window > context else sums.window
        kv = int(context * sums.full + seen * sums.window_row + sums.state)
        compute = sums.compute + int(sums.per_token * context)
        if sums.prompt:
            prompt = max(context - ANSWER_TOKENS, context // 4)
            if sums.step:
                compute += int(sums.prompt * min(prompt, sums.step))
            else:
                before = prompt if not sums.window or sums.window > prompt else sums.window
                later = kv - int(prompt * sums.full + before * sums.window_row + sums.state)
                compute += max(0, int(sums.prompt * prompt) - later)
    host = found.host_bytes
    cards = found.cards
    if cards:
        if len(cards) > 1 or found.unified or cards[0].accelerator.unified:
            return _slow(sums, found, context, wish)
        card = cards[0]
        budget = card.budget_bytes
        if sums.share and card.accelerator.total_bytes is not None:
            budget = min(budget, int(card.accelerator.total_bytes * 0.9))
        beside = sums.beside + int(sums.per_token_host * context)
        if sums.fixed_card + kv + compute <= budget:
            return "gpu" if not host or beside <= host else _slow(sums, found, context, wish)
        if sums.splits:
            if sums.fixed_host + kv + compute + beside <= host and sums.plain:
                # RAM could hold all of it: split as soon as the output and one block fit on the card.
                room = (
                    card.budget_bytes - compute - (sums.fixed_card - sums.demand.weights_bytes + sums.demand.host_bytes)
                )
                cache = kv // max(len(sums.demand.block_bytes), 1)
                if sums.outside + sums.last + cache <= room:
                    return "split"
                return "cpu"
            if sums.fixed_host + kv > host + card.budget_bytes + sums.cpu_overhead:
                return "no"
            return _slow(sums, found, context, wish)
    if sums.on_cpu and host and sums.fixed_host + kv + compute <= host:
        return "cpu"
    return "no"


def _slow(sums: _Sums, found: Places, context: int, wish: Wish) -> Verdict:
    return place(sums.demand, found, context, cache_type_of(sums.demand.engine, wish)).verdict
