"""Verdicts of whole catalogs at once, without words, fast enough to follow a key."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final

from backends.collector import let_go, uncollected
from backends.engines.engine import EngineStatus
from backends.fit import Correction, Verdict, Wish
from backends.machine.model import Machine
from backends.memory.demand import CPU, Demand
from backends.memory.estimators import catalog_shape, demand_of_shape, has_imatrix, portion_of_shape
from backends.memory.placement import place
from backends.memory.shape import Shape
from backends.places import Places, driven, places
from backends.quick_sums import Frame, Rows, Sums, rows_of
from backends.support import cache_type_of, context_of, platform_of, spec_refusal
from specs import extensions
from specs.engines import candidate_engines
from specs.model import ENGINES, LLAMA_CPP, ModelSpec, Variant

_RANK: Final[Mapping[Verdict, int]] = {"gpu": 0, "split": 1, "cpu": 2, "no": 3}
_LIMIT: Final = 60_000
_OURS: Final = frozenset(ENGINES)
_NONE: Final[frozenset[str]] = frozenset()
_PLATFORMS: Final = 4
"""Machines, cache types and builds whose entries are kept, some 4 MB each: those that were judged for last."""


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
    """One engine for the variants of one content; its sums are made when a verdict first asks for them."""

    __slots__ = ("engine", "ready", "sums")

    def __init__(self, engine: str, ready: bool) -> None:
        self.engine = engine
        self.ready = ready
        self.sums: Sums | None = None
        """None: not made yet."""


class _Content:
    """All variants that differ only in their names, with the engines that take them on this platform."""

    __slots__ = ("engines", "imatrix", "model_format", "quantization", "shape", "spec")

    def __init__(
        self, spec: ModelSpec, quantization: str, shape: Shape, imatrix: bool, engines: tuple[_Entry, ...]
    ) -> None:
        self.spec = spec if spec.engines else None
        """Kept so that its id stays its own, where it has a word of its own on engines."""
        self.model_format = spec.format
        self.quantization = quantization
        self.shape = shape
        self.imatrix = imatrix
        self.engines = engines


class _Spec:
    """A spec that was met, with the contents of its variants by quantization."""

    __slots__ = ("contents", "imatrix", "parted", "shape", "spec")

    def __init__(
        self,
        spec: ModelSpec,
        shape: Shape,
        parted: frozenset[str],
        imatrix: bool | None,
        contents: dict[str, _Content],
    ) -> None:
        self.spec = spec
        """Kept so that its id stays its own."""
        self.shape = shape
        self.parted = parted
        """Quantizations in parts, in lower case."""
        self.imatrix = imatrix
        """Whether its files were made with an importance matrix; None: to be asked of each variant."""
        self.contents = contents
        """Shared by the specs of one model, such as its fine-tunes', that nothing else sets apart."""


class _Ground:
    """A machine as one engine can use it."""

    __slots__ = ("found", "kind", "room")

    def __init__(self, machine: Machine) -> None:
        self.found = places(machine)
        self.room = _Room(self.found)
        self.kind = self.found.cards[0].accelerator.kind if self.found.cards else CPU


class _Stand:
    """One machine with the memory that it has now, and the verdicts found for it."""

    __slots__ = ("_verdicts", "grounds", "machine")

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        plain = _Ground(machine)
        self.grounds: dict[str, _Ground] = {}
        for engine in extensions.engines():
            usable = driven(machine, None, engine)
            self.grounds[engine] = plain if usable is machine else _Ground(usable)
        self._verdicts: dict[int, tuple[_Platform, dict[int, dict[_Content, Verdict]]]] = {}

    def let_go(self) -> None:
        """Free what was found on it piece by piece."""
        for _, by_context in tuple(self._verdicts.values()):
            for verdicts in tuple(by_context.values()):
                let_go(verdicts)
        let_go(self._verdicts)

    def judged(self, platform: _Platform) -> dict[int, dict[_Content, Verdict]]:
        """The verdicts of one platform, by context and content."""
        found = self._verdicts.get(id(platform))
        if found is None:
            if len(self._verdicts) > _PLATFORMS:
                self.let_go()
            found = self._verdicts[id(platform)] = (platform, {})
        return found[1]


class _Platform:
    """What is kept of a catalog for one kind of machine, one cache type and one set of engines and corrections."""

    __slots__ = (
        "_engines", "_frames", "_machine", "_rows", "_shared", "contents", "corrections", "specs", "statuses", "wish",
    )  # fmt: skip

    def __init__(
        self,
        machine: Machine,
        wish: Wish,
        statuses: Mapping[str, EngineStatus],
        corrections: Mapping[tuple[str, str], Correction],
    ) -> None:
        self._machine = machine
        """Any of the machines that the same engines refuse the same on."""
        self.wish = wish
        self.statuses = statuses
        self.corrections = corrections
        self.specs: dict[int, _Spec] = {}
        """By the spec's id."""
        self.contents: dict[tuple[object, ...], _Content] = {}
        self._shared: dict[tuple[int, str, bool], tuple[Shape, dict[str, _Content]]] = {}
        """Here and below the shape is kept beside what is found by its id, so that its id stays its own."""
        self._engines: dict[tuple[str, str, bool], tuple[tuple[str, bool], ...]] = {}
        self._frames: dict[tuple[int, str, str], tuple[Shape, Frame]] = {}
        self._rows: dict[tuple[int, bool, bool, str, float], tuple[Shape, Rows]] = {}

    def let_go(self) -> None:
        """Free what is kept piece by piece; a thread that judges by it meanwhile makes anew what it misses."""
        for table in (self.specs, self.contents, self._shared, self._frames, self._rows):
            let_go(table)

    def spec(self, variant: Variant) -> _Spec:
        """The spec of a variant, met for the first time."""
        spec = variant.spec
        shape = catalog_shape(variant.family, spec)
        parted = _NONE
        if any(hub.parts for hub in spec.hubs):
            parted = frozenset(name.lower() for hub in spec.hubs for name, files in hub.parts.items() if len(files) > 1)
        imatrix: bool | None = False
        if spec.format == "ggufv2":
            imatrix = has_imatrix(variant) if _is_in_one_place(spec) else None
        contents: dict[str, _Content] = {}
        if imatrix is not None and not parted and not spec.engines:
            _, contents = self._shared.setdefault((id(shape), spec.format, imatrix), (shape, contents))
        found = self.specs[id(spec)] = _Spec(spec, shape, parted, imatrix, contents)
        return found

    def learn(self, variant: Variant, met: _Spec) -> _Content:
        """The content of a variant that is met for the first time."""
        spec, quantization, shape = met.spec, variant.quantization, met.shape
        imatrix = has_imatrix(variant) if met.imatrix is None else met.imatrix
        # What a file says of engines is its own; all else follows from the shape, the names and being in parts.
        parted = bool(met.parted) and quantization.lower() in met.parted
        key = (id(shape), spec.format, quantization, imatrix, parted, id(spec) if spec.engines else None)
        known = self.contents.get(key)
        if known is None:
            engines = tuple([_Entry(engine, ready) for engine, ready in self._taking(spec, quantization, parted)])
            known = self.contents[key] = _Content(spec, quantization, shape, imatrix, engines)
        met.contents[quantization] = known
        return known

    def _taking(self, spec: ModelSpec, quantization: str, parted: bool) -> tuple[tuple[str, bool], ...]:
        """The engines that take a spec's quantization here, and whether each is ready; the ready ones first."""
        key = (spec.format, quantization, parted)
        found = None if spec.engines else self._engines.get(key)
        if found is None:
            candidates = candidate_engines(spec, quantization)
            taking = [
                (engine, self._is_ready(engine, spec.format, quantization))
                for engine in candidates
                if not self._refuses(spec, quantization, engine)
            ]
            # As best_option takes them; the order is kept among equals.
            found = tuple(sorted(taking, key=_not_ready))
            if not spec.engines:
                self._engines[key] = found
        return found

    def _is_ready(self, engine: str, model_format: str, quantization: str) -> bool:
        status = self.statuses.get(engine)
        return status is not None and status.of(model_format, quantization).status == "ready"

    def _refuses(self, spec: ModelSpec, quantization: str, engine: str) -> bool:
        status = self.statuses.get(engine)
        if status is not None and status.status == "unsupported" and self._machine.label is None:
            return True
        return spec_refusal(spec, quantization, engine, self._machine) is not None

    def sums(self, content: _Content, engine: str, kind: str) -> Sums:
        """The demand of a content under an engine, on a machine whose first card is of this kind."""
        model_format, shape = content.model_format, content.shape
        # An engine of ours needs the same beside the weights whatever their format.
        key = (id(shape), engine, "" if engine in _OURS else model_format)
        found = self._frames.get(key)
        if found is None:
            found = self._frames[key] = (shape, self._frame(content, engine, kind))
        imatrix = content.imatrix and engine == LLAMA_CPP
        portion = portion_of_shape(shape, model_format, content.quantization, engine, imatrix=imatrix)
        return Sums(found[1], portion, self.corrections.get((engine, model_format)) if self.corrections else None)

    def _frame(self, content: _Content, engine: str, kind: str) -> Frame:
        demand = self._demand(content, engine)
        cache_type = cache_type_of(engine, self.wish)
        key = (id(content.shape), demand.kv is content.shape.kv, demand.padded, cache_type, demand.kv_element_bytes)
        found = self._rows.get(key)
        if found is None:
            rows = rows_of(demand.kv, cache_type, padded_cells=demand.padded, element_bytes=demand.kv_element_bytes)
            found = self._rows[key] = (content.shape, rows)
        return Frame(demand, found[1], kind)

    def _demand(self, content: _Content, engine: str) -> Demand:
        imatrix = content.imatrix and engine == LLAMA_CPP
        return demand_of_shape(content.shape, content.model_format, content.quantization, engine, imatrix=imatrix)

    def demand(self, content: _Content, engine: str) -> Demand:
        """The whole demand of a content, for a verdict that follows from no sums."""
        demand = self._demand(content, engine)
        correction = self.corrections.get((engine, content.model_format))
        if correction is not None:
            demand = demand.corrected(correction.extra_bytes(demand.weights_bytes), len(correction.loads))
        return demand


def _is_in_one_place(spec: ModelSpec) -> bool:
    """Whether all quantizations of a spec are published under one ID, that of the hub that is asked first."""
    first = spec.hubs[0] if spec.hubs else None
    return first is not None and "{" not in first.id and (first.quantizations is None or len(spec.hubs) == 1)


def _not_ready(taking: tuple[str, bool]) -> bool:
    return not taking[1]


_platforms: dict[tuple[object, ...], _Platform] = {}
_stands: dict[int, _Stand] = {}
"""The machines that were judged last, by id: this one as it was seen last, and one to compare with."""


def _stand_on(machine: Machine) -> _Stand:
    found = _stands.get(id(machine))
    if found is None or found.machine is not machine:
        if len(_stands) > 1:
            _let_go(_stands)
        found = _stands[id(machine)] = _Stand(machine)
    return found


def _platform_for(
    stand: _Stand,
    wish: Wish,
    statuses: Mapping[str, EngineStatus],
    corrections: Mapping[tuple[str, str], Correction],
) -> _Platform:
    """What is kept for machines like this one."""
    machine = stand.machine
    key = (
        machine.os,
        machine.arch,
        *platform_of(machine),
        machine.label is None,
        tuple(ground.kind for ground in stand.grounds.values()),
        wish.kv_cache_type,
        tuple(
            sorted(
                (name, status.status, tuple(one.reason for one in status.lacking)) for name, status in statuses.items()
            )
        ),
        tuple(sorted((name, one.loads) for name, one in corrections.items())),
    )
    found = _platforms.get(key)
    if found is None or len(found.contents) > _LIMIT or len(found.specs) > _LIMIT:
        found = _Platform(machine, wish, statuses, corrections)
    # The one that is used stands last; a load that was measured here leaves the one before it for good.
    _platforms.pop(key, None)
    _platforms[key] = found
    while len(_platforms) > _PLATFORMS:
        oldest = _platforms.pop(next(iter(tuple(_platforms))), None)
        if oldest is not None:
            oldest.let_go()
    return found


def _let_go(kept: MutableMapping[Any, Any]) -> None:
    for one in tuple(kept.values()):
        one.let_go()
    let_go(kept)


def forget() -> None:
    """Judge the next catalog as the first one."""
    _let_go(_stands)
    _let_go(_platforms)


def quick_verdicts(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish | None = None,
    statuses: Mapping[str, EngineStatus] | None = None,
    corrections: Mapping[tuple[str, str], Correction] | None = None,
) -> list[Verdict]:
    """The verdict of every variant's best option, as judge() and best_option() would give it.

    What depends on neither context nor free memory is kept from call to call, and shared by all variants that differ
    only in their names, so that only the first call over a catalog reads its architectures. Threads may call it
    together: what they write is the same whoever comes first.
    """
    with uncollected():
        return _verdicts(variants, machine, wish or Wish(), statuses or {}, corrections or {})


def _verdicts(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish,
    statuses: Mapping[str, EngineStatus],
    corrections: Mapping[tuple[str, str], Correction],
) -> list[Verdict]:
    stand = _stand_on(machine)
    platform = _platform_for(stand, wish, statuses, corrections)
    judged = stand.judged(platform)
    specs = platform.specs
    verdicts: list[Verdict] = []
    append = verdicts.append
    last: ModelSpec | None = None
    table: dict[str, _Content] = {}
    context = 0
    known: dict[_Content, Verdict] = {}
    for variant in variants:
        spec = variant.spec
        if spec is not last:
            # Variants of one spec follow one another.
            last = spec
            met = specs.get(id(spec)) or platform.spec(variant)
            table = met.contents
            asked = context_of(variant.family, wish)
            if asked != context:
                context = asked
                known = judged.setdefault(context, {})
        content = table.get(variant.quantization)
        if content is None:
            content = platform.learn(variant, met)
        verdict = known.get(content)
        if verdict is None:
            verdict = known[content] = _best(content, platform, stand, context, wish)
        append(verdict)
    return verdicts


def _best(content: _Content, platform: _Platform, stand: _Stand, context: int, wish: Wish) -> Verdict:
    best: Verdict = "no"
    settled = False
    for one in content.engines:
        if settled and not one.ready:
            # A ready engine that runs it stands before one that would have to be installed.
            break
        sums = one.sums
        ground = stand.grounds[one.engine]
        if sums is None:
            sums = one.sums = platform.sums(content, one.engine, ground.kind)
        verdict = _verdict(sums, ground.room, context)
        if verdict is None:
            if sums.demand is None:
                sums.demand = platform.demand(content, one.engine)
            verdict = place(sums.demand, ground.found, context, cache_type_of(one.engine, wish)).verdict
        if verdict == "gpu":
            return verdict
        if _RANK[verdict] < _RANK[best]:
            best = verdict
            settled = one.ready
    return best


def _verdict(sums: Sums, room: _Room, context: int) -> Verdict | None:
    """The verdict where it follows from the sums; None: the load has to be placed."""
    frame = sums.frame
    _, kv, compute, growing = frame.at(context)
    host = room.host
    if not room.cards:
        return "cpu" if sums.on_cpu and host and sums.fixed_host + kv + compute <= host else "no"
    if room.mixed:
        return None
    beside = sums.beside + growing
    need = sums.fixed_card + kv + compute
    if need <= (room.best_share if frame.share else room.best):
        if room.unified:
            if not host or need + beside <= host:
                return "gpu"
        elif not host or beside <= host:
            return "gpu"
    card_fixed = compute + sums.card_overhead
    cache = kv // sums.blocks
    if room.cards > 1:
        if frame.share:
            heads, heads_kv = frame.heads
            weights = sums.weights
            for count, least in room.parallel:
                divides = heads % count == 0 and (heads_kv % count == 0 or count % heads_kv == 0)
                if divides and weights // count + kv // min(count, heads_kv) + card_fixed <= least:
                    return "gpu"
        elif frame.layered and need + card_fixed <= room.total:
            piece = max(sums.outside, sums.largest + cache)
            whole = need - card_fixed
            certain = whole <= sum(max(0, budget - card_fixed - piece) for budget in room.budgets)
            return "gpu" if frame.plain and certain and (not host or beside <= host) else None
    if frame.splits:
        if sums.fixed_host - sums.cpu_overhead + kv > (host if room.unified else host + room.total):
            return "no"
        if not frame.plain:
            return None
        if sums.outside + sums.last + cache <= room.best - card_fixed:
            # The output and one block go on a card: split, if the rest is sure to find room.
            return "split" if not room.unified and sums.fixed_host + kv + compute + beside <= host else None
        if room.cards > 1 and sums.outside <= room.best - card_fixed:
            # The block after the output may lie on the next card.
            return None
    on_cpu = sums.on_cpu and not (room.unified and frame.unified_only)
    return "cpu" if on_cpu and host and sums.fixed_host + kv + compute <= host else "no"
