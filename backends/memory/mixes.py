"""The type that llama.cpp's quantizer chooses for each tensor of a mix.

A faithful reading of llama_tensor_get_type, tensor_allows_quantization and tensor_type_fallback in src/llama-quant.cpp
of llama.cpp as llama-cpp-python 0.3.36 carries it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from backends.memory.kv_cache import APART, per_layer
from backends.memory.tensors import Tensor, has_shared_expert, is_tied, name_of
from specs.formats import MIX_BASE_TYPES, TENSOR_TYPES, Quantization
from specs.model import Architecture

NEVER_QUANTIZED: Final = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "position_embd.weight", "token_types.weight", "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight",
    "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight",
    "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight",
    "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "attn_rel_b.weight",
)  # fmt: skip
"""Parts of the names of matrices that stay as they are."""

CATEGORIES: Final = (
    ("attn_qkv.weight", "qkv"),
    ("attn_kv_b.weight", "kv_b"),
    ("attn_v.weight", "v"),
    ("attn_k.weight", "k"),
    ("attn_q.weight", "q"),
    ("attn_output.weight", "attn_output"),
    ("ffn_up", "up"),
    ("ffn_gate", "gate"),
    ("ffn_down", "down"),
)
SMALL_IQ: Final = frozenset({"IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ2_S", "IQ2_M", "IQ1_M"})
FALLBACKS: Final = {
    "IQ1_S": "IQ4_NL", "IQ1_M": "IQ4_NL", "IQ2_XXS": "IQ4_NL", "IQ2_XS": "IQ4_NL", "IQ2_S": "IQ4_NL",
    "IQ3_XXS": "IQ4_NL", "IQ3_S": "IQ4_NL", "IQ4_XS": "IQ4_NL", "Q2_0": "Q4_0", "Q2_K": "Q4_0", "Q3_K": "Q4_0",
    "TQ1_0": "Q4_0", "TQ2_0": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip
"""What a row that is no multiple of 256 becomes."""


NEW_FUSED_RULE: Final = frozenset({"qwen35", "qwen35moe"})
"""Architectures of after spring 2026, when llama.cpp began to treat attn_qkv like attn_v.

Published files of the older ones were made by the older rule, which gave attn_qkv one type for all blocks.
"""


@dataclass(frozen=True, slots=True)
class Model:
    """What the quantizer looks at beside a tensor's name."""

    name: str
    blocks: int
    experts: int
    gqa: int
    """Query heads for each KV head."""
    seventy: bool
    """Whether it counts as the 70B model."""
    tied: bool
    values: int
    """attn_v-like tensors in all."""
    dense: int = 0
    """Blocks before the first one with experts."""
    shared: bool = False
    """Whether the blocks with experts have a shared one beside them, with an ffn_down of its own."""


def model_of(architecture: Architecture, values: int) -> Model:
    """The quantizer's view of an architecture."""
    heads = per_layer(architecture.head_count, 0) or 1
    heads_kv = per_layer(architecture.head_count_kv, 0)
    heads_kv = heads if heads_kv is None else heads_kv
    name = name_of(architecture)
    blocks = architecture.block_count or 1
    seventy = blocks == 80 and (name == "qwen2" or (name in {"llama", "deci", "olmo"} and heads != heads_kv))
    return Model(
        name,
        blocks,
        architecture.expert_count or 0,
        heads // heads_kv if heads_kv else 0,
        seventy,
        is_tied(architecture),
        values,
        architecture.leading_dense_block_count or 0,
        has_shared_expert(architecture),
    )


def downs_before(model: Model, layer: int, name: str) -> int:
    """How many ffn_down tensors stand before this one, which the smallest mixes count instead of blocks."""
    if not model.shared or layer < model.dense:
        return layer
    return 2 * layer - model.dense + ("shexp" in name)


def counted_block(architecture: Architecture, layer: int) -> int:
    """The number by which the quantizer takes a block's feed-forward: it counts those that there are.

    With experts it reads the block's own number. Source: layer_info of llama-quant.cpp.
    """
    if name_of(architecture) not in APART or architecture.expert_count:
        return layer
    return sum(1 for index in range(layer) if per_layer(architecture.feed_forward_length, index))


@lru_cache(maxsize=512)
def category(name: str) -> str:
    """The broad kind of a tensor, by its name."""
    if name == "output.weight":
        return "output"
    if name in {"token_embd.weight", "per_layer_token_embd.weight"}:
        return "embedding"
    return next((kind for part, kind in CATEGORIES if part in name), "other")


def is_quantized(tensor: Tensor) -> bool:
    """Whether the quantizer touches this tensor."""
    return tensor.dimensions >= 2 and _may_be_quantized(tensor.name)


@lru_cache(maxsize=512)
def _may_be_quantized(name: str) -> bool:
    return name.endswith("weight") and not any(part in name for part in NEVER_QUANTIZED)


KEPT_AT_16_BITS: Final = ("altup_", "laurel_", "per_layer_model_proj")
"""Matrices that stay as they are and that the converter does not widen: Gemma 3n's."""


def kept_type(tensor: Tensor) -> str:
    """The type of a tensor that the quantizer does not touch."""
    narrow = tensor.dimensions > 1 and any(part in tensor.name for part in KEPT_AT_16_BITS)
    return "BF16" if narrow else "F32"


def more_bits(layer: int, layers: int) -> bool:
    """The layers that `_M` mixes raise: the first and last eighth, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def asked_of_model(model: Model) -> tuple[bool, ...]:
    """The answers to everything that the rules below ask of a model, its blocks' numbers apart."""
    return (
        model.name == "falcon",
        model.name in NEW_FUSED_RULE,
        model.experts == 8,
        model.experts >= 4,
        model.gqa >= 4,
        model.seventy,
    )


def asked_of_block(model: Model, layer: int, value: int) -> tuple[object, ...]:
    """The answers to everything that they ask of a block's number and of the attn_v-like tensors before it."""
    eighth = model.blocks // 8
    return (
        layer < model.blocks // 16,
        layer < eighth,
        layer >= 7 * model.blocks // 8,
        more_bits(layer, model.blocks),
        min(value, 4),
        more_bits(value, model.values),
        downs_before(model, layer, "") < eighth,
        downs_before(model, layer, "shexp") < eighth,
    )


_ASKED_FOR: Final = {
    "v": slice(4, 6),
    "qkv": slice(4, 6),
    "kv_b": slice(4, 6),
    "gate": slice(1, 3),
    "up": slice(1, 3),
    "down": slice(None),
}
"""Which of these answers the rules ask for a tensor of this category; for the others none."""


def asked_for(kind: str, answers: tuple[object, ...]) -> tuple[object, ...]:
    """Those of a block's answers that the rules ask for a tensor of this category."""
    return answers[_ASKED_FOR.get(kind, slice(0))]


def asked_of_tensor(tensor: Tensor, kind: str) -> tuple[object, ...]:
    """The answers to everything that they ask of a block's tensor."""
    return kind, tensor.experts > 1, "shexp" in tensor.name


def tensor_type(
    tensor: Tensor, kind: str, mix: str, model: Model, quantization: Quantization, imatrix: bool, layer: int, value: int
) -> str:
    """The type of one tensor.

    Args:
        tensor: its name and shape.
        kind: its category.
        mix: llama.cpp's name of the mix.
        model: what the rules ask of the model.
        quantization: an uploader's own choice for embeddings, output and attention.
        imatrix: whether an importance matrix was given.
        layer: the block's number.
        value: how many attn_v-like tensors stood before.
    """
    if not is_quantized(tensor):
        return kept_type(tensor)
    return fitting_type(tensor, wanted_type(tensor, kind, mix, model, quantization, imatrix, layer, value))


def wanted_type(
    tensor: Tensor, kind: str, mix: str, model: Model, quantization: Quantization, imatrix: bool, layer: int, value: int
) -> str:
    """The type that a mix wants for a tensor that the quantizer touches, whether or not its rows allow it."""
    if quantization.embedding_type and kind in {"embedding", "output"}:
        return quantization.embedding_type
    if quantization.attention_type and kind in {"q", "k", "v", "qkv", "attn_output"}:
        return quantization.attention_type
    base = MIX_BASE_TYPES[mix]
    if base in {"F32", "F16", "BF16"}:
        return base
    return _chosen(tensor, kind, mix, base, model, imatrix, layer, value)


def fitting_type(tensor: Tensor, wanted: str) -> str:
    """The type wanted, or what stands for it where a row is no whole number of its blocks."""
    if tensor.columns % TENSOR_TYPES[wanted].block_elements == 0:
        return wanted
    smaller = FALLBACKS.get(wanted, wanted)
    return smaller if tensor.columns % TENSOR_TYPES[smaller].block_elements == 0 else "F16"


def _chosen(tensor: Tensor, kind: str, mix: str, base: str, model: Model, imatrix: bool, layer: int, value: int) -> str:
    eight = model.experts == 8
    if kind == "output" or (model.tied and kind == "embedding"):
        if mix == "MXFP4_MOE" or model.name == "falcon" or tensor.columns % TENSOR_TYPES[base].block_elements:
            return "Q8_0"
        if mix in SMALL_IQ or mix == "IQ3_XXS":
            return "Q5_K"
        return base if base == "Q8_0" else "Q6_K"
    if mix == "MXFP4_MOE":
        return "MXFP4" if tensor.experts > 1 else "Q8_0"
    if kind == "embedding":
        return {
            "IQ2_XXS": "Q2_K", "IQ2_XS": "Q2_K", "IQ1_S": "Q2_K", "IQ1_M": "Q2_K", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S",
            "IQ3_XXS": "IQ3_S", "TQ1_0": "Q4_K", "TQ2_0": "Q4_K", "Q2_0": "Q4_K",
        }.get(mix, base)  # fmt: skip
    if mix in SMALL_IQ:
        return _small_iq(kind, mix, base, model, downs_before(model, layer, tensor.name))
    if kind == "qkv" and model.name not in NEW_FUSED_RULE:
        return {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "IQ3_M": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}.get(mix, base)
    if kind in {"v", "qkv", "kv_b"}:
        return _value(mix, base, model, imatrix, value)
    if kind == "k" and eight:
        return "Q8_0"
    if kind in {"k", "q"}:
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mix, base)
    if kind == "down":
        return _down(mix, base, model, imatrix, layer)
    if kind == "attn_output":
        return _attention_output(mix, base, model)
    if kind in {"gate", "up"} and mix == "IQ3_XS" and model.blocks // 8 <= layer < 7 * model.blocks // 8:
        return "IQ3_XXS"
    return base


def _small_iq(kind: str, mix: str, base: str, model: Model, downs: int) -> str:
    higher = "IQ3_S" if mix in {"IQ2_S", "IQ2_M"} else "Q2_K"
    if kind == "v" or (kind in {"qkv", "kv_b"} and model.name in NEW_FUSED_RULE):
        return "Q4_K" if model.gqa >= 4 or model.experts >= 4 else higher
    if kind == "k" and model.experts == 8:
        return "Q4_K"
    if kind == "down":
        return higher if downs < model.blocks // 8 else base
    if kind == "attn_output":
        if model.experts == 8:
            return "Q5_K"
        if mix in {"IQ1_S", "IQ1_M"}:
            return "IQ2_XXS"
        if mix in {"IQ2_S", "IQ2_M"}:
            return "IQ3_S"
    return base


def _value(mix: str, base: str, model: Model, imatrix: bool, value: int) -> str:
    grouped = model.gqa >= 4
    chosen = base
    if mix == "Q2_K":
        chosen = "Q4_K" if grouped else "Q3_K"
    elif mix == "Q2_K_S" and grouped:
        chosen = "Q4_K"
    elif mix == "IQ3_XXS":
        chosen = "Q4_K" if grouped else "IQ3_XXS" if imatrix else "IQ3_S"
    elif (mix in {"IQ3_XS", "IQ3_S"} and grouped) or mix == "IQ3_M":
        chosen = "Q4_K"
    elif mix == "Q3_K_M":
        chosen = "Q5_K" if value < 2 else "Q4_K"
    elif mix == "Q3_K_L" or (mix in {"IQ4_NL", "IQ4_XS"} and grouped):
        chosen = "Q5_K"
    elif mix in {"Q4_K_M", "Q5_K_M"} and more_bits(value, model.values):
        chosen = "Q6_K"
    elif mix == "Q4_K_S" and value < 4:
        chosen = "Q5_K"
    if model.seventy and chosen in {"Q3_K", "Q4_K"}:
        chosen = "Q5_K"
    return "Q8_0" if model.experts == 8 else chosen


def _down(mix: str, base: str, model: Model, imatrix: bool, layer: int) -> str:
    blocks = model.blocks
    early = layer < blocks // 8
    falcon = model.name == "falcon"
    if mix == "Q2_K":
        return "Q3_K"
    if mix == "Q2_K_S":
        return "Q4_K" if early else base
    if mix == "IQ3_XXS" and not imatrix:
        return "Q4_K" if early else "Q3_K"
    if mix == "Q3_K_M":
        if layer < blocks // 16:
            return "Q5_K"
        return "Q4_K" if not falcon or more_bits(layer, blocks) else "Q3_K"
    if mix == "IQ3_M":
        return "Q4_K" if early or (model.experts == 8 and more_bits(layer, blocks)) else base
    if mix == "Q3_K_L":
        return "Q4_K" if falcon else "Q5_K"
    if mix == "Q4_K_M":
        if falcon:
            return "Q6_K" if layer < blocks // 16 else "Q5_K" if more_bits(layer, blocks) else "Q4_K"
        return "Q6_K" if more_bits(layer, blocks) else base
    if mix in {"IQ4_NL", "IQ4_XS"}:
        return "Q5_K" if early and not imatrix else base
    if mix == "Q5_K_M":
        return "Q6_K" if more_bits(layer, blocks) else base
    if mix == "Q4_K_S":
        return "Q5_K" if early and not falcon else base
    if mix in {"Q4_0", "Q5_0"} and imatrix and early:
        return "Q4_1" if mix == "Q4_0" else "Q5_1"
    return base


def _attention_output(mix: str, base: str, model: Model) -> str:
    if model.name == "falcon":
        return "Q4_K" if mix == "Q3_K_L" else base
    if model.experts == 8:
        raised = {
            "Q2_K",
            "IQ3_XS",
            "IQ3_XXS",
            "Q3_K_S",
            "Q3_K_M",
            "IQ4_NL",
            "Q4_K_S",
            "Q4_K_M",
            "IQ3_S",
            "IQ3_M",
            "IQ4_XS",
        }
        return "Q5_K" if mix in raised else base
    return {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}.get(mix, base)
