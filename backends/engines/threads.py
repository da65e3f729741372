"""How many threads may compute: the physical cores that this process is allowed to use."""

from __future__ import annotations

import os


def compute_threads(asked: int | None = None) -> int:
    """Threads to compute with: what was asked for, else one for each physical core, at least one.

    More threads than cores wait for each other at every tensor: 4 on 2 cores halved llama.cpp's decode speed. The
    slow cores of a mixed processor hold the fast ones up in the same way, so they stay out.
    """
    from backends.machine import host  # psutil: only a load needs it

    if asked:
        return max(1, min(asked, os.cpu_count() or asked))
    cpu = host.cpu()
    return max(1, cpu.performance_cores or cpu.physical_cores or 1)
