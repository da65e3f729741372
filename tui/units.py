"""Numbers as people read them: the only place that rounds."""

from __future__ import annotations

UNKNOWN = "unknown"

_GIB = 1 << 30
_MIB = 1 << 20
_KIB = 1 << 10


def memory(memory_bytes: int | None, *, unit: bool = True) -> str:
    """Bytes of memory in binary units: "6.7 GiB", "412 MiB"; "unknown" for None."""
    if memory_bytes is None:
        return UNKNOWN
    size = abs(memory_bytes)
    if size >= 1000 * _GIB:
        text, word = f"{memory_bytes / (1 << 40):.1f}", "TiB"
    elif size >= _GIB:
        text, word = f"{memory_bytes / _GIB:.1f}", "GiB"
    elif size >= _MIB:
        text, word = f"{memory_bytes / _MIB:.0f}", "MiB"
    elif size >= _KIB:
        text, word = f"{memory_bytes / _KIB:.0f}", "KiB"
    else:
        text, word = str(memory_bytes), "B"
    return f"{text} {word}" if unit else text


def memory_like(memory_bytes: int | None, whole_bytes: int) -> str:
    """A part of a sum in the sum's unit: "4.6", "0.3", "0.01" beside GiB, "39 MiB" beside less than one."""
    if memory_bytes is None or whole_bytes < _GIB:
        return memory(memory_bytes)
    size = memory_bytes / (_GIB if whole_bytes < 1000 * _GIB else 1 << 40)
    return f"{size:.1f}" if size >= 0.095 or not memory_bytes else f"{max(size, 0.01):.2f}"


def file_size(file_bytes: int | None) -> str:
    """Bytes on a disk or a line in decimal units, as hubs print them: "4.92 GB"."""
    if file_bytes is None:
        return UNKNOWN
    for factor, word in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if abs(file_bytes) >= factor:
            value = file_bytes / factor
            digits = 2 if value < 10 else 1 if value < 100 else 0
            return f"{value:.{digits}f} {word}"
    return f"{file_bytes} B"


def speed(bytes_per_second: float | None) -> str:
    """Transfer speed: "84 MB/s"; "unknown" for None."""
    return UNKNOWN if bytes_per_second is None else f"{file_size(int(bytes_per_second))}/s"


def bandwidth(bytes_per_second: int) -> str:
    """Bandwidth of a memory, as makers print it: "273 GB/s"."""
    return f"{bytes_per_second / 1e9:,.0f} GB/s"


def duration(seconds: float | None) -> str:
    """A time span: "26 s", "4 min 10 s", "2 h 05 min"; "unknown" for None."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(number: int | None) -> str:
    """A count with thousands apart: "8,192"; "unknown" for None."""
    return UNKNOWN if number is None else f"{number:,}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: "1 variant", "2 variants", "0 families"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def tokens_per_second(value: float | None) -> str:
    """Decode speed: "128 tok/s", "4.2 tok/s", "0.05 tok/s"; "unknown" for None."""
    if value is None:
        return UNKNOWN
    if value < 1:
        return f"{value:.2f} tok/s" if value >= 0.01 else "under 0.01 tok/s"
    return f"{value:.0f} tok/s" if value >= 10 else f"{value:.1f} tok/s"
