"""Whether one more model fits beside those that are loaded, and which to unload where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from backends.loaded import LoadedModel, LoadRequest
from backends.machine.model import Machine

Place = Literal["cards", "memory", "both"]


@dataclass(frozen=True, slots=True)
class Room:
    """What one more model asks for, and what there is."""

    wanted_bytes: int
    """What it is predicted to take."""
    free_bytes: int
    """What is free for it now."""
    total_bytes: int
    """What the place has altogether."""
    held_bytes: int
    """What loaded models hold of it."""
    unload: tuple[LoadedModel, ...]
    """The cheapest models that free enough together; (): nothing must go, or even all of them are not enough."""

    @property
    def missing_bytes(self) -> int:
        """Bytes too few; 0: it fits."""
        return max(0, self.wanted_bytes - self.free_bytes)


def held_bytes(model: LoadedModel) -> int:
    """What a model holds: measured where its engine says it, else predicted."""
    return model.measured_bytes() or model.request.predicted_bytes or 0


def room(request: LoadRequest, models: Sequence[LoadedModel], machine: Machine | None) -> Room | None:
    """Look whether a model fits beside others; None: not known, it is loaded already, or nothing else is.

    Args:
        request: What is to be loaded.
        models: What is loaded or on its way.
        machine: As it was seen last.
    """
    others = [model for model in models if model.state in ("loading", "ready")]
    if machine is None or request.predicted_bytes is None or any(model.request == request for model in others):
        return None
    place = _place(request, machine)
    total, free = _capacity(place, machine)
    if total is None or free is None:
        return None
    there = [model for model in others if _shares(place, _place(model.request, machine))]
    if not there:
        return None  # alone it is the fit's to judge
    held = sum(held_bytes(model) for model in there)
    # Mapped weights count as free memory for the system, and a model on its way has not taken its share yet.
    # The fit leaves something to other programs.
    free = max(0, min(free, total - held, request.predicted_bytes - request.short_bytes))
    missing = request.predicted_bytes - free
    return Room(request.predicted_bytes, free, total, held, _cheapest(there, missing) if missing > 0 else ())


def _cheapest(models: list[LoadedModel], missing_bytes: int) -> tuple[LoadedModel, ...]:
    """The models that free enough and hold the least together; of equals, fewer ones, and the longest unused."""
    sets = [
        chosen
        for count in range(1, len(models) + 1)
        for chosen in combinations(models, count)
        if sum(held_bytes(model) for model in chosen) >= missing_bytes
    ]
    return min(
        sets,
        key=lambda chosen: (sum(map(held_bytes, chosen)), len(chosen), sum(model.used_at for model in chosen)),
        default=(),
    )


def _place(request: LoadRequest, machine: Machine) -> Place:
    options = request.options
    if not machine.accelerators or options.device == "cpu" or options.gpu_layers == 0 or request.where == "CPU":
        return "memory"
    if any(card.unified for card in machine.accelerators):
        return "memory"
    return "both" if request.where.startswith("split") else "cards"


def _shares(one: Place, other: Place) -> bool:
    return one == other or "both" in (one, other)


def _capacity(place: Place, machine: Machine) -> tuple[int | None, int | None]:
    """Bytes altogether and bytes free."""
    totals: list[int | None] = []
    frees: list[int | None] = []
    if place in ("memory", "both"):
        totals.append(machine.memory.total_bytes)
        frees.append(machine.memory.available_bytes)
    if place in ("cards", "both"):
        totals += [card.total_bytes for card in machine.accelerators]
        frees += [card.free_bytes for card in machine.accelerators]
    known = [size for size in totals if size is not None]
    free = [size for size in frees if size is not None]
    if len(known) != len(totals) or len(free) != len(frees):
        return None, None
    return sum(known), sum(free)
