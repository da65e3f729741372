"""The shape of a model: its hyper-parameters made whole, with what they are known from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from backends.memory.estimate import Basis
from backends.memory.kv_cache import KvCache, kv_cache, per_layer
from backends.memory.tensors import expert_parameters
from specs.model import Architecture

TYPICAL: Final = (
    # billions of parameters, blocks, embedding length
    (0.5, 24, 1024),
    (1.0, 16, 2048),
    (3.0, 28, 3072),
    (8.0, 32, 4096),
    (14.0, 44, 5120),
    (32.0, 64, 5120),
    (70.0, 80, 8192),
    (120.0, 88, 12288),
    (405.0, 126, 16384),
)
"""Blocks and width of models of a size, with 8 KV heads of 128: Llama 3.x and Qwen 2.5/3 as published."""

TYPICAL_VOCABULARY: Final = 128_256

VOCABULARIES: Final = (
    ("qwen", 151_936),
    ("gemma", 262_144),
    ("llama-2", 32_000),
    ("llama", 128_256),
    ("mixtral", 32_000),
    ("mistral-nemo", 131_072),
    ("mistral", 32_768),
    ("deepseek", 129_280),
    ("glm", 151_552),
    ("gpt-oss", 201_088),
    ("phi-4", 100_352),
    ("phi", 32_064),
    ("command", 256_000),
    ("aya", 256_000),
    ("yi", 64_000),
    ("internlm", 92_544),
)
"""Words of a family's vocabulary by a part of its name, where nothing better is known. Source: configurations."""


NAMES: Final = (
    ("qwen3-next", "qwen3next"),
    ("qwen3-coder-next", "qwen3next"),
    ("qwen3-vl", "qwen3vl"),
    ("qwen3.5", "qwen35"),
    ("qwen3.6", "qwen35"),
    ("qwen3.8", "qwen35"),
    ("qwen3", "qwen3"),
    ("gemma-4", "gemma4"),
    ("gemma-3n", "gemma3n"),
    ("gemma-3", "gemma3"),
    ("gemma-2", "gemma2"),
    ("gemma", "gemma"),
    ("deepseek-r1-distill-qwen", "qwen2"),
    ("qwen2-moe", "qwen2moe"),
    ("qwen1.5-moe", "qwen2moe"),
    ("qwen-chat", "qwen"),
    ("qwen", "qwen2"),
    ("qwq", "qwen2"),
    ("qvq", "qwen2"),
    ("phi-2", "phi2"),
    ("phi", "phi3"),
    ("command-r7b", "cohere2"),
    ("command-a", "cohere2"),
    ("c4ai", "command-r"),
    ("command", "command-r"),
    ("aya-expanse", "command-r"),
    ("glm-4.5", "glm4moe"),
    ("glm-4.6", "glm4moe"),
    ("glm-4.7", "glm4moe"),
    ("glm4-0414", "glm4"),
    ("glm-4-0414", "glm4"),
    ("glm-z1", "glm4"),
    ("glm4", "chatglm"),
    ("glm-4", "chatglm"),
    ("chatglm", "chatglm"),
    ("gpt-oss", "gpt-oss"),
    ("starcoder2", "starcoder2"),
    ("starcoder", "starcoder"),
    ("internlm2", "internlm2"),
    ("olmo-2", "olmo2"),
    ("seed-oss", "seed_oss"),
    ("minimax-m2", "minimax-m2"),
    ("gpt-2", "gpt2"),
    ("orion", "orion"),
)
"""llama.cpp's architecture of a family by a part of its name, where the spec file does not say; Llama's else."""


def architecture_name(family: str, architecture: Architecture) -> str | None:
    """llama.cpp's name of a family's architecture; None: Llama's or like it."""
    if architecture.architecture:
        return architecture.architecture
    if architecture.kv_lora_rank:
        return "deepseek2"
    name = family.lower()
    found = next((arch for part, arch in NAMES if part in name), None)
    if architecture.expert_count and found in {"qwen3", "qwen35", "qwen3vl"}:
        return f"{found}moe"
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A model as far as estimates need it; equal only to itself, so that what follows from it is quickly found."""

    architecture: Architecture
    """With block count, widths, heads and vocabulary filled in, by guess where nobody said."""
    parameters: int
    active_parameters: int
    """Parameters that one token reads."""
    kv: KvCache
    basis: Basis
    """"file", "catalog" or "size"."""
    whole: bool
    """Whether the tensors follow from published figures, so that sizes may be taken from them."""


def typical(size_in_billions: float) -> tuple[int, int]:
    """Blocks and embedding length of models of this size."""
    nearest = min(TYPICAL, key=lambda row: abs(row[0] - size_in_billions) / max(row[0], size_in_billions))
    return nearest[1], nearest[2]


def is_whole(architecture: Architecture | None) -> bool:
    """Whether every width that the tensors follow from is published."""
    if architecture is None or architecture.block_count is None or architecture.embedding_length is None:
        return False
    if architecture.vocab_size is None or architecture.head_count is None:
        return False
    if architecture.expert_count:
        return architecture.expert_feed_forward_length is not None or architecture.feed_forward_length is not None
    return architecture.feed_forward_length is not None


def vocabulary_of(family: str) -> int:
    """Vocabulary of a family by its name, else a usual one."""
    name = family.lower()
    return next((words for part, words in VOCABULARIES if part in name), TYPICAL_VOCABULARY)


def shape(
    architecture: Architecture | None,
    *,
    size_in_billions: float,
    parameters: int | None = None,
    active_size_in_billions: float | None = None,
    family: str = "",
    from_file: bool = False,
) -> Shape:
    """Make a model's hyper-parameters whole.

    What is missing is taken from models of its size; then basis is "size", unless the catalog gives both the exact
    parameter count and all that the KV cache follows from.
    """
    given = architecture or Architecture()
    name = architecture_name(family, given)
    if name != given.architecture:
        given = replace(given, architecture=name)
    whole = is_whole(given)
    count = parameters or round(size_in_billions * 1e9)
    cache = kv_cache(given)
    filled = given
    if not whole or cache is None:
        blocks, width = typical(max(count / 1e9, 0.01))
        heads = per_layer(given.head_count, 0)
        key = given.key_length
        if given.embedding_length:
            width = given.embedding_length
        elif heads and key:
            width = heads * key
        filled = replace(
            given,
            block_count=given.block_count or blocks,
            embedding_length=width,
            head_count=given.head_count if given.head_count is not None else max(1, width // 128),
            head_count_kv=given.head_count_kv if given.head_count_kv is not None else (given.head_count or 8),
            key_length=key or 128,
            value_length=given.value_length or key or 128,
            vocab_size=given.vocab_size or vocabulary_of(family),
            tied_embeddings=given.tied_embeddings if given.tied_embeddings is not None else count < 4e9,
        )
        if cache is None and given.head_count_kv is None and given.head_count is None:
            filled = replace(filled, head_count_kv=8)
    kv = cache or kv_cache(filled) or KvCache((), 0, ())
    active = round(active_size_in_billions * 1e9) if active_size_in_billions else count
    if not active_size_in_billions and whole and filled.expert_count and filled.expert_used_count:
        routed = expert_parameters(filled)
        active = round(count - routed * (1 - filled.expert_used_count / filled.expert_count))
    elif not active_size_in_billions and filled.expert_count and filled.expert_used_count:
        # All but a twelfth of a mixture's parameters are experts, as in Mixtral and Qwen3 MoE.
        share = filled.expert_used_count / filled.expert_count
        active = round(count * (1 / 12 + 11 / 12 * share))
    basis: Basis = "size"
    if from_file:
        basis = "file"
    elif whole or (parameters is not None and cache is not None):
        basis = "catalog"
    return Shape(filled, count, min(active, count), kv, basis, whole)
