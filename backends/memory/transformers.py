"""What Transformers takes for safetensors, quantized or not."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from backends.memory.demand import CPU, Demand, Portion
from backends.memory.kv_cache import KvCache, expanded, is_latent, kv_cache, per_layer
from backends.memory.shape import Shape
from backends.memory.tensors import is_tied
from specs.formats import Quantization
from specs.model import TRANSFORMERS

_MIB: Final = 1 << 20

WORKSPACE: Final = 40 * _MIB
"""cuBLAS workspace and the rotary tables; 36 to 90 MiB in the published peaks."""
REPOSITORY_BYTES: Final = 12_000_000
"""Tokenizer and configuration beside the weights, on the average."""

OVERHEAD: Final = (("cuda", 700 * _MIB), ("metal", 400 * _MIB), (CPU, 600 * _MIB))
"""Python, torch and a device's context. MEMORY.md saw 0.7 to 2.2 GiB a CUDA process."""


ON_CPU: Final = frozenset({"none", "nf4", "int8", "gptq", "awq"})
"""Methods that run without an accelerator."""

NATIVE_BITS: Final = (("gpt-oss", 4.25), ("deepseek2", 8.0), ("deepseek32", 8.0))
"""Bits of a weight of repositories that are published quantized although they count as unquantized.

gpt-oss keeps its experts in MXFP4; DeepSeek V3 and R1 (over 600 billion parameters) are FP8.
"""


def unquantized_parameters(shape: Shape) -> int:
    """Parameters of the matrices that stay at 16 bits: embedding and output."""
    architecture = shape.architecture
    table = (architecture.vocab_size or 0) * (architecture.embedding_length or 0)
    return min(table if is_tied(architecture) else 2 * table, shape.parameters // 2)


def weights_of(shape: Shape, bits: float) -> int:
    """Bytes of the tensors: linear layers at these bits, embedding and output at 16 or more."""
    outside = _still(shape).unquantized
    linear = shape.parameters - outside
    return int(linear * bits / 8 + outside * max(bits, 16.0) / 8)


def native_bits(shape: Shape) -> float:
    """Bits of a weight as the unquantized repository publishes it."""
    name = shape.architecture.architecture or ""
    for known, bits in NATIVE_BITS:
        if name == known and (known == "gpt-oss" or shape.parameters > 600_000_000_000):
            return bits
    return 16.0


def activation_bytes(shape: Shape) -> int:
    """Bytes that prefill holds for each token of the prompt.

    Two bytes of three feed-forward rows (gate, up, their product) and four of the embedding's length. Met by the peaks
    that Qwen published for Qwen2.5 under Transformers 4.46.0, where prefill computes only the last token's logits.

    Those that it published for Qwen3 under 4.51.3 are weights, the cache at the end and 36 to 48 MiB, for 1 token of
    prompt as for 30,720. A prefill of 30,720 tokens holds 755 MB in each feed-forward row of Qwen3 8B, and that version
    has no other way to compute it: those peaks were taken without the prefill, and a load must survive it.
    """
    architecture = shape.architecture
    forward = per_layer(architecture.feed_forward_length, 0) or 0
    if architecture.expert_count and architecture.expert_feed_forward_length:
        forward = architecture.expert_feed_forward_length * (architecture.expert_used_count or 1)
    width = architecture.embedding_length or 0
    return 2 * (3 * (forward or 4 * width) + 4 * width)


def heads_of(shape: Shape) -> KvCache:
    """The cache of each head's own keys and values, also where the attention is latent."""
    if not is_latent(shape.architecture):
        return shape.kv
    return kv_cache(expanded(shape.architecture)) or shape.kv


class _Still(NamedTuple):
    """What a model takes whatever its quantization."""

    unquantized: int
    native_bits: float
    blocks: int
    activation_bytes: int
    active_share: float
    heads: KvCache
    """The cache where latent attention is computed from each head's own keys and values."""


@lru_cache(maxsize=4096)
def _still(shape: Shape) -> _Still:
    return _Still(
        unquantized_parameters(shape),
        native_bits(shape),
        shape.architecture.block_count or 1,
        activation_bytes(shape),
        shape.active_parameters / max(shape.parameters, 1),
        heads_of(shape),
    )


def _weights(shape: Shape, still: _Still, quantization: Quantization) -> int:
    bits = quantization.bits_per_weight or 16.0
    if quantization.method == "none" and bits == 16.0:
        bits = still.native_bits
    return weights_of(shape, bits)


def _block_bytes(weights: int, still: _Still) -> int:
    """Each block's share of the weights; what is left over lies with embedding and output."""
    outside = min(weights // 2, 2 * still.unquantized)
    return (weights - outside) // still.blocks


def portion(
    shape: Shape, quantization: Quantization, *, weights_bytes: int | None = None, on_cpu: bool | None = None
) -> Portion:
    """What of demand() depends on the quantization."""
    still = _still(shape)
    weights = weights_bytes or _weights(shape, still, quantization)
    each = _block_bytes(weights, still)
    runs = quantization.method in ON_CPU if on_cpu is None else on_cpu
    return Portion(weights, weights - each * still.blocks, 0, each, each, still.blocks, runs)


def forget() -> None:
    """Judge the next model as the first one."""
    _still.cache_clear()


def demand(
    shape: Shape,
    quantization: Quantization,
    *,
    weights_bytes: int | None = None,
    download_bytes: int | None = None,
    engine: str = TRANSFORMERS,
    compute_fixed: int = WORKSPACE,
    overhead: tuple[tuple[str, int], ...] = OVERHEAD,
    layer_split: bool = True,
    parallel_heads: tuple[int, int] | None = None,
    on_cpu: bool | None = None,
    gpu_where_unified: bool = False,
    prompt_bytes: float | None = None,
    step: int = 0,
) -> Demand:
    """Bytes of a load for one sequence; flash or scaled-dot-product attention, 16-bit cache.

    Transformers computes each head's keys and values before it caches them, also where a latent row would do: 27 x
    16 x (192 + 128) elements a token of DeepSeek V2 Lite, not 27 x 576. Source: past_key_values.update in its
    modeling_deepseek_v2.py and modeling_deepseek_v3.py.

    The engines that take the same weights differ in what surrounds them: see Demand's fields.
    """
    still = _still(shape)
    weights = _weights(shape, still, quantization)
    on_the_fly = quantization.format == "pytorch" and quantization.method in {"nf4", "int8"}
    if weights_bytes and not on_the_fly:
        weights = weights_bytes
    published = weights_of(shape, still.native_bits) if on_the_fly else weights
    blocks = still.blocks
    each = _block_bytes(weights, still)
    return Demand(
        engine=engine,
        weights_bytes=weights,
        block_bytes=(each,) * blocks,
        outside_bytes=weights - each * blocks,
        host_bytes=0,
        kv=still.heads if engine == TRANSFORMERS else shape.kv,
        padded=False,
        compute_fixed=compute_fixed,
        compute_per_token=0.0,
        host_compute_fixed=0,
        host_compute_per_token=0.0,
        overhead=overhead,
        basis=shape.basis,
        about=quantization.uploader_mix,
        download_bytes=download_bytes or published + REPOSITORY_BYTES,
        parameters=shape.parameters,
        active_share=still.active_share,
        layer_split=layer_split,
        parallel_heads=parallel_heads,
        on_cpu=quantization.method in ON_CPU if on_cpu is None else on_cpu,
        gpu_where_unified=gpu_where_unified,
        prompt_bytes=still.activation_bytes if prompt_bytes is None else prompt_bytes,
        step=step,
    )
