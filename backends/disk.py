"""Room on a disk, and the error of a disk without any."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from backends.errors import DiskFull

RESERVE_BYTES = 64 << 20
"""Room that a download leaves on the disk, so that it is not the download that makes everything else fail."""
CHECK_BYTES = 64 << 20
"""How much may come between two looks at the room."""


def free_bytes(folder: Path) -> int | None:
    """Room on the disk that holds a folder, which need not exist yet; None: not known."""
    for path in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(path).free
    return None


def full(folder: Path, needed: int, free: int, reserve: int = 0) -> DiskFull:
    """The error of a disk without room; all counts in bytes, reserve is what shall stay free besides."""
    room = f"{_size(needed)} are needed and {_size(free)} are free"
    if free >= needed and reserve:
        lack = f"but {_size(reserve)} should stay free besides: {_size(needed + reserve - free)} too little"
    else:
        lack = f"{_size(max(0, needed - free))} too little"
        lack += f", and {_size(reserve)} should stay free besides" if reserve else ""
    return DiskFull(
        f"not enough room for the download in {folder}: {room}, {lack}; what is here already is kept", needed, free
    )


def refuse_without_room(folder: Path, needed: int) -> None:
    """Raise DiskFull where so many bytes, which are all to come, do not leave the reserve."""
    free = free_bytes(folder)
    if free is not None and free < needed + RESERVE_BYTES:
        raise full(folder, needed, free, RESERVE_BYTES)


def refuse_when_full(folder: Path, missing: int) -> None:
    """Raise DiskFull where the disk has filled up on the way, and so many bytes are still to come."""
    free = free_bytes(folder)
    if free is not None and free < min(missing, RESERVE_BYTES):
        raise full(folder, missing, free)


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
