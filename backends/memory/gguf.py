"""Headers of GGUF files, read fast and without trust: from a disk, or from a hub by ranges."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from backends.errors import BadWeights, CutOff
from backends.memory.kv_cache import EXPANDED_KEY, GUESSING
from specs.contradictions import contradiction
from specs.formats import TYPES_BY_ID, TensorType
from specs.model import Architecture

RangeReader = Callable[[int, int], bytes]
"""Gives the bytes from start to stop (exclusive) of a file, fewer where it ends before."""

MAGIC: Final = b"GGUF"
MAX_HEADER_BYTES: Final = 256 << 20
"""The largest published headers are 20 MB; beyond this a header is hostile."""
MAX_KEY_BYTES: Final = 65_535
"""Source: the GGUF specification."""
MAX_NAME_BYTES: Final = 1024
"""ggml allows 64."""
MAX_KEPT_BYTES: Final = 1 << 20
"""Longer strings are skipped, not kept."""
MAX_KEPT_ELEMENTS: Final = 4096
"""Longer arrays are skipped: the vocabulary."""
MAX_ELEMENTS: Final = 16_000_000
MAX_TENSORS: Final = 100_000
MAX_PAIRS: Final = 100_000
MAX_DEPTH: Final = 3
"""Arrays of arrays of arrays; deeper ones are hostile."""

FIRST_READS: Final = (64 << 10, 256 << 10, 512 << 10)
"""Where the requests for the hyper-parameters end: three at most, and 512 KB in all."""

_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final[Mapping[int, struct.Struct]] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One entry of the header's tensor list."""

    name: str
    shape: tuple[int, ...]
    """In ggml's order: the row's elements first."""
    kind: TensorType
    offset: int
    """From the start of the data."""

    @property
    def elements(self) -> int:
        """Elements in all."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def tensor_bytes(self) -> int:
        """Bytes of its data, without the padding behind it."""
        columns = self.shape[0] if self.shape else 1
        return self.kind.row_bytes(columns) * (self.elements // max(columns, 1))


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself."""

    metadata: Mapping[str, Any]
    """Scalars, short strings and short arrays; of the vocabulary only its length, under "<key>#length"."""
    tensors: tuple[GgufTensor, ...]
    header_bytes: int
    """Where the data begins; 0: only the hyper-parameters were read."""
    whole: bool
    """Whether the tensor list was read."""

    @cached_property
    def architecture(self) -> Architecture:
        """The hyper-parameters."""
        return architecture_of(self.metadata, self.tensors if self.whole else None)

    @cached_property
    def tensors_bytes(self) -> int:
        """Bytes of all tensors, padding included."""
        return self.end_bytes - self.header_bytes

    @cached_property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @cached_property
    def end_bytes(self) -> int:
        """How long the file must be to hold every tensor."""
        ends = [self.header_bytes + tensor.offset + tensor.tensor_bytes for tensor in self.tensors]
        return max(ends, default=self.header_bytes)

    @property
    def parts(self) -> int:
        """Files that the model is split into."""
        count = self.metadata.get("split.count")
        return count if isinstance(count, int) and count > 0 else 1

    @property
    def chat_template(self) -> str | None:
        """The template in the weights; None: there is none."""
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None


class _Short(Exception):
    """More bytes are needed: up to this position."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class _Cursor:
    """Reads a growing buffer from its start; asks for more by raising _Short."""

    def __init__(self, data: bytes | memoryview, file_bytes: int | None) -> None:
        self.data = data
        self.at = 0
        self.limit = min(MAX_HEADER_BYTES, file_bytes if file_bytes is not None else MAX_HEADER_BYTES)

    def need(self, count: int) -> int:
        """Make sure that count bytes follow, and step over them; where they start."""
        start = self.at
        stop = start + count
        if stop > self.limit:
            raise CutOff(f"the GGUF header claims {count:,} bytes at {start:,}, beyond what the file can hold")
        if stop > len(self.data):
            raise _Short(stop)
        self.at = stop
        return start

    def number(self, code: struct.Struct) -> Any:
        """One number."""
        start = self.need(code.size)
        return code.unpack_from(self.data, start)[0]

    def text(self, most: int, what: str) -> str:
        """A string of at most so many bytes."""
        length = self.number(_U64)
        if length > most:
            raise BadWeights(f"the GGUF header has {what} of {length:,} bytes; at most {most:,} are allowed")
        start = self.need(length)
        return bytes(self.data[start : start + length]).decode("utf-8", "replace")


def _value(cursor: _Cursor, kind: int, depth: int = 0) -> tuple[Any, int | None]:
    """A value, and its length where it is an array; None for what is skipped."""
    if kind in _SCALARS:
        return cursor.number(_SCALARS[kind]), None
    if kind == _STRING:
        length = cursor.number(_U64)
        start = cursor.need(length)
        if length > MAX_KEPT_BYTES:
            return None, None
        return bytes(cursor.data[start : start + length]).decode("utf-8", "replace"), None
    if kind != _ARRAY:
        raise BadWeights(f"the GGUF header has a value of unknown type {kind}")
    if depth >= MAX_DEPTH:
        raise BadWeights("the GGUF header nests arrays too deeply")
    inner = cursor.number(_U32)
    count = cursor.number(_U64)
    if count > MAX_ELEMENTS:
        raise BadWeights(f"the GGUF header has an array of {count:,} elements")
    if inner in _SCALARS:
        code = _SCALARS[inner]
        start = cursor.need(code.size * count)
        if count > MAX_KEPT_ELEMENTS:
            return None, count
        return tuple(value for (value,) in code.iter_unpack(bytes(cursor.data[start : cursor.at]))), count
    if inner == _STRING and count > MAX_KEPT_ELEMENTS:
        _skip_strings(cursor, count)
        return None, count
    if inner not in {_STRING, _ARRAY}:
        raise BadWeights(f"the GGUF header has an array of unknown type {inner}")
    return tuple(_value(cursor, inner, depth + 1)[0] for _ in range(count)), count


def _skip_strings(cursor: _Cursor, count: int) -> None:
    """Step over a vocabulary: 262,144 strings in some 40 ms."""
    data, at, length_of = cursor.data, cursor.at, _U64.unpack_from
    end = len(data)
    try:
        for _ in range(count):
            at += 8 + length_of(data, at)[0]
            if at > end:
                break
    except struct.error:
        at += 8
    if at > end:
        if at > cursor.limit:
            raise BadWeights("the GGUF header has a string that ends beyond the file")
        raise _Short(at)
    cursor.at = at


def _parse(cursor: _Cursor, stop_at_vocabulary: bool) -> GgufHeader:
    cursor.at = 0
    start = cursor.need(24)
    if bytes(cursor.data[start : start + 4]) != MAGIC:
        raise BadWeights("this is no GGUF file: it does not begin with GGUF")
    version = _U32.unpack_from(cursor.data, 4)[0]
    if version not in {2, 3}:
        what = "big-endian" if version >> 16 else f"version {version}"
        raise BadWeights(f"GGUF files of this kind ({what}) cannot be read; versions 2 and 3 can")
    tensor_count, pair_count = struct.unpack_from("<QQ", cursor.data, 8)
    # A tensor takes at least 24 bytes of header, a pair 13.
    if tensor_count > MAX_TENSORS or tensor_count * 24 > cursor.limit:
        raise CutOff(
            f"the GGUF header claims {tensor_count:,} tensors, more than the file can hold: cut off, or damaged"
        )
    if pair_count > MAX_PAIRS or pair_count * 13 > cursor.limit:
        raise CutOff(f"the GGUF header claims {pair_count:,} keys, more than the file can hold: cut off, or damaged")
    metadata: dict[str, Any] = {}
    for _ in range(pair_count):
        key = cursor.text(MAX_KEY_BYTES, "a key")
        kind = cursor.number(_U32)
        if stop_at_vocabulary and key == "tokenizer.ggml.tokens" and kind == _ARRAY:
            cursor.number(_U32)
            metadata[f"{key}#length"] = cursor.number(_U64)
            return GgufHeader(metadata, (), 0, False)
        value, length = _value(cursor, kind)
        if value is not None:
            metadata[key] = value
        if length is not None:
            metadata[f"{key}#length"] = length
    if stop_at_vocabulary:
        return GgufHeader(metadata, (), 0, False)
    return _with_tensors(cursor, metadata, tensor_count)


def _with_tensors(cursor: _Cursor, metadata: dict[str, Any], count: int) -> GgufHeader:
    tensors: list[GgufTensor] = []
    for _ in range(count):
        name = cursor.text(MAX_NAME_BYTES, "a tensor's name")
        dimensions = cursor.number(_U32)
        if dimensions > 4:
            raise BadWeights(f"tensor {name[:64]!r} of the GGUF header has {dimensions} dimensions")
        start = cursor.need(8 * dimensions)
        shape = struct.unpack_from(f"<{dimensions}Q", cursor.data, start)
        start = cursor.need(12)
        type_id, offset = struct.unpack_from("<IQ", cursor.data, start)
        kind = TYPES_BY_ID.get(type_id)
        if kind is None:
            raise BadWeights(f"tensor {name[:64]!r} has type {type_id}, which this version does not know")
        elements = 1
        for length in shape:
            elements *= length
        if elements >= 1 << 50 or offset >= 1 << 50:
            raise BadWeights(f"tensor {name[:64]!r} of the GGUF header is larger than any disk")
        tensors.append(GgufTensor(name, shape, kind, offset))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise BadWeights("the GGUF header has an alignment that makes no sense")
    return GgufHeader(metadata, tuple(tensors), -(-cursor.at // alignment) * alignment, True)


def read_header(source: Path | str | RangeReader, *, file_bytes: int | None = None, whole: bool = True) -> GgufHeader:
    """The header of a GGUF file.

    Args:
        source: a file, or a reader of ranges.
        file_bytes: the file's length where the source is a reader and it is known.
        whole: False reads the hyper-parameters only, which stand before the vocabulary: at most three ranges and
            512 KB in all.

    Raises:
        BadWeights: it is no GGUF file, cut off within its header, or makes claims that cannot be.
    """
    if isinstance(source, (str, Path)):
        return _read_file(Path(source), whole)
    return _read_ranges(source, file_bytes, whole)


def _read_file(path: Path, whole: bool) -> GgufHeader:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            data = b""
            want = 1 << 20 if not whole else 8 << 20
            while True:
                data += file.read(want - len(data))
                try:
                    return _parse(_Cursor(data, size), not whole)
                except _Short as short:
                    if len(data) < want:
                        raise CutOff("it is cut off within its header") from None
                    want = max(2 * want, short.position)
    except OSError as error:
        raise BadWeights(f"{path} cannot be read: {error.strerror or error}") from error
    except BadWeights as error:
        raise type(error)(f"{path.name}: {error}") from error


def _read_ranges(read: RangeReader, file_bytes: int | None, whole: bool) -> GgufHeader:
    data = b""
    ends = list(FIRST_READS) if not whole else [1 << 20, 12 << 20, 32 << 20, 64 << 20, MAX_HEADER_BYTES]
    wanted = 0
    for end in ends:
        if end < wanted:
            continue
        stop = end if file_bytes is None else min(end, file_bytes)
        piece = read(len(data), stop)
        data += piece
        try:
            return _parse(_Cursor(data, file_bytes), not whole)
        except _Short as short:
            wanted = short.position
            if len(data) < stop or stop == file_bytes:
                raise CutOff("the GGUF file is cut off within its header") from None
    if whole:
        raise BadWeights("the GGUF header is larger than any that is published")
    raise BadWeights(f"the hyper-parameters do not stand in the first {FIRST_READS[-1] >> 10} KiB of the GGUF file")


def check_length(path: Path, header: GgufHeader) -> None:
    """Raise BadWeights when the file ends before its last tensor does."""
    size = path.stat().st_size
    if size < header.end_bytes:
        missing = header.end_bytes - size
        raise CutOff(f"{path.name} is cut off: {missing:,} of {header.end_bytes:,} bytes are missing")


_FIELDS: Final = {
    "block_count": "block_count",
    "embedding_length": "embedding_length",
    "expert_count": "expert_count",
    "expert_used_count": "expert_used_count",
    "expert_feed_forward_length": "expert_feed_forward_length",
    "expert_shared_feed_forward_length": "expert_shared_feed_forward_length",
    "leading_dense_block_count": "leading_dense_block_count",
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.q_lora_rank": "q_lora_rank",
    "rope.dimension_count": "rope_dimension_count",
    "attention.sliding_window": "sliding_window",
    "full_attention_interval": "full_attention_interval",
    "ssm.conv_kernel": "ssm_conv_kernel",
    "ssm.state_size": "ssm_state_size",
    "ssm.group_count": "ssm_group_count",
    "ssm.inner_size": "ssm_inner_size",
}
"""Metadata keys without their prefix, and our names for them."""

_PER_LAYER: Final = {
    "feed_forward_length": "feed_forward_length",
    "attention.head_count": "head_count",
    "attention.head_count_kv": "head_count_kv",
}


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40:
        return value
    return None


def architecture_of(metadata: Mapping[str, Any], tensors: tuple[GgufTensor, ...] | None) -> Architecture:
    """The hyper-parameters in a header's metadata; tensors tell whether the output matrix is the embedding."""
    name = metadata.get("general.architecture")
    if not isinstance(name, str):
        raise BadWeights("the GGUF header does not name its architecture")
    prefix = f"{name}."
    own = {key[len(prefix) :]: value for key, value in metadata.items() if key.startswith(prefix)}
    values: dict[str, Any] = {}
    for key, field in _FIELDS.items():
        number = _count(own.pop(key, None))
        if number is not None:
            values[field] = number
    for key, field in _PER_LAYER.items():
        value = own.pop(key, None)
        if (isinstance(value, tuple) and all(_count(item) is not None for item in value)) or _count(value) is not None:
            values[field] = value
    # With latent attention the plain keys hold the latent row, and _mla the heads as the model has them.
    for key, field in (("attention.key_length", "key_length"), ("attention.value_length", "value_length")):
        plain, latent = _count(own.pop(key, None)), _count(own.pop(f"{key}_mla", None))
        if latent or plain:
            values[field] = latent or plain
        if values.get("kv_lora_rank") and plain and not latent:
            # Converted before April 2025: llama.cpp then keeps each head's own keys and values.
            own[EXPANDED_KEY] = True
    words = _count(own.pop("vocab_size", None)) or _count(metadata.get("tokenizer.ggml.tokens#length"))
    if words:
        values["vocab_size"] = words
    pattern = own.get("attention.sliding_window_pattern")
    if _count(pattern):
        values["sliding_window_pattern"] = pattern
    predicted = _count(own.get("nextn_predict_layers"))
    if predicted and name not in GUESSING and values.get("block_count", 0) > predicted:
        # Blocks that guess further tokens stand at the end; they have no cache in an ordinary context.
        values["block_count"] -= predicted
    if tensors is not None:
        names = {tensor.name for tensor in tensors}
        values["tied_embeddings"] = "output.weight" not in names
        embedding = next((tensor for tensor in tensors if tensor.name == "token_embd.weight"), None)
        if embedding is not None and len(embedding.shape) == 2:
            values["vocab_size"] = embedding.shape[1]
    architecture = Architecture(architecture=name, extra=own, **values)
    found = contradiction(architecture)
    if found is not None:
        raise BadWeights(f"the GGUF header contradicts itself: expected {found[1]}")
    return architecture
