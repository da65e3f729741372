"""What Transformers takes for safetensors, quantized or not."""

from __future__ import annotations

from typing import Final

from backends.memory.demand import CPU, Demand
from backends.memory.shape import Shape
from specs.formats import Quantization
from specs.model import TRANSFORMERS

_MIB: Final = 1 << 20

OVERHEAD: Final = (("cuda", 700 * _MIB), ("metal", 400 * _MIB), (CPU, 600 * _MIB))
"""Python, torch and a device's context. MEMORY.md saw 0.7 to 2.2 GiB a CUDA process."""


def weights_of(shape: Shape, quantization: Quantization) -> int:
    """Bytes of the tensors: linear layers at the quantization's bits, embeddings and head at 16 bits."""
    architecture = shape.architecture
    table = (architecture.vocab_size or 0) * (architecture.embedding_length or 0)
    unquantized = min(table if architecture.tied_embeddings else 2 * table, shape.parameters // 2)
    linear = shape.parameters - unquantized
    bits = quantization.bits_per_weight or 16.0
    outside = max(bits, 16.0) if not quantization.quantized else 16.0
    return int(linear * bits / 8 + unquantized * outside / 8)


def demand(
    shape: Shape,
    quantization: Quantization,
    *,
    weights_bytes: int | None = None,
    download_bytes: int | None = None,
    engine: str = TRANSFORMERS,
) -> Demand:
    """Bytes of a load for one sequence."""
    weights = weights_bytes or weights_of(shape, quantization)
    blocks = shape.architecture.block_count or 1
    outside = min(
        weights // 3, 2 * 2 * (shape.architecture.vocab_size or 0) * (shape.architecture.embedding_length or 0)
    )
    each = (weights - outside) // blocks
    return Demand(
        engine=engine,
        weights_bytes=weights,
        block_bytes=(each,) * blocks,
        outside_bytes=weights - each * blocks,
        host_bytes=0,
        kv=shape.kv,
        padded=False,
        compute_fixed=36 * _MIB,
        compute_per_token=0.0,
        host_compute_fixed=0,
        host_compute_per_token=0.0,
        overhead=OVERHEAD,
        basis=shape.basis,
        about=quantization.uploader_mix,
        download_bytes=download_bytes or weights,
        parameters=shape.parameters,
        active_share=shape.active_parameters / max(shape.parameters, 1),
        on_cpu=quantization.method in {"none", "nf4", "int8", "gptq", "awq"},
    )
