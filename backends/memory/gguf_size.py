"""Bytes of a GGUF file and of its parts, from the architecture and the mix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from backends.memory.mixes import (
    Model,
    category,
    counted_block,
    downs_before,
    fitting_type,
    is_quantized,
    kept_type,
    model_of,
    more_bits,
    tensor_type,
    wanted_type,
)
from backends.memory.tensors import Tensor, block_signature, block_tensors, name_of, outer_tensors
from specs.formats import TENSOR_TYPES, Quantization
from specs.model import Architecture

ALIGNMENT: Final = 32
"""general.alignment's default: every tensor starts at a multiple of it."""

TENSOR_INFO_BYTES: Final = 64
"""Name, dimensions, type and offset of one tensor in the header, on the average."""

TOKENIZER_BYTES: Final[Mapping[int, int]] = {
    128_256: 7_820_000,
    151_936: 5_930_000,
    152_064: 5_930_000,
    32_000: 720_000,
    131_072: 7_400_000,
    151_552: 8_300_000,
    201_088: 13_000_000,
    202_048: 12_700_000,
    102_400: 4_300_000,
    129_280: 5_300_000,
    248_320: 10_000_000,
    256_000: 5_800_000,
    262_144: 6_500_000,
}
"""Tokens, scores or merges, and types in the header, by the size of the vocabulary."""

GEMMA4_TOKENIZER_BYTES: Final = 15_800_000
"""Gemma 4 counts as many words as Gemma 3 and carries half a million merges beside them."""

SENTENCEPIECE: Final = frozenset({"gemma", "gemma2", "gemma3", "gemma3n", "internlm2", "baichuan", "orion"})

SENTENCEPIECE_WORDS: Final = frozenset({32_768, 64_000, 92_544, 92_416})
"""Larger sentencepiece vocabularies of Llama-like models: Mistral v0.3, Yi, InternLM2."""


@dataclass(frozen=True, slots=True)
class GgufSize:
    """Bytes of a GGUF file's parts."""

    tensors_bytes: int
    header_bytes: int
    embedding_bytes: int
    """The token embedding."""
    output_bytes: int
    """Everything else outside the blocks."""
    block_bytes: tuple[int, ...]
    expert_bytes: int
    """Of the blocks' bytes, those of routed experts."""

    @property
    def file_bytes(self) -> int:
        """The whole file."""
        return self.tensors_bytes + self.header_bytes


def tokenizer_bytes(architecture: Architecture) -> int:
    """Bytes of the vocabulary in a header.

    A byte-pair vocabulary carries its merges beside its tokens, some 40 to 60 bytes a token; a sentencepiece one
    scores, some 22.
    """
    words = architecture.vocab_size or 0
    if name_of(architecture) == "gemma4":
        return GEMMA4_TOKENIZER_BYTES
    known = TOKENIZER_BYTES.get(words)
    if known is not None:
        return known
    name = name_of(architecture)
    if name in SENTENCEPIECE or (name in {"llama", "phi3"} and (words < 32_200 or words in SENTENCEPIECE_WORDS)):
        return words * 22
    return words * (35 if words < 60_000 else 45)


def header_bytes(architecture: Architecture, tensors: int) -> int:
    """Bytes before the first tensor: metadata, vocabulary, tensor infos."""
    size = 3_000 + tokenizer_bytes(architecture) + tensors * TENSOR_INFO_BYTES
    return -(-size // ALIGNMENT) * ALIGNMENT


def tensor_bytes(tensor: Tensor, kind: str) -> int:
    """Bytes of a tensor of this type, with the padding to the next one."""
    size = TENSOR_TYPES[kind].row_bytes(tensor.columns) * tensor.rows
    return -(-size // ALIGNMENT) * ALIGNMENT


VALUES: Final = frozenset({"v", "qkv", "kv_b"})
"""Categories that count as attn_v."""


class _Touched(NamedTuple):
    """A tensor that the quantizer looks at."""

    tensor: Tensor
    kind: str
    routed: bool
    """Whether it holds routed experts."""
    sizes: dict[str, int]
    """Its bytes by the type that was wanted for it, as they were asked for."""


@dataclass(frozen=True, slots=True)
class _Class:
    """Blocks that have the same tensors and get the same types under every mix."""

    touched: tuple[_Touched, ...]
    """Tensors that the quantizer looks at."""
    kept_bytes: int
    """All others, most of them 32 bits an element."""
    layer: int
    """The number of the first such block."""
    value: int
    """How many attn_v-like tensors stand before it."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What of a model's tensors is the same under every mix."""

    classes: tuple[_Class, ...]
    class_of: tuple[int, ...]
    """Class of each block."""
    model: Model
    tensors: int


@lru_cache(maxsize=4096)
def _plan(architecture: Architecture) -> _Plan:
    count = architecture.block_count or 0
    signatures = [block_signature(architecture, index) for index in range(count)]
    blocks: dict[tuple[object, ...], tuple[tuple[_Touched, ...], int, int, int]] = {}
    for layer, signature in enumerate(signatures):
        if signature in blocks:
            continue
        tensors = block_tensors(architecture, layer)
        touched = tuple(
            _Touched(tensor, category(tensor.name), tensor.experts > 1, {})
            for tensor in tensors
            if is_quantized(tensor)
        )
        kept_bytes = sum(tensor_bytes(tensor, kept_type(tensor)) for tensor in tensors if not is_quantized(tensor))
        values = sum(1 for one in touched if one.kind in VALUES)
        blocks[signature] = (touched, kept_bytes, values, len(tensors))
    values = sum(blocks[signature][2] for signature in signatures)
    model = model_of(architecture, values)
    classes: dict[tuple[object, ...], int] = {}
    firsts: list[_Class] = []
    class_of: list[int] = []
    value = 0
    for index, signature in enumerate(signatures):
        layer = counted_block(architecture, index)
        # Everything that the rules ask of a block's number, see mixes.
        asked = (
            layer < count // 16,
            layer < count // 8,
            layer >= 7 * count // 8,
            more_bits(layer, count),
            min(value, 4),
            more_bits(value, values),
            downs_before(model, layer, "") < count // 8,
            downs_before(model, layer, "shexp") < count // 8,
        )
        key = (signature, asked)
        touched, kept_bytes, theirs, _ = blocks[signature]
        if key not in classes:
            classes[key] = len(firsts)
            firsts.append(_Class(touched, kept_bytes, layer, value))
        class_of.append(classes[key])
        value += theirs
    return _Plan(tuple(firsts), tuple(class_of), model, sum(blocks[signature][3] for signature in signatures))


@lru_cache(maxsize=16_384)
def gguf_size(architecture: Architecture, quantization: Quantization, imatrix: bool = False) -> GgufSize | None:
    """Bytes of the file; None for a mix that nobody knows."""
    mix = quantization.mix
    if mix is None:
        return None
    imatrix = imatrix and quantization.imatrix is not False
    plan = _plan(architecture)
    model = plan.model
    sizes_of: list[int] = []
    experts_of: list[int] = []
    for one in plan.classes:
        total, experts = one.kept_bytes, 0
        for tensor, kind, routed, known in one.touched:
            wanted = wanted_type(tensor, kind, mix, model, quantization, imatrix, one.layer, one.value)
            size = known.get(wanted)
            if size is None:
                size = known[wanted] = tensor_bytes(tensor, fitting_type(tensor, wanted))
            total += size
            if routed:
                experts += size
        sizes_of.append(total)
        experts_of.append(experts)
    sizes = tuple(sizes_of[number] for number in plan.class_of)
    experts = sum(experts_of[number] for number in plan.class_of)
    count = plan.tensors
    outer = outer_tensors(architecture)
    embedding = output = 0
    for tensor in outer:
        kind = category(tensor.name)
        size = tensor_bytes(tensor, tensor_type(tensor, kind, mix, model, quantization, imatrix, 0, 0))
        if kind == "embedding":
            embedding += size
        else:
            output += size
    tensors_bytes = embedding + output + sum(sizes)
    return GgufSize(
        tensors_bytes,
        header_bytes(architecture, count + len(outer)),
        embedding,
        output,
        sizes,
        experts,
    )
