"""What vLLM and SGLang take of a card's share."""

from __future__ import annotations

from typing import Final

from backends.memory import transformers
from backends.memory.demand import Demand
from backends.memory.kv_cache import per_layer
from backends.memory.shape import Shape
from specs.formats import Quantization

_MIB: Final = 1 << 20

OVERHEAD: Final = (("cuda", 700 * _MIB),)
GRAPHS: Final = 640 * _MIB
"""CUDA graphs: 0.64 GiB logged for a 3B model."""
ACTIVATIONS: Final = 500 * _MIB
"""The activation peak of the profile run; with graphs and the context 1.5 to 1.8 GiB beside weights and cache on one
RTX 5090 with Qwen3 8B."""
SHARE: Final = 0.9
"""gpu_memory_utilization's usual value: the share of a card that the engine takes whole."""


def demand(
    shape: Shape,
    quantization: Quantization,
    engine: str,
    *,
    weights_bytes: int | None = None,
    download_bytes: int | None = None,
) -> Demand:
    """Bytes that must stay under the share for one sequence at the context."""
    architecture = shape.architecture
    heads = per_layer(architecture.head_count, 0) or 1
    heads_kv = per_layer(architecture.head_count_kv, 0) or heads
    return transformers.demand(
        shape,
        quantization,
        weights_bytes=weights_bytes,
        download_bytes=download_bytes,
        engine=engine,
        compute_fixed=GRAPHS + ACTIVATIONS,
        prompt_bytes=0.0,
        overhead=OVERHEAD,
        layer_split=False,
        parallel_heads=(heads, heads_kv),
        on_cpu=False,
    )
