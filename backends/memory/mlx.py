"""What mlx-lm takes."""

from __future__ import annotations

from typing import Final

from backends.memory import transformers
from backends.memory.demand import CPU, Demand, Portion
from backends.memory.shape import Shape
from specs.formats import Quantization
from specs.model import MLX

_MIB: Final = 1 << 20

STEP: Final = 2048
"""Tokens of one prefill step. Source: mlx-lm's generate_step."""
STEP_BYTES: Final = 720_000_000
"""What a full step takes beside weights and cache: 0.66 to 0.77 GB in the published peaks of Qwen3 4B."""

OVERHEAD: Final = (("metal", 150 * _MIB), ("cuda", 500 * _MIB), (CPU, 300 * _MIB))


def _weights(shape: Shape, quantization: Quantization) -> int:
    return int(shape.parameters * (quantization.bits_per_weight or 16.0) / 8)


def portion(shape: Shape, quantization: Quantization) -> Portion:
    """What of demand() depends on the quantization."""
    return transformers.portion(shape, quantization, weights_bytes=_weights(shape, quantization), on_cpu=True)


def demand(
    shape: Shape,
    quantization: Quantization,
    *,
    weights_bytes: int | None = None,
    download_bytes: int | None = None,
) -> Demand:
    """Bytes of a load: embeddings and head are quantized like the rest."""
    weights = weights_bytes or _weights(shape, quantization)
    return transformers.demand(
        shape,
        quantization,
        weights_bytes=weights,
        download_bytes=download_bytes,
        engine=MLX,
        compute_fixed=0,
        prompt_bytes=STEP_BYTES / STEP,
        step=STEP,
        overhead=OVERHEAD,
        layer_split=False,
        on_cpu=True,
        gpu_where_unified=True,
    )
