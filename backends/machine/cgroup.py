"""Limits that a container sets: memory and processor time of its control group, v1 and v2.

psutil reads /proc, which shows the host's memory and processors inside a container too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED_BYTES = 1 << 62
"""Version 1 writes 9223372036854771712 for "no limit"; nothing real comes near."""


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The narrowest memory limit round this process."""

    limit_bytes: int
    available_bytes: int
    """What is left below the limit of every level, page cache that can be dropped not counted as used."""


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """The memory that this process's control groups allow; None: no limit is set.

    Args:
        root: Where / is; tests pass a folder with a few files.
    """
    levels = [level for folder in _folders(root, "memory") if (level := _memory_level(folder)) is not None]
    if not levels:
        return None
    return MemoryLimit(
        limit_bytes=min(limit for limit, _ in levels),
        available_bytes=min(max(0, limit - used) for limit, used in levels),
    )


def cpu_limit(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that this process may use: 2.0 for "200000 100000"; None: no limit."""
    quotas = [quota for folder in _folders(root, "cpu") if (quota := _cpu_level(folder)) is not None]
    return min(quotas, default=None)


def _folders(root: Path, controller: str) -> list[Path]:
    """Folders of this process's control groups, innermost first, of version 2 and of this v1 controller.

    A container may see its own group as the root of the mount while /proc/self/cgroup names the host's path:
    levels that are not there are skipped on the way up.
    """
    top = root / "sys/fs/cgroup"
    found: list[Path] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if not path.startswith("/"):
            continue
        if names == "":
            mounts = [top, top / "unified"]
        elif controller in names.split(","):
            mounts = [top / names, top / controller]
        else:
            continue
        parts = [part for part in PurePosixPath(path).parts[1:] if part != ".."]
        for mount in mounts:
            found += [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return list(dict.fromkeys(folder for folder in found if folder.is_dir()))


def _memory_level(folder: Path) -> tuple[int, int] | None:
    """(limit, used) in bytes; None without a limit here."""
    for limit_name, used_name, cache_key in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _number(folder / limit_name)
        if limit is not None and limit < _UNLIMITED_BYTES:
            used = _number(folder / used_name) or 0
            return limit, max(0, used - _stat(folder / "memory.stat", cache_key))
    return None


def _cpu_level(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        quota, period = int(words[0]), int(words[1])
    else:
        quota = _number(folder / "cpu.cfs_quota_us") or 0
        period = _number(folder / "cpu.cfs_period_us") or 0
    return quota / period if quota > 0 and period > 0 else None


def _stat(path: Path, key: str) -> int:
    """One figure of a file of "key value" lines; 0 where it is missing."""
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdigit():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
