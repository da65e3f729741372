"""CUDA_VISIBLE_DEVICES: which cards and slices CUDA shows a process, and in which order.

NVML ignores the variable, so whoever lists devices by NVML filters by themselves. Rules: CUDA's programming guide
(environment variables) and the MIG user guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """One card as NVML lists it."""

    uuid: str | None
    """None: the card did not tell."""
    slices: tuple[str, ...] = ()
    """UUIDs of its MIG slices, in NVML's order."""
    is_cut: bool = False
    """Whether MIG is on; a card that is cut into slices cannot be used whole."""


Choice = tuple[int, int | None]
"""Number of a card, and of the slice on it; None: the whole card."""


def visible(value: str | None, cards: Sequence[Listed]) -> tuple[tuple[Choice, ...], str | None]:
    """What a process sees, in its order, and a sentence where the variable says something odd.

    Entries are indices, UUIDs, unique beginnings of UUIDs, or whole UUIDs of MIG slices. The list is cut at the first
    entry that names nothing; an entry given twice leaves nothing; a process gets at most one slice.

    Args:
        value: The variable's text; None: it is not set, and everything is visible.
        cards: All cards in NVML's order.
    """
    if value is None:
        return tuple(choice for number, card in enumerate(cards) for choice in _all_of(number, card)), None
    chosen: list[Choice] = []
    entries = [entry.strip() for entry in value.split(",")]
    for entry in entries:
        choice = _named(entry, cards)
        if choice is None:
            if entry in {"", "-1"} and (len(entries) == 1 or entry == "-1"):
                return tuple(chosen), None  # the documented ways to say "no further"
            return tuple(chosen), (
                f"CUDA_VISIBLE_DEVICES={value!r}: {entry!r} names no card here, so it and all after it are not used"
            )
        if choice in chosen:
            return (
                (),
                f"CUDA_VISIBLE_DEVICES={value!r} names {entry!r} twice, so CUDA shows no card at all: name it once",
            )
        chosen.append(choice)
    slices = [choice for choice in chosen if choice[1] is not None]
    if slices and len(chosen) > 1:
        kept = tuple(choice for choice in chosen if choice[1] is None) or (slices[0],)
        return kept, f"CUDA_VISIBLE_DEVICES={value!r}: a process can use one MIG slice and no whole card beside it"
    return tuple(chosen), None


def order_is_certain(environment: Mapping[str, str], names: Sequence[str]) -> bool:
    """Whether CUDA counts these cards as NVML does: by bus number, which it does not by default where they differ."""
    return len(set(names)) <= 1 or environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"


def names_by_index(value: str | None) -> bool:
    """Whether the variable names any card by its number."""
    return value is not None and any(entry.strip().isdigit() for entry in value.split(","))


def _all_of(number: int, card: Listed) -> tuple[Choice, ...]:
    if card.is_cut:
        return tuple((number, part) for part in range(len(card.slices)))
    return ((number, None),)


def _named(entry: str, cards: Sequence[Listed]) -> Choice | None:
    if entry.isascii() and entry.isdigit():
        number = int(entry[:9])
        return _first_of(number, cards[number]) if number < len(cards) else None
    wanted = entry.lower()
    if wanted.startswith("mig-"):
        for number, card in enumerate(cards):
            for part, uuid in enumerate(card.slices):
                if uuid.lower() == wanted:
                    return number, part
        return None
    if not wanted.startswith("gpu-"):
        return None
    matches = [n for n, card in enumerate(cards) if card.uuid is not None and card.uuid.lower().startswith(wanted)]
    return _first_of(matches[0], cards[matches[0]]) if len(matches) == 1 else None


def _first_of(number: int, card: Listed) -> Choice | None:
    """The card itself, or its first slice where it is cut."""
    if not card.is_cut:
        return number, None
    return (number, 0) if card.slices else None
