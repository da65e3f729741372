"""What is asked once for many blocks and many models is what the rules say of each block by itself."""

from __future__ import annotations

from dataclasses import replace

import known_models as known
import pytest

from backends.memory import gguf_size
from backends.memory.kv_cache import kv_cache, layer_kind
from backends.memory.mixes import category, counted_block, model_of, tensor_type
from backends.memory.shape import is_whole, shape
from backends.memory.tensors import Tensor, block_tensors, expert_parameters, outer_tensors
from specs.catalog import load_catalog
from specs.formats import MIX_BASE_TYPES, parse_quantization
from specs.model import Architecture


def architectures() -> list[Architecture]:
    """Every model of the bundled catalog as estimates see it, and the published ones of the tests."""
    found = [one for one in vars(known).values() if isinstance(one, Architecture)]
    found += known.FILES_ELSEWHERE.values()
    for family in load_catalog().families:
        for spec in family.specs:
            if is_whole(spec.architecture):
                made = shape(spec.architecture, size_in_billions=float(spec.size_in_billions), family=family.name)
                found.append(made.architecture)
    return list({repr(one): one for one in found}.values())


ARCHITECTURES = architectures()


def one_by_one(blocks: list[tuple[Tensor, ...]], architecture: Architecture, name: str, imatrix: bool) -> list[int]:
    """Bytes of each block, every tensor asked for by itself."""
    quantization = parse_quantization("ggufv2", name)
    mix = quantization.mix
    assert mix is not None
    imatrix = imatrix and quantization.imatrix is not False
    kinds = [[(tensor, category(tensor.name)) for tensor in tensors] for tensors in blocks]
    counted = [sum(kind in {"v", "qkv", "kv_b"} for _, kind in tensors) for tensors in kinds]
    model = model_of(architecture, sum(counted))
    sizes = []
    for index, tensors in enumerate(kinds):
        layer, value = counted_block(architecture, index), sum(counted[:index])
        types = [tensor_type(one, kind, mix, model, quantization, imatrix, layer, value) for one, kind in tensors]
        sizes.append(sum(gguf_size.tensor_bytes(one, kind) for (one, _), kind in zip(tensors, types, strict=True)))
    return sizes


def test_every_block_of_every_model_takes_what_its_tensors_take() -> None:
    # From the largest to the smallest and back, so that what one model leaves behind is met by the others.
    names = [*MIX_BASE_TYPES, "Q4_K_L", "Q3_K_XL", "Q4_K_XXL"]
    assert len(ARCHITECTURES) > 100
    for number, architecture in enumerate(ARCHITECTURES):
        blocks = [block_tensors(architecture, index) for index in range(architecture.block_count or 0)]
        # Every mix of a few models and a few mixes of every model: all of all would take minutes.
        for name in names if number % 12 == 0 else names[number % 5 :: 5]:
            imatrix = number % 2 == 0
            size = gguf_size.gguf_size(architecture, parse_quantization("ggufv2", name), imatrix)
            assert size is not None
            assert list(size.block_bytes) == one_by_one(blocks, architecture, name, imatrix), (architecture, name)
            outer = outer_tensors(architecture)
            assert size.tensors_bytes == size.embedding_bytes + size.output_bytes + sum(size.block_bytes)
            tensors = len(outer) + sum(map(len, blocks))
            assert size.header_bytes == gguf_size.header_bytes(architecture, tensors)


def test_every_layer_keeps_what_its_number_says() -> None:
    for architecture in ARCHITECTURES:
        cache = kv_cache(architecture)
        assert cache is not None
        count = architecture.block_count or 0
        assert [layer.kind for layer in cache.layers] == [layer_kind(architecture, index) for index in range(count)]
        assert sum(number for number, _ in cache.groups) == count
        assert all(sum(layer is one for one in cache.layers) == number for number, layer in cache.groups)


def test_the_experts_of_all_blocks_are_counted() -> None:
    for architecture in ARCHITECTURES:
        blocks = [block_tensors(architecture, index) for index in range(architecture.block_count or 0)]
        experts = [one.elements for tensors in blocks for one in tensors if one.experts > 1 and "exps" in one.name]
        assert expert_parameters(architecture) == sum(experts)


@pytest.mark.parametrize("blocks", [7, 24, 25, 33, 80])
@pytest.mark.parametrize(
    "changed",
    [
        {"leading_dense_block_count": 3, "expert_count": 64, "expert_used_count": 6, "expert_feed_forward_length": 512},
        {"expert_count": 8, "expert_used_count": 2, "extra": {"interleave_moe_layer_step": 2}},
        {"sliding_window": 512, "sliding_window_pattern": 6, "leading_dense_block_count": 2, "expert_count": 8},
        {"sliding_window": 512, "extra": {"attention.sliding_window_pattern": (True, False) * 40}},
        {"architecture": "gemma3n", "sliding_window": 512, "extra": {"attention.shared_kv_layers": 3}},
        {"full_attention_interval": 4, "ssm_inner_size": 2048, "ssm_state_size": 128, "sliding_window": 512,
         "sliding_window_pattern": 3, "extra": {"attention.key_length_swa": 64}},
        {"architecture": "glm4moe", "extra": {"nextn_predict_layers": 1}, "expert_count": 8},
    ],
    ids=["dense first", "every second", "windows after dense", "windows listed", "shared caches", "hybrid", "guessing"],
)  # fmt: skip
def test_patterns_of_blocks_are_told_apart(changed: dict[str, object], blocks: int) -> None:
    made = replace(known.LLAMA3_8B, block_count=blocks, **changed)  # type: ignore[arg-type]
    theirs = [block_tensors(made, index) for index in range(blocks)]
    for name in ("Q4_K_M", "IQ2_M", "Q3_K_M", "IQ3_XS", "Q8_0"):
        size = gguf_size.gguf_size(made, parse_quantization("ggufv2", name))
        assert size is not None
        assert list(size.block_bytes) == one_by_one(theirs, made, name, imatrix=False)
    cache = kv_cache(made)
    assert cache is not None
    assert [layer.kind for layer in cache.layers] == [layer_kind(made, index) for index in range(blocks)]
