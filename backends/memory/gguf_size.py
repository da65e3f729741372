"""Bytes of a GGUF file and of its parts, from the architecture and the mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import getitem, mul
from typing import Final, NamedTuple

from backends.collector import let_go
from backends.memory.mixes import (
    Model,
    asked_for,
    asked_of_block,
    asked_of_model,
    asked_of_tensor,
    category,
    counted_block,
    fitting_type,
    is_quantized,
    kept_type,
    model_of,
    wanted_type,
)
from backends.memory.tensors import Tensor, block_signature, block_tensors, like_blocks, name_of, outer_tensors
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


class _Sizes(dict[str, int]):
    """Bytes of one tensor by the type that is wanted for it, as they are asked for."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __missing__(self, wanted: str) -> int:
        size = self[wanted] = tensor_bytes(self.tensor, fitting_type(self.tensor, wanted))
        return size


class _Block(NamedTuple):
    """The tensors of blocks that have the same ones."""

    touched: tuple[Tensor, ...]
    """Those that the quantizer looks at."""
    sizes: tuple[_Sizes, ...]
    """Of each of them."""
    kept_bytes: int
    """All others, most of them 32 bits an element."""
    values: int
    """How many of them count as attn_v."""
    tensors: int


class _Mixed(NamedTuple):
    """The types that one mix wants in the blocks of an outline."""

    wanted: tuple[tuple[int, tuple[str, ...]], ...]
    """The kind of block with the types of its touched tensors, each pair once."""
    number_of: tuple[int, ...]
    """Of each block, which of the pairs it is."""
    counts: tuple[int, ...]
    """Blocks of each pair."""


_Mix = tuple[str, str | None, bool]
"""A mix by llama.cpp's name, an uploader's own choice for these tensors, and whether there was an importance matrix."""


class _Rule(dict[_Mix, str]):
    """The types wanted, by mix, for one tensor and for all others, of whatever model, that the rules see alike."""

    __slots__ = ("_asked",)

    def __init__(self, tensor: Tensor, model: Model, layer: int, value: int) -> None:
        self._asked = tensor, category(tensor.name), model, layer, value

    def learn(self, key: _Mix, quantization: Quantization) -> str:
        """The type under a mix that is met for the first time."""
        tensor, kind, model, layer, value = self._asked
        mix, _, imatrix = key
        found = self[key] = wanted_type(tensor, kind, mix, model, quantization, imatrix, layer, value)
        return found


class _Place:
    """A block that every mix treats like all others, of whatever model, that give the rules the same answers."""

    __slots__ = ("_rules", "types")

    def __init__(self, rules: tuple[_Rule, ...]) -> None:
        self._rules = rules
        """Of its touched tensors."""
        self.types: dict[_Mix, tuple[str, ...]] = {}
        """What is wanted for them, by mix."""

    def learn(self, key: _Mix, quantization: Quantization) -> tuple[str, ...]:
        """The types under a mix that is met for the first time."""
        found = self.types[key] = tuple([rule.get(key) or rule.learn(key, quantization) for rule in self._rules])
        return found


_rules: dict[tuple[object, ...], _Rule] = {}
_places: dict[tuple[object, ...], _Place] = {}


def _rules_of(
    touched: tuple[Tensor, ...], asked: tuple[bool, ...], answers: tuple[object, ...], model: Model, layer: int,
    value: int,
) -> tuple[_Rule, ...]:  # fmt: skip
    """The rules of a block's tensors, by what is asked of the model and the answers to what is asked of the block."""
    found: list[_Rule] = []
    for tensor in touched:
        kind = category(tensor.name)
        key = (asked, *asked_of_tensor(tensor, kind), *asked_for(kind, answers))
        rule = _rules.get(key)
        if rule is None:
            rule = _rules[key] = _Rule(tensor, model, layer, value)
        found.append(rule)
    return tuple(found)


class _Outline:
    """What the rules ask of a model's blocks, their sizes apart: models that differ only in these share it."""

    __slots__ = ("_class_of", "_classes", "_mixed")

    def __init__(
        self, model: Model, blocks: Sequence[_Block], signatures: tuple[object, ...], order: tuple[int, ...],
        layers: tuple[int, ...],
    ) -> None:  # fmt: skip
        asked = asked_of_model(model)
        values = tuple(one.values for one in blocks)
        numbers: dict[tuple[int, object], int] = {}
        self._classes: list[tuple[int, _Place]] = []
        """The kind of blocks that no mix sets apart, and how the rules see them."""
        class_of: list[int] = []
        value = 0
        for kind, layer in zip(order, layers, strict=True):
            answers = asked_of_block(model, layer, value)
            number = numbers.setdefault((kind, answers), len(numbers))
            if number == len(self._classes):
                key = (signatures[kind], asked, answers)
                place = _places.get(key)
                if place is None:
                    rules = _rules_of(blocks[kind].touched, asked, answers, model, layer, value)
                    place = _places[key] = _Place(rules)
                self._classes.append((kind, place))
            class_of.append(number)
            value += values[kind]
        self._class_of = tuple(class_of)
        self._mixed: dict[_Mix, _Mixed] = {}

    def mixed(self, mix: str, quantization: Quantization, imatrix: bool) -> _Mixed:
        """The types that a mix wants."""
        key = (mix, quantization.attention_type, imatrix)
        found = self._mixed.get(key)
        if found is None:
            numbers: dict[tuple[int, tuple[str, ...]], int] = {}
            number_of: list[int] = []
            for kind, place in self._classes:
                types = place.types.get(key) or place.learn(key, quantization)
                number_of.append(numbers.setdefault((kind, types), len(numbers)))
            blocks = tuple([number_of[number] for number in self._class_of])
            counts = tuple([blocks.count(number) for number in range(len(numbers))])
            found = self._mixed[key] = _Mixed(tuple(numbers), blocks, counts)
        return found


_outlines: dict[tuple[object, ...], _Outline] = {}
_MOST: Final = 4096
"""Plans, outlines, places, rules and sizes that are kept."""


class _Outer(NamedTuple):
    """A tensor outside the blocks that the quantizer looks at."""

    embeds: bool
    """Whether it is the token embedding."""
    sizes: _Sizes
    rule: _Rule


@dataclass(frozen=True, slots=True)
class _Plan:
    """What of a model's tensors is the same under every mix."""

    blocks: tuple[_Block, ...]
    """By kind."""
    outline: _Outline
    outer: tuple[_Outer, ...]
    outer_kept_bytes: int
    """All others outside the blocks, which no mix changes."""
    header_bytes: int


def _plan(architecture: Architecture) -> _Plan:
    count = architecture.block_count or 0
    kinds: dict[tuple[object, ...], int] = {}
    blocks: list[_Block] = []
    kind_of: dict[int, int] = {}
    likes = like_blocks(architecture)
    for layer in dict.fromkeys(likes):
        number = kind_of[layer] = kinds.setdefault(block_signature(architecture, layer), len(kinds))
        if number == len(blocks):
            blocks.append(_block(block_tensors(architecture, layer)))
    order = tuple([kind_of[layer] for layer in likes])
    model = model_of(architecture, sum([blocks[number].values for number in order]))
    layers = tuple([counted_block(architecture, index) for index in range(count)])
    signatures = tuple(
        tuple([asked_of_tensor(tensor, category(tensor.name)) for tensor in one.touched]) for one in blocks
    )
    outside = outer_tensors(architecture)
    outer = tuple([_outer(tensor, model) for tensor in outside if is_quantized(tensor)])
    outer_kept_bytes = sum([_kept_bytes(tensor) for tensor in outside if not is_quantized(tensor)])
    outline = _outline(model, blocks, signatures, order, layers)
    header = header_bytes(architecture, sum([blocks[number].tensors for number in order]) + len(outside))
    return _Plan(tuple(blocks), outline, outer, outer_kept_bytes, header)


def _outer(tensor: Tensor, model: Model) -> _Outer:
    kind = category(tensor.name)
    # Whether a row is a whole number of blocks, whatever the type: the largest have 256 elements.
    key = (asked_of_model(model), *asked_of_tensor(tensor, kind), model.tied, tensor.columns % 256)
    rule = _rules.get(key)
    if rule is None:
        rule = _rules[key] = _Rule(tensor, model, 0, 0)
    return _Outer(kind == "embedding", _sizes_of(tensor), rule)


def _outline(
    model: Model, blocks: Sequence[_Block], signatures: tuple[object, ...], order: tuple[int, ...],
    layers: tuple[int, ...],
) -> _Outline:  # fmt: skip
    key = (model, signatures, order, layers)
    found = _outlines.get(key)
    if found is None:
        if max(len(_outlines), len(_places), len(_rules)) > _MOST:
            _outlines.clear()
            _places.clear()
            _rules.clear()
        found = _outlines[key] = _Outline(model, blocks, signatures, order, layers)
    return found


def _block(tensors: tuple[Tensor, ...]) -> _Block:
    touched = tuple([tensor for tensor in tensors if is_quantized(tensor)])
    kept_bytes = sum([_kept_bytes(tensor) for tensor in tensors if not is_quantized(tensor)])
    values = sum([category(tensor.name) in VALUES for tensor in touched])
    return _Block(touched, tuple([_sizes_of(tensor) for tensor in touched]), kept_bytes, values, len(tensors))


_sizes: dict[tuple[int, int], _Sizes] = {}


def _sizes_of(tensor: Tensor) -> _Sizes:
    """The sizes of all tensors of this shape, whatever they are called."""
    key = (tensor.columns, tensor.rows)
    found = _sizes.get(key)
    if found is None:
        if len(_sizes) > _MOST:
            _sizes.clear()
        found = _sizes[key] = _Sizes(tensor)
    return found


def _kept_bytes(tensor: Tensor) -> int:
    return tensor_bytes(tensor, kept_type(tensor))


def forget() -> None:
    """Plan the next model as the first one."""
    for kept in (_planned, _plans, _outlines, _places, _rules, _sizes):
        let_go(kept)


_planned: dict[int, tuple[Architecture, _Plan]] = {}
"""By the architecture's id, which is found without asking for its figures; kept so that the id stays its own."""


_plans: dict[Architecture, _Plan] = {}


def _plan_of(architecture: Architecture) -> _Plan:
    found = _planned.get(id(architecture))
    if found is None:
        if len(_planned) > _MOST:
            let_go(_planned)
            let_go(_plans)
        plan = _plans.get(architecture)
        if plan is None:
            plan = _plans[architecture] = _plan(architecture)
        found = _planned[id(architecture)] = (architecture, plan)
    return found[1]


def _sized(plan: _Plan, mix: str, quantization: Quantization, imatrix: bool) -> tuple[_Mixed, list[int], int, int]:
    """The blocks of each pair of a mix with their sizes; bytes of the embedding and of all else outside them."""
    mixed = plan.outline.mixed(mix, quantization, imatrix)
    blocks = plan.blocks
    sizes = [blocks[kind].kept_bytes + sum(map(getitem, blocks[kind].sizes, types)) for kind, types in mixed.wanted]
    embedding, output = 0, plan.outer_kept_bytes
    key = (mix, quantization.embedding_type, imatrix)
    for embeds, sizes_by_type, rule in plan.outer:
        size = sizes_by_type[rule.get(key) or rule.learn(key, quantization)]
        if embeds:
            embedding += size
        else:
            output += size
    return mixed, sizes, embedding, output


def gguf_size(architecture: Architecture, quantization: Quantization, imatrix: bool = False) -> GgufSize | None:
    """Bytes of the file; None for a mix that nobody knows."""
    mix = quantization.mix
    if mix is None:
        return None
    plan = _plan_of(architecture)
    mixed, sizes_of, embedding, output = _sized(plan, mix, quantization, imatrix and quantization.imatrix is not False)
    sizes = tuple([sizes_of[number] for number in mixed.number_of])
    return GgufSize(embedding + output + sum(sizes), plan.header_bytes, embedding, output, sizes)


class GgufSums(NamedTuple):
    """Bytes of a GGUF file's parts without a number for each block."""

    tensors_bytes: int
    blocks_bytes: int
    embedding_bytes: int
    last_bytes: int
    largest_bytes: int
    blocks: int


def gguf_sums(architecture: Architecture, quantization: Quantization, imatrix: bool) -> GgufSums | None:
    """The same of gguf_size() for those who ask of thousands: blocks of one size are counted, not listed."""
    mix = quantization.mix
    if mix is None:
        return None
    mixed, sizes, embedding, output = _sized(
        _plan_of(architecture), mix, quantization, imatrix and quantization.imatrix is not False
    )
    blocks = mixed.number_of
    if not blocks:
        return GgufSums(embedding + output, 0, embedding, 0, 0, 0)
    total = sum(map(mul, sizes, mixed.counts))
    return GgufSums(embedding + output + total, total, embedding, sizes[blocks[-1]], max(sizes), len(blocks))
