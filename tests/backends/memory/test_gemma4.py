"""Gemma 4 as the catalog has it: two kinds of heads, caches that later blocks read, a feed-forward beside experts."""

from __future__ import annotations

import pytest

from backends.memory.gguf_size import gguf_size
from backends.memory.kv_cache import KvCache, kv_cache
from backends.memory.tensors import parameter_count
from specs.catalog import load_catalog
from specs.formats import parse_quantization
from specs.model import Architecture

MIB = 1 << 20


@pytest.fixture(scope="module")
def sizes() -> dict[float, Architecture]:
    family = load_catalog().family("gemma-4")
    return {spec.size_in_billions: spec.architecture for spec in family.specs if spec.architecture}


def cache(architecture: Architecture) -> KvCache:
    found = kv_cache(architecture)
    assert found is not None
    return found


@pytest.mark.parametrize(("size", "billions"), [(2, 4.65), (26, 25.23), (31, 30.70)])
def test_the_language_part_has_the_parameters_that_llama_bench_prints(
    sizes: dict[float, Architecture], size: float, billions: float
) -> None:
    assert round(parameter_count(sizes[size]) / 1e9, 2) == billions


def test_full_attention_of_the_12b_is_what_llama_cpp_logs(sizes: dict[float, Architecture]) -> None:
    # Logged at 8192 tokens: 128 MiB in 8 full layers at f16 and 68 at q8_0; 1920 MiB in 40 windows of 6144 cells, four
    # times the 1536 of one sequence.
    architecture = sizes[12]
    found = cache(architecture)
    assert [(count, layer.kind) for count, layer in found.groups] == [(40, "window"), (8, "full")]
    assert found.bytes_at(8192) == (128 + 1920 // 4) * MIB
    assert found.bytes_at(131_072, "q8_0") == 16 * 68 * MIB + (1920 // 4) * MIB * 34 // 64


def test_the_31b_keeps_ten_full_layers_of_four_heads(sizes: dict[float, Architecture]) -> None:
    # A GGUF header as logged: kv_layers=10 head_count_kv=4 key_length=512.
    full = [(count, layer) for count, layer in cache(sizes[31]).groups if layer.kind == "full"]
    assert [(count, layer.key_elements) for count, layer in full] == [(10, 4 * 512)]


@pytest.mark.parametrize(("size", "windows", "full", "none"), [(2, 12, 3, 20), (4, 20, 4, 18)])
def test_the_last_blocks_of_the_small_ones_keep_nothing(
    sizes: dict[float, Architecture], size: float, windows: int, full: int, none: int
) -> None:
    counted = {layer.kind: count for count, layer in cache(sizes[size]).groups}
    assert counted == {"window": windows, "full": full, "none": none}


@pytest.mark.parametrize(
    ("size", "quantization", "published"),
    [
        # ggml-org/gemma-4-E2B-it-GGUF; llama-bench's 15.63 and 17.39 GiB.
        (2, "Q8_0", 4_967_494_592),
        (26, "Q4_K_M", 15.63 * (1 << 30)),
        (31, "Q4_K_M", 17.39 * (1 << 30)),
    ],
)
def test_published_files_are_met(
    sizes: dict[float, Architecture], size: float, quantization: str, published: float
) -> None:
    found = gguf_size(sizes[size], parse_quantization("ggufv2", quantization))
    assert found is not None
    assert found.file_bytes == pytest.approx(published, rel=0.001)
