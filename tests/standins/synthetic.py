"""GGUF files without weights, of any architecture that the estimators know: a header in a sparse file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf_writer

from backends.memory.gguf_size import tensor_bytes
from backends.memory.kv_cache import is_latent, per_layer
from backends.memory.mixes import category, counted_block, model_of, tensor_type
from backends.memory.tensors import block_tensors, name_of, outer_tensors
from specs.formats import TENSOR_TYPES, parse_quantization
from specs.model import Architecture

_KEYS = {
    "expert_count": "expert_count",
    "expert_used_count": "expert_used_count",
    "expert_feed_forward_length": "expert_feed_forward_length",
    "expert_shared_feed_forward_length": "expert_shared_feed_forward_length",
    "leading_dense_block_count": "leading_dense_block_count",
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.q_lora_rank": "q_lora_rank",
    "attention.sliding_window": "sliding_window",
    "full_attention_interval": "full_attention_interval",
    "ssm.conv_kernel": "ssm_conv_kernel",
    "ssm.state_size": "ssm_state_size",
    "ssm.group_count": "ssm_group_count",
    "ssm.inner_size": "ssm_inner_size",
    "rope.dimension_count": "rope_dimension_count",
}
_ROUTER_BIAS = ("glm4moe", "minimax-m3")
"""Architectures that want a bias of the router, which is too small to count in a file's size."""
_SECOND_NORM_AFTER_ATTENTION = ("gpt-oss", "qwen35", "qwen35moe", "qwen3next", "glm4moe")


def metadata(architecture: Architecture, context: int = 131_072) -> dict[str, Any]:
    """The keys that llama.cpp asks of such a file."""
    name = name_of(architecture)
    heads_kv = architecture.head_count_kv
    keys: dict[str, Any] = {
        "general.architecture": name,
        "tokenizer.ggml.model": "no_vocab",
        f"{name}.context_length": context,
        f"{name}.block_count": architecture.block_count,
        f"{name}.embedding_length": architecture.embedding_length,
        f"{name}.attention.head_count": architecture.head_count,
        f"{name}.attention.head_count_kv": architecture.head_count if heads_kv is None else heads_kv,
        f"{name}.vocab_size": architecture.vocab_size,
        f"{name}.attention.layer_norm_rms_epsilon": 1e-6,
        f"{name}.attention.layer_norm_epsilon": 1e-6,
    }
    if architecture.feed_forward_length:
        keys[f"{name}.feed_forward_length"] = architecture.feed_forward_length
    if is_latent(architecture):
        latent = (architecture.kv_lora_rank or 0) + (architecture.rope_dimension_count or 64)
        keys |= {
            f"{name}.attention.key_length": latent,
            f"{name}.attention.value_length": architecture.kv_lora_rank,
            f"{name}.attention.key_length_mla": architecture.key_length,
            f"{name}.attention.value_length_mla": architecture.value_length,
            f"{name}.attention.head_count_kv": 1,
        }
    elif architecture.key_length:
        keys[f"{name}.attention.key_length"] = architecture.key_length
        keys[f"{name}.attention.value_length"] = architecture.value_length or architecture.key_length
    for key, field in _KEYS.items():
        value = getattr(architecture, field)
        if value:
            keys[f"{name}.{key}"] = value
    for key, value in architecture.extra.items():
        keys[f"{name}.{key}"] = value
    return keys


def _real_name(name: str, part: str) -> str:
    second = "post_attention_norm" if name in _SECOND_NORM_AFTER_ATTENTION else "ffn_norm"
    norms = ["attn_norm", second, "post_attention_norm", "post_ffw_norm"]
    if name in {"olmo2", "exaone4"}:
        norms = ["post_attention_norm", "post_ffw_norm"]
    for number, real in enumerate(norms):
        if part.startswith(f"norm_{number}_norm."):
            return part.replace(f"norm_{number}_norm", real)
    return part


def tensors(architecture: Architecture, mix: str) -> list[tuple[str, tuple[int, ...], int, int]]:
    """Names, shapes, types and bytes as llama-quantize would write them."""
    quantization = parse_quantization("ggufv2", mix)
    assert quantization.mix is not None
    blocks = [block_tensors(architecture, index) for index in range(architecture.block_count or 0)]
    alike = {"v", "qkv", "kv_b"}
    values = sum(1 for block in blocks for tensor in block if category(tensor.name) in alike)
    model = model_of(architecture, values)
    found = []
    value = 0
    for index, block in enumerate([outer_tensors(architecture), *blocks], start=-1):
        layer = counted_block(architecture, max(index, 0))
        for tensor in block:
            kind = category(tensor.name)
            chosen = tensor_type(tensor, kind, quantization.mix, model, quantization, False, layer, value)
            if index >= 0 and kind in alike:
                value += 1
            if tensor.dimensions == 1:
                shape: tuple[int, ...] = (tensor.columns,)
                if "exps.bias" in tensor.name:
                    experts = architecture.expert_count or 1
                    shape = (tensor.columns // experts, experts)
            elif tensor.dimensions == 2:
                shape = (tensor.columns, tensor.rows)
            else:
                shape = (tensor.columns, tensor.rows // tensor.experts, tensor.experts)
            name = tensor.name if index < 0 else f"blk.{index}.{_real_name(name_of(architecture), tensor.name)}"
            found.append((name, shape, TENSOR_TYPES[chosen].ggml_id, tensor_bytes(tensor, chosen)))
            if tensor.name == "ffn_gate_inp.weight" and name_of(architecture) in _ROUTER_BIAS:
                bias = (f"blk.{index}.exp_probs_b.bias", (tensor.rows,), TENSOR_TYPES["F32"].ggml_id, 4 * tensor.rows)
                found.append(bias)
    return found


def write(architecture: Architecture, path: Path, mix: str = "Q4_K_M") -> Path:
    """A file as long as the real one would be, sparse behind its header."""
    assert per_layer(architecture.head_count, 0)
    return gguf_writer.write(path, metadata(architecture), tensors(architecture, mix))
