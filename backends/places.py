"""Where a model may lie on a machine, and how many bytes each place has to give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from backends.engines.engine import EngineStatus
from backends.machine.model import Accelerator, Machine
from specs.model import MLX, SGLANG, VLLM

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30

CARD_RESERVE_SHARE: Final = 0.02
"""Of a card's memory: fragmentation and what the driver takes beside the process's own overhead."""
HOST_RESERVE_SHARE: Final = 0.06
"""Of the host's memory: what other programs will want while the model runs."""


@dataclass(frozen=True, slots=True)
class Place:
    """One accelerator with what it can give now."""

    accelerator: Accelerator
    budget_bytes: int
    """Free memory less a reserve."""


@dataclass(frozen=True, slots=True)
class Places:
    """All memory of a machine that a model may use."""

    cards: tuple[Place, ...]
    """Accelerators whose memory is known, as the machine numbers them."""
    host_bytes: int
    """RAM that is available, less a reserve; 0 when not known."""
    unified: bool
    """Whether cards and host share one memory, so that host_bytes is the limit of both together."""
    unknown: tuple[str, ...] = ()
    """Names of accelerators that do not tell their memory."""

    @property
    def cards_bytes(self) -> int:
        """What all cards can give together."""
        return sum(place.budget_bytes for place in self.cards)

    @property
    def largest_bytes(self) -> int:
        """What the best card can give."""
        return max((place.budget_bytes for place in self.cards), default=0)


def card_budget(accelerator: Accelerator, host_available: int | None) -> int | None:
    """Bytes that a new process may take on this accelerator; None when it does not tell."""
    total = accelerator.total_bytes
    free = accelerator.free_bytes if accelerator.free_bytes is not None else total
    if free is None:
        if not accelerator.unified:
            return None
        free = host_available
        if free is None:
            return None
    if accelerator.unified and host_available is not None:
        free = min(free, host_available)
    if total is not None:
        free = min(free, total)
    reserve = max(256 * _MIB, int((total or free) * CARD_RESERVE_SHARE))
    return max(0, free - min(reserve, _GIB))


def places(machine: Machine) -> Places:
    """What every place of the machine can give now."""
    memory = machine.memory
    available = memory.available_bytes if memory.available_bytes is not None else memory.total_bytes
    if available is not None and memory.total_bytes is not None:
        available = min(available, memory.total_bytes)
    host = 0
    if available is not None:
        reserve = int((memory.total_bytes or available) * HOST_RESERVE_SHARE)
        host = max(0, available - min(max(reserve, 256 * _MIB), 2 * _GIB))
    sliced = {accelerator.parent_uuid for accelerator in machine.accelerators if accelerator.parent_uuid}
    cards: list[Place] = []
    unknown: list[str] = []
    for accelerator in machine.accelerators:
        if accelerator.uuid in sliced:
            # A card in MIG mode gives memory only through its slices.
            continue
        budget = card_budget(accelerator, available)
        if budget is None:
            unknown.append(accelerator.name)
        else:
            cards.append(Place(accelerator, budget))
    unified = bool(cards) and all(place.accelerator.unified for place in cards)
    return Places(tuple(cards), host, unified, tuple(unknown))


ENGINE_KINDS: Final[Mapping[str, frozenset[str]]] = {
    MLX: frozenset({"metal"}),
    VLLM: frozenset({"cuda", "rocm"}),
    SGLANG: frozenset({"cuda", "rocm"}),
}
"""Kinds of accelerator that an engine drives whatever its build; engines that are not here: any."""


def driven(machine: Machine, status: EngineStatus | None, engine: str) -> Machine:
    """The machine as an engine can use it: without the accelerators that it or its installed build does not drive.

    Of another machine than this one the build here says nothing.
    """
    kinds_of_engine = ENGINE_KINDS.get(engine)
    if kinds_of_engine is not None and any(one.kind not in kinds_of_engine for one in machine.accelerators):
        left = tuple(one for one in machine.accelerators if one.kind in kinds_of_engine)
        machine = replace(machine, accelerators=left)
    if machine.label is not None or status is None or status.status != "ready":
        return machine
    kinds = status.accelerators
    if kinds is None or "vulkan" in kinds or all(one.kind in kinds for one in machine.accelerators):
        return machine
    return replace(machine, accelerators=tuple(one for one in machine.accelerators if one.kind in kinds))
