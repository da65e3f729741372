"""The measured bandwidth of this host's memory, kept from run to run."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from backends import home
from backends.machine.bandwidth import host_bandwidth, measure_host_bandwidth
from backends.machine.model import Machine

TIMES: Final = 3
"""Runs that measure; the best counts, because what else the machine does can only make it slower."""
_MOST_BYTES: Final = 1 << 16
_MOST_BANDWIDTH: Final = 1 << 50


def is_measured(machine: Machine) -> bool:
    """Whether the bandwidth has to be measured: on this machine, where none is published for its processor."""
    return machine.label is None and host_bandwidth(machine.cpu.name, machine) is None


def with_remembered_bandwidth(machine: Machine) -> Machine:
    """The machine with the bandwidth that was measured earlier; cheap enough for a start."""
    if not is_measured(machine):
        return machine
    known, _ = _kept(machine)
    return replace(machine, host_bandwidth_bytes_per_second=known) if known else machine


def with_measured_bandwidth(machine: Machine) -> Machine:
    """The machine with its bandwidth, measured now if that was not done often enough: a few tenths of a second."""
    if not is_measured(machine):
        return machine
    known, times = _kept(machine)
    if times < TIMES:
        now = measure_host_bandwidth(machine.cpu.physical_cores or 1, machine.memory.available_bytes)
        if now is not None:
            known = max(known or 0, now)
            _keep(machine, known, times + 1)
    return replace(machine, host_bandwidth_bytes_per_second=known) if known else machine


def _file() -> Path:
    return home.cache_folder() / "host-bandwidth.json"


def _key(machine: Machine) -> str:
    """A home may be shared by machines, and a virtual machine may get more cores."""
    return f"{machine.cpu.name}, {machine.cpu.physical_cores} cores, {machine.memory.total_bytes} bytes"


def _read() -> dict[str, Any]:
    try:
        with _file().open("rb") as file:
            kept = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _kept(machine: Machine) -> tuple[int | None, int]:
    """What was measured, and how often."""
    entry = _read().get(_key(machine))
    if not isinstance(entry, dict):
        return None, 0
    known, times = entry.get("bytes_per_second"), entry.get("times")
    if type(known) is not int or type(times) is not int or not 0 < known < _MOST_BANDWIDTH:
        return None, 0
    return known, times


def _keep(machine: Machine, bytes_per_second: int, times: int) -> None:
    path = _file()
    beside = path.with_suffix(f".{os.getpid()}.part")
    kept = _read() | {_key(machine): {"bytes_per_second": bytes_per_second, "times": times}}
    # Where nothing can be written, every run measures for itself.
    with contextlib.suppress(OSError):
        home.private_folder(path.parent)
        beside.write_text(json.dumps(kept))
        beside.replace(path)
