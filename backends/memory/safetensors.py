"""Headers of safetensors files, and the index of those in parts."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backends.errors import BadWeights, CutOff
from backends.memory.gguf import RangeReader

MAX_HEADER_BYTES: Final = 100_000_000
"""Source: the safetensors format's own limit."""
MAX_INDEX_BYTES: Final = 64 << 20

DTYPE_BITS: Final = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "C64": 64,
}  # fmt: skip
"""Bits of an element. Source: the Dtype enum of the safetensors library."""


@dataclass(frozen=True, slots=True)
class SafeTensor:
    """One tensor of a header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    tensor_bytes: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What one safetensors file says of itself."""

    tensors: tuple[SafeTensor, ...]
    header_bytes: int
    """Where the data begins."""
    metadata: Mapping[str, str]

    @property
    def tensors_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.tensor_bytes for tensor in self.tensors)


def read_header(source: Path | str | RangeReader, *, file_bytes: int | None = None) -> SafetensorsHeader:
    """The header of a safetensors file: two ranges at most.

    Raises:
        BadWeights: it is no safetensors file, is cut off, or its header makes claims that cannot be.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        try:
            size = path.stat().st_size
            with path.open("rb") as file:

                def read(start: int, stop: int) -> bytes:
                    file.seek(start)
                    return file.read(stop - start)

                return _read(read, size)
        except OSError as error:
            raise BadWeights(f"{path} cannot be read: {error.strerror or error}") from error
        except BadWeights as error:
            raise type(error)(f"{path.name}: {error}") from error
    return _read(source, file_bytes)


def _read(read: RangeReader, file_bytes: int | None) -> SafetensorsHeader:
    first = 256 << 10
    data = read(0, first if file_bytes is None else min(first, file_bytes))
    if len(data) < 8:
        raise BadWeights("this is no safetensors file: it has no header")
    length = struct.unpack_from("<Q", data)[0]
    if length > MAX_HEADER_BYTES or (file_bytes is not None and 8 + length > file_bytes):
        raise BadWeights(f"the safetensors header claims {length:,} bytes, more than the file can hold")
    if 8 + length > len(data):
        data += read(len(data), 8 + length)
    if len(data) < 8 + length:
        raise CutOff("it is cut off within its header")
    try:
        document = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise BadWeights("the safetensors header is no JSON") from error
    if not isinstance(document, dict):
        raise BadWeights("the safetensors header is no JSON object")
    metadata = document.pop("__metadata__", {})
    tensors = tuple(_tensor(name, entry) for name, entry in document.items())
    end = max((entry["data_offsets"][1] for entry in document.values()), default=0)
    if file_bytes is not None and 8 + length + end > file_bytes:
        missing = 8 + length + end - file_bytes
        raise CutOff(f"it is cut off: {missing:,} {'byte is' if missing == 1 else 'bytes are'} missing")
    kept = {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    return SafetensorsHeader(tensors, 8 + length, kept)


def _tensor(name: str, entry: Any) -> SafeTensor:
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        lengths = tuple(int(length) for length in shape)
        fine = isinstance(start, int) and isinstance(stop, int) and 0 <= start <= stop and min(lengths, default=0) >= 0
    except (KeyError, TypeError, ValueError) as error:
        raise BadWeights(f"tensor {name[:64]!r} of the safetensors header is not described") from error
    if not fine:
        raise BadWeights(f"tensor {name[:64]!r} of the safetensors header lies nowhere")
    bits = DTYPE_BITS.get(dtype)
    elements = 1
    for length in lengths:
        elements *= length
    if bits is not None and elements * bits // 8 != stop - start:
        raise BadWeights(f"tensor {name[:64]!r} of the safetensors header has another size than its shape")
    return SafeTensor(name, str(dtype), lengths, stop - start)


@dataclass(frozen=True, slots=True)
class SafetensorsIndex:
    """model.safetensors.index.json: which tensors lie in which file."""

    files: tuple[str, ...]
    total_bytes: int | None
    """Bytes of all tensors; None: the index does not say."""


def read_index(data: bytes) -> SafetensorsIndex:
    """The index of weights in parts.

    Raises:
        BadWeights: it is no such index.
    """
    if len(data) > MAX_INDEX_BYTES:
        raise BadWeights("the safetensors index is larger than any that is published")
    try:
        document = json.loads(data)
        files = tuple(dict.fromkeys(str(name) for name in document["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadWeights("this is no safetensors index: it has no weight_map") from error
    total = document.get("metadata", {}).get("total_size") if isinstance(document.get("metadata"), dict) else None
    if isinstance(total, float):
        total = int(total)
    return SafetensorsIndex(files, total if isinstance(total, int) and total > 0 else None)


def folder_bytes(folder: Path) -> int | None:
    """Bytes of all tensors of a folder's safetensors files; None: there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    return sum(read_header(path).tensors_bytes for path in files)
