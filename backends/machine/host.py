"""The host: its processor and memory, within what a container and the process's affinity leave of them."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from backends.machine import apple, cgroup
from backends.machine.model import Cpu, Memory


@dataclass(frozen=True, slots=True)
class Host:
    """What the host has, and what could not be known of it."""

    cpu: Cpu
    memory: Memory
    warnings: tuple[str, ...] = ()


def probe(root: Path = Path("/")) -> Host:
    """Ask psutil, /proc, /sys and sysctl.

    Args:
        root: Where / is; tests pass a folder with a few files.
    """
    return Host(cpu(root), memory(root))


def memory(root: Path = Path("/")) -> Memory:
    """Host memory now; cheap enough for every second."""
    import psutil  # 66 ms at the first import

    virtual = psutil.virtual_memory()
    total_bytes, available_bytes = int(virtual.total), int(virtual.available)
    limit = cgroup.memory_limit(root)
    if limit is not None:
        total_bytes = min(total_bytes, limit.limit_bytes)
        available_bytes = min(available_bytes, limit.available_bytes)
    return Memory(total_bytes, min(available_bytes, total_bytes))


def cpu(root: Path = Path("/")) -> Cpu:
    """The processor: its name and the cores that this process may use.

    Threads beyond the physical cores halve llama.cpp's decode speed, so affinity and quota count here.
    """
    import psutil

    logical = psutil.cpu_count() or os.cpu_count()
    physical = psutil.cpu_count(logical=False)
    if sys.platform == "darwin":
        chip = apple.chip()
        return Cpu(chip.name, physical or chip.physical_cores, logical, chip.performance_cores)
    allowed = _affinity()
    cores = _cores_of(allowed, root)
    if cores is not None:
        physical = cores
    elif physical is None and _machine_has_no_smt():
        physical = logical
    quota = cgroup.cpu_limit(root)
    if allowed and logical:
        logical = min(logical, len(allowed))
    if quota is not None and logical:
        logical = min(logical, max(1, math.ceil(quota)))
    if quota is not None and physical:
        physical = min(physical, max(1, int(quota)))
    if physical and logical:
        physical = min(physical, logical)
    return Cpu(_name(root), physical, logical, _performance_cores(allowed, physical, root))


def _affinity() -> frozenset[int]:
    """Processors that this process may run on; empty where the system does not say."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS has no such call
        return frozenset()


def _cores_of(processors: frozenset[int], root: Path) -> int | None:
    """Physical cores behind these processors; None where the kernel does not tell."""
    cores = set()
    for processor in processors:
        folder = root / f"sys/devices/system/cpu/cpu{processor}/topology"
        siblings = _line(folder / "core_cpus_list") or _line(folder / "thread_siblings_list")
        if siblings is None:
            return None
        cores.add(siblings)
    return len(cores) or None


def _performance_cores(processors: frozenset[int], physical: int | None, root: Path) -> int | None:
    """Fast cores of a hybrid processor (Intel lists them under this name); None: all alike, or not told."""
    listed = _line(root / "sys/devices/cpu_core/cpus")
    if listed is None:
        return None
    fast = _cores_of(frozenset(_processors(listed)) & processors, root)
    return min(fast, physical) if fast and physical else fast


def _processors(listed: str) -> set[int]:
    """The kernel's list format: "0-3,8" is 0, 1, 2, 3 and 8."""
    processors: set[int] = set()
    for part in listed.split(","):
        first, _, last = part.partition("-")
        if first.strip().isdigit() and (last or first).strip().isdigit():
            processors.update(range(int(first), min(int(last or first), 1 << 14) + 1))
    return processors


def _machine_has_no_smt() -> bool:
    """64-bit ARM boards, where psutil finds no core numbers, run one thread a core."""
    return os.uname().machine in {"aarch64", "arm64"}


def _name(root: Path) -> str | None:
    """The processor's name; ARM boards name the board instead."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        named.setdefault(key.strip(), value.strip())
    for key in ("model name", "Model", "Hardware", "cpu"):
        if named.get(key):
            return " ".join(named[key].split())
    return _line(root / "proc/device-tree/model")


def _line(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.replace("\0", "").strip() or None
