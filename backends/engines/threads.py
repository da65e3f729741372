"""How many threads may compute: the physical cores that this process is allowed to use."""

from __future__ import annotations

import os
from pathlib import Path


def _cgroup_cores() -> float | None:
    """Cores that the container's quota allows, from cgroup v2 or v1; None: no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        quota_us = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_us = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return None if quota_us <= 0 else quota_us / period_us
    except (OSError, ValueError):
        return None


def compute_threads(asked: int | None = None) -> int:
    """Threads to compute with: what was asked for, else one for each physical core, at least one.

    More threads than cores wait for each other at every tensor: 4 on 2 cores halved llama.cpp's decode speed.
    """
    import psutil

    logical = os.cpu_count() or 1
    cores = psutil.cpu_count(logical=False) or logical
    if hasattr(os, "sched_getaffinity"):
        # Allowed logical processors; two of one core count as one, as far as their number tells.
        allowed = len(os.sched_getaffinity(0))
        cores = min(cores, max(1, round(allowed * cores / logical)))
    quota = _cgroup_cores()
    if quota is not None:
        cores = min(cores, max(1, int(quota)))
    return max(1, min(asked, logical) if asked else cores)
