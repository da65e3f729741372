"""The C library's memory kept together, so that what short-lived threads free can be used again."""

from __future__ import annotations

import sys

M_ARENA_MAX = -8
"""mallopt(3)'s name for the most arenas; glibc's malloc.h."""
MOST_ARENAS = 2


def keep_together() -> None:
    """Have glibc share two arenas among all threads; elsewhere nothing.

    By default it gives up to eight a core to threads, each of which keeps what was freed in it: half an hour of looking
    and judging in threads of their own grew by 60 MB that nobody held.
    """
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_ARENA_MAX, MOST_ARENAS)
