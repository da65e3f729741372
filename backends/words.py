"""Amounts in the words of a reason: what a sentence from below the screen may say."""

from __future__ import annotations

_GIB = 1 << 30
_MIB = 1 << 20


def amount(memory_bytes: float) -> str:
    """Bytes of memory in a sentence: "1.2 TiB", "6.7 GiB", "412 MiB"."""
    if memory_bytes >= 1000 * _GIB:
        return f"{memory_bytes / (1 << 40):.1f} TiB"
    if memory_bytes >= 100 * _GIB:
        return f"{memory_bytes / _GIB:.0f} GiB"
    if memory_bytes >= _GIB:
        return f"{memory_bytes / _GIB:.1f} GiB"
    return f"{max(memory_bytes, 0) / _MIB:.0f} MiB"


def tokens(count: int) -> str:
    """Tokens in a sentence: "8,192"."""
    return f"{count:,}"
