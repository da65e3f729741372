"""What llama.cpp takes for a GGUF file."""

from __future__ import annotations

from typing import Final

from backends.memory.demand import CPU, UBATCH, Demand
from backends.memory.kv_cache import per_layer
from backends.memory.shape import Shape
from specs.formats import TENSOR_TYPES, Quantization
from specs.model import LLAMA_CPP

_MIB: Final = 1 << 20

OVERHEAD: Final = (("cuda", 500 * _MIB), ("rocm", 500 * _MIB), ("metal", 160 * _MIB), (CPU, 110 * _MIB))
"""The process itself and a device's context."""


def demand(
    shape: Shape,
    quantization: Quantization,
    *,
    weights_bytes: int | None = None,
    download_bytes: int | None = None,
    imatrix: bool | None = None,
) -> Demand:
    """Bytes of a load with flash attention, batches of 512 and the default size of sliding windows."""
    architecture = shape.architecture
    predicted = int(shape.parameters * (quantization.bits_per_weight or 5.0) / 8)
    weights = weights_bytes or predicted
    blocks = architecture.block_count or 1
    vocabulary = architecture.vocab_size or 0
    width = architecture.embedding_length or 0
    bits = quantization.bits_per_weight or 5.0
    table = min(int(vocabulary * width * bits / 8), weights // 3)
    tied = bool(architecture.tied_embeddings)
    host = 0 if tied else table
    inside = max(0, weights - table - host)
    each = inside // blocks
    return Demand(
        engine=LLAMA_CPP,
        weights_bytes=weights,
        block_bytes=(each,) * blocks,
        outside_bytes=weights - host - each * blocks,
        host_bytes=host,
        kv=shape.kv,
        padded=True,
        compute_fixed=UBATCH * 4 * (vocabulary + width),
        compute_per_token=0.0,
        host_compute_fixed=UBATCH * 4 * width,
        host_compute_per_token=UBATCH * 4,
        overhead=OVERHEAD,
        basis=shape.basis,
        about=quantization.uploader_mix,
        download_bytes=download_bytes or weights,
        parameters=shape.parameters,
        active_share=shape.active_parameters / max(shape.parameters, 1),
        splits=True,
    )


_ = (TENSOR_TYPES, per_layer)
