"""The tensors of a model's GGUF file, from its hyper-parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from backends.memory.kv_cache import (
    APART,
    guesses,
    index_elements,
    is_latent,
    is_windowed,
    layer_kind,
    per_layer,
    period,
    whole,
)
from specs.model import Architecture


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: what it is called inside its block, and its shape in ggml's order."""

    name: str
    """"attn_q.weight"; without the block's number."""
    columns: int
    """Elements of a row: the dimension that is packed into blocks."""
    rows: int = 1
    """Product of the other dimensions."""
    dimensions: int = 2
    experts: int = 1
    """Length of the third dimension."""

    @property
    def elements(self) -> int:
        """Elements in all."""
        return self.columns * self.rows


@dataclass(frozen=True, slots=True)
class Traits:
    """How an architecture's blocks differ from Llama's."""

    fused_qkv: bool = False
    gated: bool = True
    """Whether the feed-forward has a gate matrix."""
    fused_gate: bool = False
    """Whether gate and up lie in one matrix."""
    qkv_bias: bool = False
    bias: bool = False
    """Whether output projection and feed-forward have biases."""
    norm_bias: bool = False
    qk_norm: str = ""
    """"head": one vector of a head's length; "full": of all heads' length."""
    norms: int = 2
    """Vectors of the embedding length in each block."""
    positions: bool = False
    """Whether positions are a learned matrix."""
    sinks: bool = False
    expert_bias: bool = False
    expert_shared_gate: bool = False
    double_query: bool = False
    """Whether full attention carries a gate beside its queries."""
    half_feed_forward: bool = False
    dense_beside: bool = False
    """Whether a feed-forward of its own stands beside the experts, with three norms more."""


TRAITS: Final[Mapping[str, Traits]] = {
    "llama": Traits(),
    "qwen": Traits(fused_qkv=True, qkv_bias=True, half_feed_forward=True),
    "qwen2": Traits(qkv_bias=True),
    "qwen2vl": Traits(qkv_bias=True),
    "qwen2moe": Traits(qkv_bias=True, expert_shared_gate=True),
    "qwen3": Traits(qk_norm="head"),
    "qwen3moe": Traits(qk_norm="head"),
    "qwen3vl": Traits(qk_norm="head"),
    "qwen3vlmoe": Traits(qk_norm="head"),
    "qwen3next": Traits(qk_norm="head", expert_shared_gate=True, double_query=True),
    "qwen35": Traits(qk_norm="head", double_query=True),
    "qwen35moe": Traits(qk_norm="head", expert_shared_gate=True, double_query=True),
    "gemma": Traits(),
    "gemma2": Traits(norms=4),
    "gemma3": Traits(norms=4, qk_norm="head"),
    "gemma3n": Traits(norms=4, qk_norm="head"),
    "gemma4": Traits(norms=4, qk_norm="head", dense_beside=True),
    "phi2": Traits(fused_qkv=True, gated=False, qkv_bias=True, bias=True, norm_bias=True, norms=1),
    "phi3": Traits(fused_qkv=True, fused_gate=True),
    "phimoe": Traits(qkv_bias=True, bias=True, norm_bias=True),
    "glm4": Traits(fused_gate=True, norms=4),
    "glm4moe": Traits(qkv_bias=True),
    "chatglm": Traits(fused_qkv=True, fused_gate=True, qkv_bias=True),
    "command-r": Traits(norms=1),
    "cohere2": Traits(norms=1),
    "falcon": Traits(fused_qkv=True, gated=False, norm_bias=True, norms=1),
    "starcoder": Traits(fused_qkv=True, gated=False, qkv_bias=True, bias=True, norm_bias=True, positions=True),
    "starcoder2": Traits(gated=False, qkv_bias=True, bias=True, norm_bias=True),
    "gpt2": Traits(fused_qkv=True, gated=False, qkv_bias=True, bias=True, norm_bias=True, positions=True),
    "gptneox": Traits(fused_qkv=True, gated=False, qkv_bias=True, bias=True, norm_bias=True),
    "mpt": Traits(fused_qkv=True, gated=False),
    "bloom": Traits(fused_qkv=True, gated=False, qkv_bias=True, bias=True, norm_bias=True),
    "stablelm": Traits(norm_bias=True),
    "orion": Traits(norm_bias=True),
    "nemotron": Traits(gated=False, norm_bias=True),
    "olmo": Traits(norms=0),
    "olmo2": Traits(qk_norm="full"),
    "olmoe": Traits(qk_norm="full"),
    "exaone4": Traits(qk_norm="head"),
    "gpt-oss": Traits(qkv_bias=True, bias=True, sinks=True, expert_bias=True),
    "seed_oss": Traits(qkv_bias=True),
    "hunyuan-dense": Traits(qk_norm="head"),
    "hunyuan-moe": Traits(qk_norm="head"),
    "apertus": Traits(gated=False, qk_norm="head"),
    "smallthinker": Traits(),
    "minimax-m2": Traits(qk_norm="full"),
    "minimax-m3": Traits(qk_norm="head"),
    "nemotron_h": Traits(gated=False, norms=1),
    "nemotron_h_moe": Traits(gated=False, norms=1),
}
"""Source: load_arch_tensors of each architecture in llama.cpp's src/models."""

TIED: Final = frozenset({"gemma", "gemma2", "gemma3", "gemma3n", "gemma4", "command-r", "cohere2"})
"""Architectures whose output is always the token embedding, whatever a configuration says."""

LATENT: Final = frozenset({"deepseek2", "deepseek3", "deepseek32", "minicpm3", "glm-dsa", "kimi-linear"})


def name_of(architecture: Architecture) -> str:
    """llama.cpp's name; by the shape where the file does not say: latent attention is DeepSeek's."""
    if architecture.architecture:
        return architecture.architecture
    return "deepseek2" if architecture.kv_lora_rank else "llama"


FIRST_STATE_SPACE: Final = frozenset({"mamba", "jamba"})
"""Architectures of Mamba's first version, whose step sizes are projected from a small rank."""


def is_tied(architecture: Architecture) -> bool:
    """Whether there is no output matrix of its own."""
    if name_of(architecture) in TIED:
        return True
    return bool(architecture.tied_embeddings)


def outer_tensors(architecture: Architecture) -> tuple[Tensor, ...]:
    """The tensors outside the blocks."""
    width = architecture.embedding_length or 0
    words = architecture.vocab_size or 0
    traits = TRAITS.get(name_of(architecture), Traits())
    tensors = [Tensor("token_embd.weight", width, words), Tensor("output_norm.weight", width, dimensions=1)]
    if traits.norm_bias:
        tensors.append(Tensor("output_norm.bias", width, dimensions=1))
    if not is_tied(architecture):
        tensors.append(Tensor("output.weight", width, words))
    if name_of(architecture) == "phi2":
        tensors.append(Tensor("output.bias", words, dimensions=1))
    if traits.positions:
        positions = whole(architecture.extra.get("context_length")) or 1024
        tensors.append(Tensor("position_embd.weight", width, positions))
    if name_of(architecture) == "gemma3n":
        # Three further streams beside the one of the embedding.
        tensors += [Tensor(f"altup_{part}proj.weight", width, 3 * width, 3, 3) for part in ("", "unembd_")]
    each = whole(architecture.extra.get("embedding_length_per_layer_input"))
    if each:
        wide = each * (architecture.block_count or 1)
        tensors += [
            Tensor("per_layer_token_embd.weight", wide, words),
            Tensor("per_layer_model_proj.weight", width, wide),
            Tensor("per_layer_proj_norm.weight", each, dimensions=1),
        ]
    return tuple(tensors)


@dataclass(frozen=True, slots=True)
class _Adder:
    """Collects the tensors of a block, without those that would be empty."""

    tensors: list[Tensor]

    def matrix(self, part: str, columns: int, rows: int, experts: int = 0) -> None:
        if columns > 0 and rows > 0:
            each = max(experts, 1)
            self.tensors.append(Tensor(f"{part}.weight", columns, rows * each, 3 if experts else 2, each))

    def vector(self, name: str, length: int) -> None:
        if length > 0:
            self.tensors.append(Tensor(name, length, dimensions=1))


def block_signature(architecture: Architecture, index: int) -> tuple[object, ...]:
    """All that sets a block's tensors apart from another block's of the same model."""
    dense = index < (architecture.leading_dense_block_count or 0) or not _has_experts(architecture, index)
    return (
        layer_kind(architecture, index),
        is_windowed(architecture, index),
        per_layer(architecture.head_count, index),
        per_layer(architecture.head_count_kv, index),
        per_layer(architecture.feed_forward_length, index),
        dense,
        guesses(architecture, index),
        index_elements(architecture, index),
    )


def like_blocks(architecture: Architecture) -> tuple[int, ...]:
    """Of each block, the number of one that has the same tensors: few numbers where a pattern repeats."""
    blocks = architecture.block_count or 0
    every = period(architecture)
    step = whole(architecture.extra.get("interleave_moe_layer_step")) if architecture.expert_count else None
    if every >= blocks or (step and step > 1):
        return tuple(range(blocks))
    lead = min(architecture.leading_dense_block_count or 0, blocks)
    # A dense block is like the dense one a pattern before it, and so is one with experts.
    first = tuple([index % every for index in range(lead)])
    return first + tuple([lead + index % every for index in range(blocks - lead)])


def block_tensors(architecture: Architecture, index: int) -> tuple[Tensor, ...]:
    """The tensors of one block."""
    name = name_of(architecture)
    traits = TRAITS.get(name, Traits())
    width = architecture.embedding_length or 0
    add = _Adder([])
    for number in range(traits.norms):
        add.vector(f"norm_{number}_norm.weight", width)
        if traits.norm_bias:
            add.vector(f"norm_{number}_norm.bias", width)
    kind = layer_kind(architecture, index)
    if kind == "recurrent":
        _recurrent(architecture, width, add)
    if kind != "recurrent" and name in LATENT and architecture.kv_lora_rank:
        _latent(architecture, index, width, add)
    elif kind != "recurrent":
        _attention(architecture, index, width, traits, add)
    if name == "falcon-h1":
        _recurrent(architecture, width, add)
    _feed_forward(architecture, index, width, traits, add)
    if name == "gemma3n":
        _streams(width, add)
    if guesses(architecture, index):
        _next_token(architecture, width, add)
    each = whole(architecture.extra.get("embedding_length_per_layer_input"))
    if each:
        add.matrix("inp_gate", width, each)
        add.matrix("proj", each, width)
        add.vector("post_norm.weight", width)
    if name == "gemma4":
        add.vector("layer_output_scale.weight", 1)
    return tuple(add.tensors)


def _streams(width: int, add: _Adder) -> None:
    """Gemma 3n's mixing of four streams, and its low-rank path beside attention."""
    add.matrix("altup_router", width, 4)
    add.matrix("altup_predict_coef", 4, 16)
    add.matrix("altup_correct_coef", 4, 4)
    for name in ("altup_correct_scale", "altup_router_norm", "laurel_post_norm"):
        add.vector(f"{name}.weight", width)
    add.matrix("laurel_l", width, 64)
    add.matrix("laurel_r", 64, width)


def _next_token(architecture: Architecture, width: int, add: _Adder) -> None:
    """What a block that guesses the token after the next one has beside the others."""
    words = architecture.vocab_size or 0
    add.matrix("nextn.eh_proj", 2 * width, width)
    if name_of(architecture) == "glm4moe" and not architecture.extra.get("nextn.shared_embeddings"):
        # GLM-4.5 and 4.7 publish both tables again; in GLM-4.6's repository they are the model's own.
        add.matrix("nextn.embed_tokens", width, words)
        add.matrix("nextn.shared_head_head", width, words)
    for name in ("enorm", "hnorm", "shared_head_norm"):
        add.vector(f"nextn.{name}.weight", width)


def _attention(architecture: Architecture, index: int, width: int, traits: Traits, add: _Adder) -> None:
    heads = per_layer(architecture.head_count, index) or 0
    heads_kv = per_layer(architecture.head_count_kv, index)
    if heads_kv is None:
        heads_kv = heads
    if not heads or not heads_kv:
        return
    key = architecture.key_length or width // heads
    value = architecture.value_length or key
    if is_windowed(architecture, index):
        key = whole(architecture.extra.get("attention.key_length_swa")) or key
        value = whole(architecture.extra.get("attention.value_length_swa")) or value
    query = heads * key * (2 if traits.double_query else 1)
    keys, values = heads_kv * key, heads_kv * value
    if traits.fused_qkv:
        add.matrix("attn_qkv", width, query + keys + values)
        if traits.qkv_bias:
            add.vector("attn_qkv.bias", query + keys + values)
    else:
        add.matrix("attn_q", width, query)
        add.matrix("attn_k", width, keys)
        if not _keys_are_values(architecture, index):
            add.matrix("attn_v", width, values)
        if traits.qkv_bias:
            add.vector("attn_q.bias", query)
            add.vector("attn_k.bias", keys)
            add.vector("attn_v.bias", values)
    add.matrix("attn_output", heads * value, width)
    if traits.bias:
        add.vector("attn_output.bias", width)
    if traits.qk_norm:
        full = traits.qk_norm == "full"
        add.vector("attn_q_norm.weight", heads * key if full else key)
        add.vector("attn_k_norm.weight", keys if full else key)
    if traits.sinks:
        add.vector("attn_sinks.weight", heads)
    index_heads = whole(architecture.extra.get("attention.indexer.head_count"))
    index_key = whole(architecture.extra.get("attention.indexer.key_length"))
    if name_of(architecture) == "minimax-m3" and index_heads and index_key and index_elements(architecture, index):
        add.matrix("indexer.q_proj", width, index_heads * index_key)
        add.matrix("indexer.k_proj", width, index_key)
        add.vector("indexer.q_norm.weight", index_key)
        add.vector("indexer.k_norm.weight", index_key)


def _keys_are_values(architecture: Architecture, index: int) -> bool:
    """Whether a layer's values are its keys before their norm: Gemma 4, where full attention has fewer KV heads."""
    heads_kv = architecture.head_count_kv
    if name_of(architecture) != "gemma4" or not isinstance(heads_kv, tuple):
        return False
    return len(set(heads_kv)) > 1 and not is_windowed(architecture, index)


def _latent(architecture: Architecture, index: int, width: int, add: _Adder) -> None:
    heads = per_layer(architecture.head_count, index) or 1
    rank = architecture.kv_lora_rank or 0
    rope = architecture.rope_dimension_count or 64
    key = architecture.key_length or 192
    value = architecture.value_length or 128
    nope = max(key - rope, 1)
    if architecture.q_lora_rank:
        add.matrix("attn_q_a", width, architecture.q_lora_rank)
        add.vector("attn_q_a_norm.weight", architecture.q_lora_rank)
        add.matrix("attn_q_b", architecture.q_lora_rank, heads * key)
    else:
        add.matrix("attn_q", width, heads * key)
    add.matrix("attn_kv_a_mqa", width, rank + rope)
    add.vector("attn_kv_a_norm.weight", rank)
    if is_latent(architecture):
        # Since April 2025 the converter writes the two halves of attn_kv_b apart.
        add.matrix("attn_k_b", nope, rank, heads)
        add.matrix("attn_v_b", rank, value, heads)
    else:
        add.matrix("attn_kv_b", rank, heads * (nope + value))
    add.matrix("attn_output", heads * value, width)
    index_heads = whole(architecture.extra.get("attention.indexer.head_count"))
    index_key = whole(architecture.extra.get("attention.indexer.key_length"))
    if index_heads and index_key and (index_elements(architecture, index) or guesses(architecture, index)):
        # What chooses the tokens that sparse attention looks at; GLM-5.2 has it in every fourth block.
        add.matrix("indexer.attn_q_b", architecture.q_lora_rank or width, index_heads * index_key)
        add.matrix("indexer.attn_k", width, index_key)
        add.matrix("indexer.proj", width, index_heads)
        add.vector("indexer.k_norm.weight", index_key)
        add.vector("indexer.k_norm.bias", index_key)


def _recurrent(architecture: Architecture, width: int, add: _Adder) -> None:
    inner = architecture.ssm_inner_size or 0
    state = architecture.ssm_state_size or 0
    groups = architecture.ssm_group_count or 1
    kernel = architecture.ssm_conv_kernel or 4
    short = whole(architecture.extra.get("shortconv.l_cache"))
    if short:
        add.matrix("shortconv.conv", short, width)
        add.matrix("shortconv.in_proj", width, 3 * width)
        add.matrix("shortconv.out_proj", width, width)
        return
    if not inner or not state:
        return
    heads = whole(architecture.extra.get("ssm.time_step_rank")) or inner // state
    if name_of(architecture) in FIRST_STATE_SPACE:
        rank = whole(architecture.extra.get("ssm.time_step_rank")) or -(-width // 16)
        add.matrix("ssm_in", width, 2 * inner)
        add.matrix("ssm_conv1d", kernel, inner)
        add.vector("ssm_conv1d.bias", inner)
        add.matrix("ssm_x", inner, rank + 2 * state)
        add.matrix("ssm_dt", rank, inner)
        add.vector("ssm_dt.bias", inner)
        add.vector("ssm_a", state * inner)
        add.vector("ssm_d", inner)
        add.matrix("ssm_out", inner, width)
        if name_of(architecture) == "jamba":
            add.vector("ssm_dt_norm.weight", rank)
            add.vector("ssm_b_norm.weight", state)
            add.vector("ssm_c_norm.weight", state)
        return
    if name_of(architecture).startswith(("qwen3next", "qwen35")) or architecture.full_attention_interval:
        # Gated delta net: keys and queries of `groups` heads, values of `heads`.
        keys = state * groups
        add.matrix("attn_qkv", width, 2 * keys + inner)
        add.matrix("attn_gate", width, inner)
        add.matrix("ssm_conv1d", kernel, 2 * keys + inner)
        add.matrix("ssm_alpha", width, heads)
        add.matrix("ssm_beta", width, heads)
        add.vector("ssm_dt.bias", heads)
        add.vector("ssm_a", heads)
        add.vector("ssm_norm.weight", state)
    else:
        add.matrix("ssm_in", width, 2 * inner + 2 * groups * state + heads)
        add.matrix("ssm_conv1d", kernel, inner + 2 * groups * state)
        add.vector("ssm_conv1d.bias", inner + 2 * groups * state)
        add.vector("ssm_dt.bias", heads)
        add.vector("ssm_a", heads)
        add.vector("ssm_d", heads)
        add.vector("ssm_norm.weight", inner)
    add.matrix("ssm_out", inner, width)


def _feed_forward(architecture: Architecture, index: int, width: int, traits: Traits, add: _Adder) -> None:
    forward = per_layer(architecture.feed_forward_length, index) or 0
    if name_of(architecture) in APART and not forward:
        return
    experts = architecture.expert_count or 0
    if experts and index >= (architecture.leading_dense_block_count or 0) and _has_experts(architecture, index):
        each = architecture.expert_feed_forward_length or forward
        add.matrix("ffn_gate_inp", width, experts)
        if traits.gated:
            add.matrix("ffn_gate_exps", width, each, experts)
        add.matrix("ffn_up_exps", width, each, experts)
        add.matrix("ffn_down_exps", each, width, experts)
        if traits.expert_bias:
            add.vector("ffn_gate_inp.bias", experts)
            add.vector("ffn_gate_exps.bias", each * experts)
            add.vector("ffn_up_exps.bias", each * experts)
            add.vector("ffn_down_exps.bias", width * experts)
        shared = _shared_length(architecture, each)
        if shared:
            if traits.expert_shared_gate:
                add.vector("ffn_gate_inp_shexp.weight", width)
            if traits.gated:
                add.matrix("ffn_gate_shexp", width, shared)
            add.matrix("ffn_up_shexp", width, shared)
            add.matrix("ffn_down_shexp", shared, width)
        if not traits.dense_beside:
            return
        add.vector("ffn_gate_inp.scale", width)
        add.vector("ffn_down_exps.scale", experts)
        for name in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
            add.vector(f"{name}.weight", width)
    if traits.half_feed_forward:
        forward //= 2
    if traits.fused_gate:
        add.matrix("ffn_up", width, 2 * forward)
    else:
        if traits.gated:
            add.matrix("ffn_gate", width, forward)
        add.matrix("ffn_up", width, forward)
    add.matrix("ffn_down", forward, width)
    if traits.bias:
        add.vector("ffn_up.bias", forward)
        add.vector("ffn_down.bias", width)


def _shared_length(architecture: Architecture, each: int) -> int:
    length = architecture.expert_shared_feed_forward_length or 0
    if not length and architecture.architecture == "llama4":
        return each
    return length or (whole(architecture.extra.get("expert_shared_count")) or 0) * each


def has_shared_expert(architecture: Architecture) -> bool:
    """Whether blocks with experts have one beside them that every token takes."""
    return bool(architecture.expert_count) and _shared_length(architecture, 1) > 0


def _has_experts(architecture: Architecture, index: int) -> bool:
    step = whole(architecture.extra.get("interleave_moe_layer_step"))
    return not step or step < 2 or (index + 1) % step == 0


def parameter_count(architecture: Architecture) -> int:
    """Elements of all tensors: the model's parameters."""
    total = sum(tensor.elements for tensor in outer_tensors(architecture))
    for index in range(architecture.block_count or 0):
        total += sum(tensor.elements for tensor in block_tensors(architecture, index))
    return total


@lru_cache(maxsize=1024)
def expert_parameters(architecture: Architecture) -> int:
    """Elements of all routed experts."""
    total = 0
    for index, count in Counter(like_blocks(architecture)).items():
        tensors = block_tensors(architecture, index)
        total += count * sum(tensor.elements for tensor in tensors if tensor.experts > 1 and "exps" in tensor.name)
    return total
