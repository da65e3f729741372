"""Has freed memory leave this process, where it can be seen to go."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Empty what PyTorch and the C library keep for the next allocation."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        # glibc keeps what was freed; gigabytes of parameters should be seen to go.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
