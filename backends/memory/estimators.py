"""One door to the engines' estimators: what a variant takes under an engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from backends.fit import Compute, Knowledge
from backends.memory import llama_cpp, mlx, transformers, vllm
from backends.memory.demand import Demand
from backends.memory.gguf_size import header_bytes
from backends.memory.shape import Shape, is_whole, shape
from specs.formats import Quantization, parse_quantization
from specs.model import LLAMA_CPP, MLX, ModelSpec, Variant

_LIMIT = 60_000
_shapes: dict[int, tuple[ModelSpec, Shape]] = {}
_demands: dict[tuple[int, str, str], tuple[ModelSpec, Demand]] = {}


def shape_of(variant: Variant, knowledge: Knowledge | None = None) -> Shape:
    """The model's shape, by the header where one was read, else by the catalog."""
    if knowledge is not None:
        return _shape(variant, knowledge)
    found = _shapes.get(id(variant.spec))
    if found is None:
        if len(_shapes) > _LIMIT:
            _shapes.clear()
        found = _shapes[id(variant.spec)] = (variant.spec, _shape(variant, None))
    return found[1]


def _shape(variant: Variant, knowledge: Knowledge | None) -> Shape:
    spec = variant.spec
    from_file = knowledge is not None and (knowledge.weights_bytes is not None or is_whole(knowledge.architecture))
    architecture = spec.architecture
    if knowledge is not None and knowledge.architecture is not None:
        architecture = knowledge.architecture
        known = spec.architecture
        if architecture.tied_embeddings is None and known is not None and known.tied_embeddings is not None:
            # A header's first bytes do not tell whether there is an output matrix; the catalog may.
            architecture = replace(architecture, tied_embeddings=known.tied_embeddings)
    active = spec.active_size_in_billions
    return shape(
        architecture,
        size_in_billions=float(spec.size_in_billions),
        parameters=spec.parameters,
        active_size_in_billions=float(active) if active else None,
        family=variant.family.name,
        from_file=from_file,
    )


IMATRIX_UPLOADERS: Final = frozenset({"bartowski", "lmstudio-community", "mradermacher", "unsloth", "legraphista"})
"""Uploaders that quantize with an importance matrix; mradermacher's are named i1-."""


def has_imatrix(variant: Variant) -> bool:
    """Whether the file was made with an importance matrix, by its uploader and name."""
    owner, _, name = variant.model_id.partition("/")
    low = name.lower()
    if owner.lower() == "mradermacher":
        return "i1" in low.split("-") or low.endswith("i1-gguf")
    return owner.lower() in IMATRIX_UPLOADERS or "imat" in low


def answered(made: Demand, compute: Compute) -> Demand:
    """The same with the buffers that llama.cpp itself named; a build without accelerators answers for the processor."""
    if compute.device_fixed or compute.device_per_token:
        return replace(
            made,
            compute_fixed=compute.device_fixed,
            compute_per_token=compute.device_per_token,
            host_compute_fixed=compute.host_fixed,
            host_compute_per_token=compute.host_per_token,
        )
    return replace(made, compute_fixed=compute.host_fixed, compute_per_token=compute.host_per_token)


def demand_of(variant: Variant, engine: str, knowledge: Knowledge | None = None) -> Demand:
    """What the variant takes under the engine; the same for every machine, so it is kept."""
    if knowledge is not None:
        return _make(variant, engine, knowledge)
    key = (id(variant.spec), variant.quantization, engine)
    found = _demands.get(key)
    if found is not None:
        return found[1]
    made = _make(variant, engine, None)
    if len(_demands) > _LIMIT:
        _demands.clear()
    # The spec is kept beside its demand, so that its id stays its own.
    _demands[key] = (variant.spec, made)
    return made


def _make(variant: Variant, engine: str, knowledge: Knowledge | None) -> Demand:
    quantization: Quantization = parse_quantization(variant.spec.format, variant.quantization)
    known = shape_of(variant, knowledge)
    weights = download = None
    if knowledge is not None:
        weights = knowledge.weights_bytes
        if weights is None and knowledge.file_bytes is not None:
            header = 0
            if variant.spec.format == "ggufv2":
                blocks = known.architecture.block_count or 1
                header = header_bytes(known.architecture, 10 * blocks)
            weights = max(knowledge.file_bytes - header, knowledge.file_bytes // 2)
        download = knowledge.download_bytes or knowledge.file_bytes
    if engine == LLAMA_CPP:
        made = llama_cpp.demand(
            known, quantization, weights_bytes=weights, download_bytes=download, imatrix=has_imatrix(variant)
        )
        return made if knowledge is None or knowledge.compute is None else answered(made, knowledge.compute)
    if engine == MLX:
        return mlx.demand(known, quantization, weights_bytes=weights, download_bytes=download)
    if engine in {"vLLM", "SGLang"}:
        return vllm.demand(known, quantization, engine, weights_bytes=weights, download_bytes=download)
    return transformers.demand(known, quantization, weights_bytes=weights, download_bytes=download)
