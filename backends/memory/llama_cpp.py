"""What llama.cpp takes for a GGUF file."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from backends.memory.compute import chooses_tokens, compute_fixed, mask_bytes
from backends.memory.demand import CPU, UBATCH, Demand, Portion
from backends.memory.gguf_size import gguf_size, gguf_sums, header_bytes
from backends.memory.shape import Shape
from backends.memory.tensors import is_tied
from specs.formats import Quantization
from specs.model import LLAMA_CPP

_MIB: Final = 1 << 20

MASK_BYTES: Final = mask_bytes()
OVERHEAD: Final = (("cuda", 500 * _MIB), ("rocm", 500 * _MIB), ("metal", 160 * _MIB), (CPU, 12 * _MIB))
"""A device's context beside the buffers; in RAM what ggml keeps of graphs and repacked weights."""


class _Still(NamedTuple):
    """What a model takes whatever its quantization."""

    tied: bool
    compute_fixed: int
    compute_per_token: int
    host_compute_fixed: int
    active_share: float


@lru_cache(maxsize=4096)
def _still(shape: Shape) -> _Still:
    return _Still(
        is_tied(shape.architecture),
        compute_fixed(shape.architecture, shape.kv),
        mask_bytes(chosen=chooses_tokens(shape.kv)),
        UBATCH * 4 * (shape.architecture.embedding_length or 0),
        shape.active_parameters / max(shape.parameters, 1),
    )


def forget() -> None:
    """Judge the next model as the first one."""
    _still.cache_clear()


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
    still = _still(shape)
    sized = gguf_size(architecture, quantization, bool(imatrix or quantization.imatrix)) if shape.whole else None
    if sized is not None:
        weights, table, blocks = sized.tensors_bytes, sized.embedding_bytes, sized.block_bytes
        outside = sized.output_bytes
        predicted_file = sized.file_bytes
    else:
        bits = quantization.bits_per_weight or 5.0
        weights = int(shape.parameters * bits / 8)
        elements = (architecture.vocab_size or 0) * (architecture.embedding_length or 0)
        table = min(int(elements * bits / 8), weights // 3)
        outside = 0 if still.tied else table
        count = architecture.block_count or 1
        each = (weights - table - outside) // count
        blocks = (each,) * count
        outside = weights - table - each * count
        predicted_file = weights + header_bytes(architecture, 12 * count)
    if weights_bytes:
        # The header's sum is exact; the parts follow the prediction in proportion.
        scale = weights_bytes / max(weights, 1)
        blocks = tuple(int(size * scale) for size in blocks)
        table = int(table * scale)
        outside = max(0, weights_bytes - table - sum(blocks))
        weights = weights_bytes
    host = 0 if still.tied else table
    return Demand(
        engine=LLAMA_CPP,
        weights_bytes=weights,
        block_bytes=blocks,
        outside_bytes=weights - host - sum(blocks),
        host_bytes=host,
        kv=shape.kv,
        padded=True,
        compute_fixed=still.compute_fixed,
        compute_per_token=still.compute_per_token,
        host_compute_fixed=still.host_compute_fixed,
        host_compute_per_token=MASK_BYTES,
        overhead=OVERHEAD,
        basis=shape.basis,
        about=quantization.uploader_mix,
        download_bytes=download_bytes or predicted_file,
        parameters=shape.parameters,
        active_share=still.active_share,
        splits=True,
    )


def portion(shape: Shape, quantization: Quantization, imatrix: bool) -> Portion | None:
    """What of demand() depends on the quantization; None: it follows from no tensors, so ask that."""
    sums = gguf_sums(shape.architecture, quantization, imatrix or bool(quantization.imatrix)) if shape.whole else None
    if sums is None:
        return None
    host = 0 if _still(shape).tied else sums.embedding_bytes
    return Portion(
        sums.tensors_bytes,
        sums.tensors_bytes - host - sums.blocks_bytes,
        host,
        sums.last_bytes,
        sums.largest_bytes,
        sums.blocks,
        on_cpu=True,
    )
