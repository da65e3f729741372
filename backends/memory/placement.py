"""Where a demand goes on a machine: on cards, split, in RAM, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.fit import Verdict
from backends.memory.demand import CPU, Demand
from backends.places import Place, Places

Shortage = tuple[int, int, str, int]
"""Bytes that are missing at a place, what it has to give, which place it is, and how many devices it has."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One way to lay a load on a machine."""

    verdict: Verdict
    kind: str
    """Kind of the devices that it lies on; "cpu" when on none."""
    cards: tuple[Place, ...]
    gpu_layers: int | None
    """Layers on the cards, the output layer counted; None: not llama.cpp, or no cards."""
    card_layers: tuple[int, ...]
    """Layers on each of the cards."""
    short_bytes: int
    """For "no": what is missing at the place that comes nearest; else 0."""
    budget_bytes: int
    """What the place has to give; for "no" the place that comes nearest."""
    device_bytes: int
    """What the cards take of it."""
    nearest: str = ""
    """For "no" the place that comes nearest: "card", "cards", "ram" or "all" of them together."""
    devices: int = 1
    """Devices that the load lies on, or for "no" would lie on: each has a process's share and a compute buffer."""


def device_need(demand: Demand, context: int, cache_type: str, kind: str) -> int:
    """Bytes on one card that holds every layer."""
    total = demand.weights_bytes - demand.host_bytes + demand.kv_bytes(context, cache_type)
    total += demand.device_compute(context) + demand.overhead_of(kind)
    return total


def host_need(demand: Demand, context: int) -> int:
    """Bytes in RAM beside cards that hold every layer."""
    return demand.host_bytes + demand.host_compute(context)


def place(demand: Demand, places: Places, context: int, cache_type: str) -> Placement:
    """The best way to lay the load: one card, several, split with RAM, RAM alone, or none."""
    shortage: list[Shortage] = []
    whole = _on_one_card(demand, places, context, cache_type, shortage)
    whole = whole or _on_cards(demand, places, context, cache_type, shortage)
    if whole:
        return whole
    if demand.splits and places.cards:
        split = _split(demand, places, context, cache_type, shortage)
        if split:
            return split
    need = demand.estimate(context, cache_type, CPU).total_bytes
    if demand.on_cpu and places.host_bytes and not (places.unified and demand.gpu_where_unified):
        if need <= places.host_bytes:
            return Placement("cpu", CPU, (), 0 if demand.splits else None, (), 0, places.host_bytes, 0)
        shortage.append((need - places.host_bytes, places.host_bytes, "ram", 1))
    short, budget, nearest, devices = min(shortage, default=(need, 0, "ram", 1))
    # What the place that comes nearest would have to hold, which is what the sentence names.
    kind = places.cards[0].accelerator.kind if places.cards and nearest != "ram" else CPU
    return Placement("no", kind, (), None, (), max(short, 1), budget, 0, nearest, devices)


def _total_layers(demand: Demand) -> int:
    return len(demand.block_bytes) + 1


def _fits_host(demand: Demand, places: Places, context: int, need: int) -> bool:
    beside = host_need(demand, context)
    if places.unified:
        return need + beside <= places.host_bytes if places.host_bytes else True
    # The input embedding is mapped from the file, so it takes RAM only as far as there is some.
    return beside <= places.host_bytes or not places.host_bytes


def _on_one_card(
    demand: Demand, places: Places, context: int, cache_type: str, shortage: list[Shortage]
) -> Placement | None:
    if not places.cards:
        return None
    best = max(places.cards, key=lambda card: card.budget_bytes)
    kind = best.accelerator.kind
    need = device_need(demand, context, cache_type, kind)
    budget = _share(demand, best)
    if need <= budget and _fits_host(demand, places, context, need):
        layers = _total_layers(demand)
        return Placement("gpu", kind, (best,), layers if demand.splits else None, (layers,), 0, budget, need)
    short = need - budget
    if places.unified and places.host_bytes:
        short = max(short, need + host_need(demand, context) - places.host_bytes)
    shortage.append((short, budget, "card", 1))
    return None


def _share(demand: Demand, card: Place) -> int:
    """What an engine may take of a card: vLLM and SGLang a fixed share of all of it."""
    if demand.parallel_heads is None:
        return card.budget_bytes
    total = card.accelerator.total_bytes
    return card.budget_bytes if total is None else min(card.budget_bytes, int(total * 0.9))


def _on_cards(
    demand: Demand, places: Places, context: int, cache_type: str, shortage: list[Shortage]
) -> Placement | None:
    groups: dict[str, list[Place]] = {}
    for card in places.cards:
        # One process sees one MIG slice.
        if card.accelerator.parent_uuid is None and not card.accelerator.unified:
            groups.setdefault(card.accelerator.kind, []).append(card)
    for kind, cards in groups.items():
        if len(cards) < 2:
            continue
        if demand.parallel_heads is not None:
            found = _tensor_parallel(demand, cards, context, cache_type, kind, shortage)
        elif demand.layer_split:
            found = _layer_split(demand, places, cards, context, cache_type, kind, shortage)
        else:
            found = None
        if found:
            return found
    return None


def _tensor_parallel(
    demand: Demand, cards: Sequence[Place], context: int, cache_type: str, kind: str, shortage: list[Shortage]
) -> Placement | None:
    """Equal shares of every layer on 2, 4, 8 ... like cards; heads must divide."""
    heads, heads_kv = demand.parallel_heads or (1, 1)
    fixed = demand.device_compute(context) + demand.overhead_of(kind)
    kv = demand.kv_bytes(context, cache_type)
    count = 2
    while count <= len(cards):
        if heads % count == 0 and (heads_kv % count == 0 or count % heads_kv == 0):
            each = demand.weights_bytes // count + kv // min(count, heads_kv) + fixed
            chosen = sorted(cards, key=lambda card: -_share(demand, card))[:count]
            least = min(_share(demand, card) for card in chosen)
            if each <= least:
                budget = sum(_share(demand, card) for card in chosen)
                layers = _total_layers(demand)
                return Placement("gpu", kind, tuple(chosen), None, (layers,) * count, 0, budget, each * count)
            # The sum that the load is said to take; where caches lie on several cards at once it is not all.
            total = demand.estimate(context, cache_type, kind, count).total_bytes
            short = total - least * count
            shortage.append((short if short > 0 else (each - least) * count, least * count, "cards", count))
        count *= 2
    return None


def _layer_split(
    demand: Demand,
    places: Places,
    cards: Sequence[Place],
    context: int,
    cache_type: str,
    kind: str,
    shortage: list[Shortage],
) -> Placement | None:
    """Blocks in order over as few cards as hold them all, the freest first."""
    fixed = demand.device_compute(context) + demand.overhead_of(kind)
    ordered = sorted(cards, key=lambda card: -card.budget_bytes)
    need = device_need(demand, context, cache_type, kind)
    for count in range(2, len(ordered) + 1):
        chosen = ordered[:count]
        layers = fill(demand, [card.budget_bytes - fixed for card in chosen], context, cache_type)
        if sum(layers) == _total_layers(demand) and _fits_host(demand, places, context, need):
            budget = sum(card.budget_bytes for card in chosen)
            total = _total_layers(demand) if demand.splits else None
            return Placement("gpu", kind, tuple(chosen), total, layers, 0, budget, need + fixed * (count - 1))
    budget = sum(card.budget_bytes for card in ordered)
    shortage.append((max(1, need + fixed * (len(ordered) - 1) - budget), budget, "cards", len(ordered)))
    return None


def fill(demand: Demand, rooms: Sequence[int], context: int, cache_type: str) -> tuple[int, ...]:
    """Layers that each room holds, from the output layer backwards, as llama.cpp offloads them."""
    caches = layer_caches(demand, context, cache_type)
    layers = [0] * len(rooms)
    index = len(demand.block_bytes)
    blocks = demand.block_bytes
    output = len(blocks)
    for number, room in enumerate(rooms):
        left = room
        first = index
        while index >= 0:
            size = demand.outside_bytes if index == output else blocks[index] + caches[index]
            if size > left:
                break
            left -= size
            index -= 1
        layers[number] = first - index
        if index < 0:
            break
    return tuple(layers)


def layer_caches(demand: Demand, context: int, cache_type: str) -> tuple[int, ...]:
    """KV cache of each block."""
    blocks = len(demand.block_bytes)
    kv = demand.kv
    if demand.padded and len(kv.groups) == 1 and len(kv.layers) == blocks:
        return (kv.layer_at(0, context, cache_type),) * blocks
    if demand.padded and len(kv.layers) == blocks:
        sizes: dict[int, int] = {}
        for index, layer in enumerate(kv.layers):
            if id(layer) not in sizes:
                sizes[id(layer)] = kv.layer_at(index, context, cache_type)
        return tuple([sizes[id(layer)] for layer in kv.layers])
    total = demand.kv_bytes(context, cache_type)
    return (total // max(blocks, 1),) * blocks


def _split(demand: Demand, places: Places, context: int, cache_type: str, shortage: list[Shortage]) -> Placement | None:
    """As many layers on the cards as they hold, the others in RAM."""
    slices = [card for card in places.cards if card.accelerator.parent_uuid is not None]
    whole = [card for card in places.cards if card.accelerator.parent_uuid is None]
    cards = whole or [max(slices, key=lambda card: card.budget_bytes)]
    cards = sorted(cards, key=lambda card: -card.budget_bytes)
    kind = cards[0].accelerator.kind
    cards = [card for card in cards if card.accelerator.kind == kind]
    fixed = demand.device_compute(context) + demand.overhead_of(kind)
    layers = fill(demand, [card.budget_bytes - fixed for card in cards], context, cache_type)
    count = sum(layers)
    devices = max(1, sum(1 for n in layers if n))
    total = demand.estimate(context, cache_type, kind, devices).total_bytes
    budget = places.host_bytes if places.unified else places.host_bytes + sum(card.budget_bytes for card in cards)
    if count < 2 or count == _total_layers(demand):
        # Fewer than one block beside the output layer is no help: that is the CPU with a copy in between.
        if places.cards and not places.unified:
            shortage.append((max(1, total - budget), budget, "all", devices))
        return None
    caches = layer_caches(demand, context, cache_type)
    first = _total_layers(demand) - count
    device = demand.outside_bytes + sum(demand.block_bytes[first:]) + sum(caches[first:])
    used = [card for card, number in zip(cards, layers, strict=True) if number]
    device += fixed * len(used)
    on_host = sum(demand.block_bytes[:first]) + sum(caches[:first]) + host_need(demand, context)
    on_host += demand.device_compute(context) + demand.overhead_of(CPU)
    room = places.host_bytes - (device if places.unified else 0)
    if on_host > room:
        # The sum that the load is said to take; where a layer too many is in the way, what that layer lacks.
        short = total - budget
        shortage.append((short if short > 0 else on_host - room, budget, "all", devices))
        return None
    return Placement("split", kind, tuple(used), count, tuple(n for n in layers if n), 0, budget, device)
