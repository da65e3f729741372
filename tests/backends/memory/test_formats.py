"""Types, block sizes and names of quantizations."""

from __future__ import annotations

import pytest

from specs.formats import MIX_BASE_TYPES, TENSOR_TYPES, TYPES_BY_ID, parse_quantization

PUBLISHED_BITS = {
    "F32": 32, "F16": 16, "BF16": 16, "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6, "Q8_0": 8.5, "Q2_K": 2.625,
    "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625, "IQ1_S": 1.5625, "IQ1_M": 1.75, "IQ2_XXS": 2.0625,
    "IQ2_XS": 2.3125, "IQ2_S": 2.5625, "IQ3_XXS": 3.0625, "IQ3_S": 3.4375, "IQ4_XS": 4.25, "IQ4_NL": 4.5, "MXFP4": 4.25,
    "TQ1_0": 1.6875, "TQ2_0": 2.0625, "Q1_0": 1.125, "Q2_0": 2.25,
}  # fmt: skip
"""Source: ggml's block definitions; the ternary and one-bit ones from llama.cpp's tools/quantize."""


@pytest.mark.parametrize(("name", "bits"), PUBLISHED_BITS.items())
def test_a_type_takes_the_bits_that_ggml_publishes(name: str, bits: float) -> None:
    assert TENSOR_TYPES[name].bits_per_weight == bits


def test_types_are_found_by_the_number_in_a_file() -> None:
    assert TYPES_BY_ID[12].name == "Q4_K"
    assert TYPES_BY_ID[39].name == "MXFP4"


@pytest.mark.parametrize(
    ("name", "mix"),
    [
        ("q4_k_m", "Q4_K_M"), ("UD-Q4_K_XL", "Q4_K_M"), ("i1-IQ3_XS", "IQ3_XS"), ("Q6_K_L", "Q6_K"), ("fp16", "F16"),
        ("none", "F16"), ("bf16", "BF16"), ("f32", "F32"), ("Q3_K_XL", "Q3_K_L"), ("Q2_K_L", "Q2_K"),
        ("Q4_K", "Q4_K_M"),
        ("MXFP4_MOE", "MXFP4_MOE"), ("UD-TQ1_0", "TQ1_0"), ("Q3_K_L", "Q3_K_L"), ("q4", "Q4_0"),
        ("UD-IQ2_XXS", "IQ2_XXS"),
    ],
)  # fmt: skip
def test_a_name_of_any_spelling_means_a_mix(name: str, mix: str) -> None:
    assert parse_quantization("ggufv2", name).mix == mix
    assert mix in MIX_BASE_TYPES


def test_uploaders_large_mixes_keep_embeddings_at_eight_bits() -> None:
    assert parse_quantization("ggufv2", "Q5_K_L").embedding_type == "Q8_0"
    assert parse_quantization("ggufv2", "Q5_K_M").embedding_type is None


def test_an_authors_own_mix_is_approximate() -> None:
    assert parse_quantization("ggufv2", "UD-Q4_K_XL").uploader_mix
    assert parse_quantization("ggufv2", "Q9_ZZ").uploader_mix
    assert parse_quantization("gptq", "Int4-Int8Mix").uploader_mix
    assert not parse_quantization("ggufv2", "Q4_K_M").uploader_mix


@pytest.mark.parametrize(
    ("weight_format", "name", "bits"),
    [
        ("mlx", "4bit", 4.5), ("mlx", "8bit", 8.5), ("mlx", "bf16", 16.0), ("mlx", "mxfp4", 4.25),
        ("mlx", "nvfp4", 4.5),
        ("mlx", "8bit-MXFP8", 8.25), ("gptq", "Int4", 4.15625), ("gptq", "Int8", 8.1875), ("awq", "4bit", 4.15625),
        ("fp8", "FP8", 8.0), ("pytorch", "none", 16.0), ("pytorch", "4-bit", 4.5), ("pytorch", "8-bit", 8.0),
        ("bnb", "4-bit", 4.5), ("fp4", "FP4", 4.5),
    ],
)  # fmt: skip
def test_other_formats_take_their_scales_into_account(weight_format: str, name: str, bits: float) -> None:
    assert parse_quantization(weight_format, name).bits_per_weight == bits
