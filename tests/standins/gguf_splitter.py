"""Cuts a GGUF file into parts as llama.cpp's gguf-split does."""

from __future__ import annotations

import struct
from pathlib import Path

from backends.memory.gguf import GgufTensor, read_header

ALIGNMENT = 32
UINT16, INT32 = 2, 5


def split(whole: Path, folder: Path, parts: int) -> tuple[Path, ...]:
    """The parts of a file, the first one with all metadata.

    Each part names itself by split.no, split.count and split.tensors.count, and lists its own tensors alone, with
    offsets from its own data. Source: llama.cpp's tools/gguf-split and its loader (LLM_KV_SPLIT_*).
    """
    header = read_header(whole)
    tensors = header.tensors
    with whole.open("rb") as file:
        head = file.read(header.header_bytes)
        _version, _count, pairs = struct.unpack_from("<IQQ", head, 4)
        first = tensors[0].name.encode()
        metadata = head[24 : head.index(struct.pack("<Q", len(first)) + first)]
        each = -(-len(tensors) // parts)
        paths = []
        for number in range(parts):
            own = tensors[number * each : (number + 1) * each]
            path = folder / f"{whole.stem}-{number + 1:05d}-of-{parts:05d}.gguf"
            marks = _pair("split.no", UINT16, number) + _pair("split.count", UINT16, parts)
            marks += _pair("split.tensors.count", INT32, len(tensors))
            kept, count = (metadata, pairs + 3) if number == 0 else (b"", 3)
            begin = b"GGUF" + struct.pack("<IQQ", 3, len(own), count) + kept + marks + _listed(own)
            with path.open("wb") as part:
                part.write(begin + b"\0" * (-len(begin) % ALIGNMENT))
                for tensor in own:
                    file.seek(header.header_bytes + tensor.offset)
                    part.write(file.read(tensor.tensor_bytes) + b"\0" * (-tensor.tensor_bytes % ALIGNMENT))
            paths.append(path)
    return tuple(paths)


def _pair(key: str, kind: int, number: int) -> bytes:
    form = {UINT16: "<IH", INT32: "<Ii"}[kind]
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack(form, kind, number)


def _listed(tensors: tuple[GgufTensor, ...]) -> bytes:
    data, offset = b"", 0
    for tensor in tensors:
        name = tensor.name.encode()
        data += struct.pack("<Q", len(name)) + name
        data += struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        data += struct.pack("<IQ", tensor.kind.ggml_id, offset)
        offset += tensor.tensor_bytes + -tensor.tensor_bytes % ALIGNMENT
    return data
