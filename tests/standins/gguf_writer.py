"""Writes GGUF headers for tests: real ones of any architecture, and hostile ones."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ALIGNMENT = 32


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item: Any) -> bytes:
    """Type number and bytes of one value."""
    if isinstance(item, bool):
        return struct.pack("<I?", 7, item)
    if isinstance(item, int):
        return struct.pack("<II", 4, item) if item >= 0 else struct.pack("<Ii", 5, item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    if isinstance(item, str):
        return struct.pack("<I", 8) + text(item)
    items = list(item)
    if items and isinstance(items[0], str):
        return struct.pack("<IIQ", 9, 8, len(items)) + b"".join(text(part) for part in items)
    if items and isinstance(items[0], bool):
        return struct.pack("<IIQ", 9, 7, len(items)) + bytes(items)
    if items and isinstance(items[0], float):
        return struct.pack("<IIQ", 9, 6, len(items)) + struct.pack(f"<{len(items)}f", *items)
    return struct.pack("<IIQ", 9, 4, len(items)) + struct.pack(f"<{len(items)}I", *items)


def header(metadata: Mapping[str, Any], tensors: Iterable[tuple[str, tuple[int, ...], int, int]]) -> bytes:
    """A header; tensors are (name, shape, type id, bytes), laid one after another."""
    listed = list(tensors)
    data = b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(metadata))
    for key, item in metadata.items():
        data += text(key) + value(item)
    offset = 0
    for name, shape, type_id, size in listed:
        data += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", type_id, offset)
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    return data + b"\0" * (-len(data) % ALIGNMENT)


def write(path: Path, metadata: Mapping[str, Any], tensors: Iterable[tuple[str, tuple[int, ...], int, int]]) -> Path:
    """A whole file, sparse behind its header."""
    listed = list(tensors)
    data = header(metadata, listed)
    total = sum(-(-size // ALIGNMENT) * ALIGNMENT for *_, size in listed)
    with path.open("wb") as file:
        file.write(data)
        file.truncate(len(data) + total)
    return path
