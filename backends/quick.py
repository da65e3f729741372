"""Verdicts of whole catalogs at once, without words, fast enough to follow a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from backends.engines.engine import EngineStatus
from backends.fit import Correction, Verdict, Wish
from backends.machine.model import Machine
from backends.memory.demand import ANSWER_TOKENS, CPU, Demand
from backends.memory.estimators import demand_of
from backends.memory.kv_cache import DEFAULT_UBATCH, layer_bytes, padded
from backends.memory.placement import place
from backends.places import Places, driven, places
from backends.support import cache_type_of, context_of, platform_of, support
from specs.engines import candidate_engines
from specs.model import ENGINES, ModelSpec, Variant

_RANK: Final[Mapping[Verdict, int]] = {"gpu": 0, "split": 1, "cpu": 2, "no": 3}
_LIMIT: Final = 60_000


class _Sums:
    """A demand with one cache type and one kind of device, folded into the few numbers that a verdict needs."""

    __slots__ = (
        "beside", "blocks", "card_overhead", "compute", "cpu_overhead", "demand", "fixed_card", "fixed_host",
        "full", "largest", "last", "layered", "on_cpu", "outside", "padded", "per_token", "per_token_host",
        "plain", "prompt", "share", "splits", "state", "step", "unified_only", "window", "window_cells", "window_row",
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
        self.unified_only = demand.gpu_where_unified
        self.share = demand.parallel_heads is not None
        self.plain = len(kv.groups) == 1 and (demand.padded or not demand.splits)
        self.layered = demand.layer_split
        self.blocks = max(len(demand.block_bytes), 1)
        self.largest = max(demand.block_bytes, default=0)
        self.card_overhead = demand.overhead_of(kind)


class _Room:
    """What a machine has to give, folded likewise."""

    __slots__ = ("best", "best_share", "budgets", "cards", "host", "mixed", "parallel", "total", "unified")

    def __init__(self, found: Places) -> None:
        cards = found.cards
        self.cards = len(cards)
        self.host = found.host_bytes
        self.unified = found.unified
        self.budgets = tuple(card.budget_bytes for card in cards)
        self.total = sum(self.budgets)
        self.best = max(self.budgets, default=0)
        best = max(cards, key=lambda card: card.budget_bytes, default=None)
        total = best.accelerator.total_bytes if best else None
        self.best_share = self.best if total is None else min(self.best, int(total * 0.9))
        shares = sorted(
            (
                min(card.budget_bytes, int((card.accelerator.total_bytes or card.budget_bytes * 2) * 0.9))
                for card in cards
            ),
            reverse=True,
        )
        counts = [1 << power for power in range(1, 10) if 1 << power <= len(cards)]
        self.parallel = tuple((count, shares[count - 1]) for count in counts)
        kinds = {card.accelerator.kind for card in cards}
        sliced = any(card.accelerator.parent_uuid for card in cards)
        # Several kinds, slices, or cards of which only some share the host's memory: rare, and judged the long way.
        self.mixed = (
            len(kinds) > 1
            or (sliced and len(cards) > 1)
            or (any(card.accelerator.unified for card in cards) and (not found.unified or len(cards) > 1))
        )


class _Entry:
    """One engine for one variant on one platform."""

    __slots__ = ("engine", "ready", "sums")

    def __init__(self, engine: str, ready: bool, sums: _Sums) -> None:
        self.engine = engine
        self.ready = ready
        self.sums = sums


_entries: dict[tuple[object, ...], dict[tuple[int, str], tuple[ModelSpec, tuple[_Entry, ...]]]] = {}


class _Ground:
    """A machine as one engine can use it."""

    __slots__ = ("found", "kind", "room")

    def __init__(self, machine: Machine) -> None:
        self.found = places(machine)
        self.room = _Room(self.found)
        self.kind = self.found.cards[0].accelerator.kind if self.found.cards else CPU


def _entries_for(
    machine: Machine,
    grounds: Mapping[str, _Ground],
    wish: Wish,
    statuses: Mapping[str, EngineStatus],
    corrections: Mapping[tuple[str, str], Correction],
) -> dict[tuple[int, str], tuple[ModelSpec, tuple[_Entry, ...]]]:
    known = tuple(sorted((name, status.status) for name, status in statuses.items()))
    kinds = tuple(ground.kind for ground in grounds.values())
    platform = (
        machine.os,
        machine.arch,
        *platform_of(machine),
        machine.label is None,
        kinds,
        wish.kv_cache_type,
        known,
        tuple(sorted((key, one.loads) for key, one in corrections.items())),
    )
    found = _entries.get(platform)
    if found is None:
        if len(_entries) > 8:
            _entries.clear()
        found = _entries[platform] = {}
    return found


def _make(
    variant: Variant,
    machine: Machine,
    grounds: Mapping[str, _Ground],
    wish: Wish,
    statuses: Mapping[str, EngineStatus],
    corrections: Mapping[tuple[str, str], Correction],
) -> tuple[_Entry, ...]:
    entries = []
    for engine in candidate_engines(variant.spec, variant.quantization):
        state, refused = support(variant, engine, machine, statuses.get(engine))
        if refused is None:
            demand = demand_of(variant, engine)
            correction = corrections.get((engine, variant.spec.format))
            if correction is not None:
                demand = demand.corrected(correction.extra_bytes(demand.weights_bytes), len(correction.loads))
            sums = _Sums(demand, cache_type_of(engine, wish), grounds[engine].kind)
            entries.append(_Entry(engine, state == "ready", sums))
    # The ready ones first, as best_option takes them; the order is kept among equals.
    return tuple(sorted(entries, key=lambda entry: not entry.ready))


def forget() -> None:
    """Judge the next catalog as the first one."""
    _entries.clear()


def quick_verdicts(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish | None = None,
    statuses: Mapping[str, EngineStatus] | None = None,
    corrections: Mapping[tuple[str, str], Correction] | None = None,
) -> list[Verdict]:
    """The verdict of every variant's best option, as judge() and best_option() would give it.

    What depends on neither context nor free memory is kept from call to call, so that only the first call over a
    catalog reads its architectures.
    """
    wish = wish or Wish()
    statuses = statuses or {}
    corrections = corrections or {}
    plain = _Ground(machine)
    grounds: dict[str, _Ground] = {}
    for engine in ENGINES:
        usable = driven(machine, None, engine)
        grounds[engine] = plain if usable is machine else _Ground(usable)
    kept = _entries_for(machine, grounds, wish, statuses, corrections)
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
            entry = kept[key] = (spec, _make(variant, machine, grounds, wish, statuses, corrections))
        context = max(1, asked) if asked is not None else context_of(variant.family, wish)
        best: Verdict = "no"
        settled = False
        for one in entry[1]:
            if settled and not one.ready:
                # A ready engine that runs it stands before one that would have to be installed.
                break
            ground = grounds[one.engine]
            verdict = _verdict(one.sums, ground.found, ground.room, context, wish)
            if verdict == "gpu":
                best = verdict
                break
            if _RANK[verdict] < _RANK[best]:
                best = verdict
                settled = one.ready
        append(best)
    return verdicts


def _verdict(sums: _Sums, found: Places, room: _Room, context: int, wish: Wish) -> Verdict:
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
    host = room.host
    if not room.cards:
        return "cpu" if sums.on_cpu and host and sums.fixed_host + kv + compute <= host else "no"
    if room.mixed:
        return _slow(sums, found, context, wish)
    beside = sums.beside + int(sums.per_token_host * context)
    need = sums.fixed_card + kv + compute
    if need <= (room.best_share if sums.share else room.best):
        if room.unified:
            if not host or need + beside <= host:
                return "gpu"
        elif not host or beside <= host:
            return "gpu"
    card_fixed = compute + sums.card_overhead
    cache = kv // sums.blocks
    if room.cards > 1:
        if sums.share:
            heads, heads_kv = sums.demand.parallel_heads or (1, 1)
            weights, fixed = sums.demand.weights_bytes, card_fixed
            for count, least in room.parallel:
                divides = heads % count == 0 and (heads_kv % count == 0 or count % heads_kv == 0)
                if divides and weights // count + kv // min(count, heads_kv) + fixed <= least:
                    return "gpu"
        elif sums.layered and need + card_fixed <= room.total:
            piece = max(sums.outside, sums.largest + cache)
            whole = need - card_fixed
            certain = whole <= sum(max(0, budget - card_fixed - piece) for budget in room.budgets)
            if sums.plain and certain and (not host or beside <= host):
                return "gpu"
            return _slow(sums, found, context, wish)
    if sums.splits:
        if sums.fixed_host - sums.cpu_overhead + kv > (host if room.unified else host + room.total):
            return "no"
        if not sums.plain:
            return _slow(sums, found, context, wish)
        if sums.outside + sums.last + cache <= room.best - card_fixed:
            # The output and one block go on a card: split, if the rest is sure to find room.
            if not room.unified and sums.fixed_host + kv + compute + beside <= host:
                return "split"
            return _slow(sums, found, context, wish)
        if room.cards > 1 and sums.outside <= room.best - card_fixed:
            # The block after the output may lie on the next card.
            return _slow(sums, found, context, wish)
    on_cpu = sums.on_cpu and not (room.unified and sums.unified_only)
    return "cpu" if on_cpu and host and sums.fixed_host + kv + compute <= host else "no"


def _slow(sums: _Sums, found: Places, context: int, wish: Wish) -> Verdict:
    return place(sums.demand, found, context, cache_type_of(sums.demand.engine, wish)).verdict
