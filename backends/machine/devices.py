"""Devices that are sold: memory, bandwidth and compute capability by name."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_GIB = 1 << 30
_MIG = re.compile(r"^(?P<card>.+?)\s+MIG\s+(?:\d+c\.)?\d+g\.(?P<gigabytes>\d+)gb\b", re.IGNORECASE)
# Words that makers and drivers put in or leave out at will.
_NOISE = re.compile(
    r"\((?:r|tm|virtual)\)|\b(?:nvidia|geforce|tesla|quadro|amd|radeon|instinct|intel|graphics|gpu|generation|design|with)\b"
)
_MEMORY_SLICES = 8
"""A card with MIG deals its memory in eighths. Source: NVIDIA's MIG user guide, "GPU Instance Profiles"."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device as sold."""

    kind: str
    """"cuda", "metal", "rocm" or "intel"."""
    name: str
    """As its driver names it, without the maker's word in front."""
    memory_gib: int | None
    """Of its own; of the whole machine for Apple's rows, where it tells two buses apart; None: any."""
    bandwidth_bytes_per_second: int
    compute_capability: str | None
    """CUDA's "8.9"; None elsewhere."""
    gpu_cores: int | None
    """Only where it tells two buses apart."""
    also: tuple[str, ...]
    """Further names that people use."""

    @property
    def title(self) -> str:
        """The name with its maker's word, as the driver gives it."""
        if self.kind == "cuda" and not self.name.startswith(("Tesla", "Quadro", "Orin")):
            return f"NVIDIA {self.name}"
        return {"rocm": "AMD ", "intel": "Intel "}.get(self.kind, "") + self.name


@cache
def devices() -> tuple[Device, ...]:
    """All devices that we have figures of, in the file's order; about 2 ms once."""
    lines = Path(__file__).with_name("devices.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return tuple(
        Device(
            kind=row["kind"],
            name=row["name"],
            memory_gib=int(row["memory_gib"]) if row["memory_gib"] else None,
            bandwidth_bytes_per_second=round(float(row["gb_per_second"]) * 1e9),
            compute_capability=row["compute_capability"] or None,
            gpu_cores=int(row["gpu_cores"]) if row["gpu_cores"] else None,
            also=tuple(name.strip() for name in row["also"].split(";") if name.strip()),
        )
        for row in rows
    )


def find_device(name: str, *, gpu_cores: int | None = None, memory_bytes: int | None = None) -> Device | None:
    """The device of this name; None: we have no figures of it.

    Args:
        name: As NVML, sysctl or a driver gives it, or as people write it.
        gpu_cores: Cores of its GPU, where a chip is sold with two memory buses.
        memory_bytes: Its memory, where one name is sold with several; an Apple chip's is the whole machine's.
    """
    rows = _rows(name)
    if not rows:
        return None
    if gpu_cores is not None and any(row.gpu_cores for row in rows):
        return min(rows, key=lambda row: abs((row.gpu_cores or 0) - gpu_cores))
    if memory_bytes is not None:
        return min(rows, key=lambda row: abs((row.memory_gib or 0) * _GIB - memory_bytes))
    return rows[0]


def slice_of(name: str) -> tuple[str, int] | None:
    """Card and gigabytes of a MIG slice's name: "... H100 80GB HBM3 MIG 1g.10gb" has 10; None: not a slice."""
    match = _MIG.match(name)
    return (match["card"], int(match["gigabytes"])) if match else None


def slice_share(card: Device, gigabytes: int) -> float:
    """The share of a card's memory, and with it of its bandwidth, that a slice of so many gigabytes has."""
    if not card.memory_gib:
        return 1.0
    eighths = round(_MEMORY_SLICES * gigabytes / card.memory_gib)
    return min(_MEMORY_SLICES, max(1, eighths)) / _MEMORY_SLICES


def plain(name: str) -> str:
    """A name without the words that makers put in or leave out: "NVIDIA GeForce RTX 4090" is "rtx 4090"."""
    text = _NOISE.sub(" ", name.lower().replace("-", " ").replace("_", " "))
    text = re.sub(r"(\d)\s+(gb|g)\b", r"\1\2", text)
    return " ".join(text.split())


def devices_named(name: str) -> tuple[Device, ...]:
    """Every row of a name as people write it, without its memory."""
    return _by_plain_name().get(plain(name), ())


def _rows(name: str) -> tuple[Device, ...]:
    found = _by_plain_name().get(plain(name), ())
    if found:
        return found
    # The PCI list names a chip and, in brackets, all that is sold with it: only safe where they are alike.
    bracket = re.search(r"\[(.+)\]\s*$", name)
    if bracket is None:
        return ()
    first, *others = [one.strip() for one in bracket[1].split("/")]
    family = re.sub(r"\d.*", "", first)
    names = [first, *(family + other if other[:1].isdigit() else other for other in others)]
    rows = tuple(row for one in names for row in _by_plain_name().get(plain(one), ()))
    is_alike = len({row.bandwidth_bytes_per_second for row in rows}) == 1
    return rows if is_alike or len({row.memory_gib for row in rows}) == len(rows) else ()


@cache
def _by_plain_name() -> dict[str, tuple[Device, ...]]:
    table: dict[str, tuple[Device, ...]] = {}
    for device in devices():
        names = [plain(one) for one in (device.name, *device.also)]
        if device.name.startswith("GeForce"):
            names += [name.removeprefix("rtx ").removeprefix("gtx ") for name in names]  # people say "a 3090"
        elif device.kind == "rocm":
            names += [name.removeprefix("pro ").removeprefix("rx ") for name in names]
        for name in dict.fromkeys(names):
            table[name] = (*table.get(name, ()), device)
    return table
