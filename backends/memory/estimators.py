"""One door to the engines' estimators: what a variant takes under an engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from backends.collector import let_go
from backends.fit import Compute, Knowledge
from backends.memory import gguf_size, llama_cpp, mlx, transformers, vllm
from backends.memory.demand import Demand, Portion
from backends.memory.gguf_size import header_bytes
from backends.memory.kv_cache import kv_cache
from backends.memory.shape import Shape, architecture_name, is_whole, shape, vocabulary_of
from backends.memory.tensors import expert_parameters
from specs.formats import Quantization, parse_quantization
from specs.model import LLAMA_CPP, MLX, SGLANG, TRANSFORMERS, VLLM, Architecture, ModelFamily, ModelSpec, Variant

_LIMIT = 60_000
_NOTHING: Final = Architecture()
_shapes: dict[tuple[object, ...], tuple[Architecture | None, Shape]] = {}
_equal: dict[tuple[object, ...], Shape] = {}
"""The same by the architecture's figures."""
_demands: dict[tuple[int, str, str, str, bool], tuple[Shape, Demand]] = {}


def shape_of(variant: Variant, knowledge: Knowledge | None = None) -> Shape:
    """The model's shape, by the header where one was read, else by the catalog."""
    if knowledge is not None:
        return _shape(variant, knowledge)
    return catalog_shape(variant.family, variant.spec)


def catalog_shape(family: ModelFamily, spec: ModelSpec) -> Shape:
    """The shape that the catalog gives: one object for all specs of a model, and for its fine-tunes."""
    architecture = spec.architecture
    given = architecture or _NOTHING
    key = (
        id(architecture),
        given.architecture or architecture_name(family.name, given),
        given.vocab_size or vocabulary_of(family.name),
        spec.size_in_billions,
        spec.parameters,
        spec.active_size_in_billions,
    )
    found = _shapes.get(key)
    if found is None:
        if len(_shapes) > _LIMIT:
            let_go(_shapes)
            let_go(_equal)
        # A model's formats may each come with an architecture of their own that says the same.
        same = (architecture, *key[1:])
        made = _equal.get(same)
        if made is None:
            made = _equal[same] = _catalog_shape(family, spec, architecture, from_file=False)
        # The architecture is kept beside its shape, so that its id stays its own.
        found = _shapes[key] = (architecture, made)
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
    return _catalog_shape(variant.family, spec, architecture, from_file=from_file)


def _catalog_shape(
    family: ModelFamily, spec: ModelSpec, architecture: Architecture | None, *, from_file: bool
) -> Shape:
    active = spec.active_size_in_billions
    return shape(
        architecture,
        size_in_billions=float(spec.size_in_billions),
        parameters=spec.parameters,
        active_size_in_billions=float(active) if active else None,
        family=family.name,
        from_file=from_file,
    )


def forget() -> None:
    """Read the next catalog's architectures as if for the first time."""
    for kept in (_shapes, _equal, _demands):
        let_go(kept)
    gguf_size.forget()
    for cached in (kv_cache, expert_parameters):
        cached.cache_clear()
    llama_cpp.forget()
    transformers.forget()


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
            answered_by=compute.library,
        )
    return replace(
        made,
        compute_fixed=compute.host_fixed,
        compute_per_token=compute.host_per_token,
        answered_by=compute.library,
    )


def demand_of(variant: Variant, engine: str, knowledge: Knowledge | None = None) -> Demand:
    """What the variant takes under the engine; the same for every machine, so it is kept."""
    imatrix = engine == LLAMA_CPP and has_imatrix(variant)
    if knowledge is None:
        known = catalog_shape(variant.family, variant.spec)
        return demand_of_shape(known, variant.spec.format, variant.quantization, engine, imatrix=imatrix)
    known = _shape(variant, knowledge)
    quantization = parse_quantization(variant.spec.format, variant.quantization)
    weights = knowledge.weights_bytes
    if weights is None and knowledge.file_bytes is not None:
        header = 0
        if variant.spec.format == "ggufv2":
            blocks = known.architecture.block_count or 1
            header = header_bytes(known.architecture, 10 * blocks)
        weights = max(knowledge.file_bytes - header, knowledge.file_bytes // 2)
    download = knowledge.download_bytes or knowledge.file_bytes
    made = _make(known, quantization, engine, weights, download, imatrix)
    return made if engine != LLAMA_CPP or knowledge.compute is None else answered(made, knowledge.compute)


def demand_of_shape(known: Shape, model_format: str, quantization: str, engine: str, *, imatrix: bool) -> Demand:
    """The same from the catalog alone: kept by the model's shape, which many variants share."""
    key = (id(known), model_format, quantization, engine, imatrix)
    found = _demands.get(key)
    if found is not None:
        return found[1]
    made = _make(known, parse_quantization(model_format, quantization), engine, None, None, imatrix)
    if len(_demands) > _LIMIT:
        let_go(_demands)
    # The shape is kept beside its demand, so that its id stays its own.
    _demands[key] = (known, made)
    return made


def portion_of_shape(known: Shape, model_format: str, quantization: str, engine: str, *, imatrix: bool) -> Portion:
    """What of that demand depends on the quantization, for verdicts of whole catalogs."""
    parsed = parse_quantization(model_format, quantization)
    found: Portion | None = None
    if engine == LLAMA_CPP:
        found = llama_cpp.portion(known, parsed, imatrix)
    elif engine == TRANSFORMERS:
        found = transformers.portion(known, parsed)
    elif engine in {VLLM, SGLANG}:
        found = transformers.portion(known, parsed, on_cpu=False)
    elif engine == MLX:
        found = mlx.portion(known, parsed)
    if found is None:
        found = Portion.of(demand_of_shape(known, model_format, quantization, engine, imatrix=imatrix))
    return found


def _make(
    known: Shape, quantization: Quantization, engine: str, weights: int | None, download: int | None, imatrix: bool
) -> Demand:
    if engine == LLAMA_CPP:
        return llama_cpp.demand(known, quantization, weights_bytes=weights, download_bytes=download, imatrix=imatrix)
    if engine == MLX:
        return mlx.demand(known, quantization, weights_bytes=weights, download_bytes=download)
    if engine in {VLLM, SGLANG}:
        return vllm.demand(known, quantization, engine, weights_bytes=weights, download_bytes=download)
    if engine == TRANSFORMERS:
        return transformers.demand(known, quantization, weights_bytes=weights, download_bytes=download)
    return _added(known, quantization, engine, weights, download)


def _added(known: Shape, quantization: Quantization, engine: str, weights: int | None, download: int | None) -> Demand:
    """What an engine that another package adds is taken to need, until loads of it are measured here.

    The sums of our own engine for the format stand for it, on one card or in RAM: whether it lays layers on several
    cards nobody here knows.
    """
    if quantization.format == "ggufv2":
        like = llama_cpp.demand(known, quantization, weights_bytes=weights, download_bytes=download, imatrix=False)
    elif quantization.format == "mlx":
        like = mlx.demand(known, quantization, weights_bytes=weights, download_bytes=download)
    else:
        like = transformers.demand(known, quantization, weights_bytes=weights, download_bytes=download)
    return replace(like, engine=engine, splits=False, layer_split=False, parallel_heads=None, on_cpu=True)
