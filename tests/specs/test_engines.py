"""Which engine takes which weights, and the sentence when it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specs.engines import RULES, candidate_engines, engine_name, engines_for, fallback, refusal
from specs.model import ENGINES, FORMATS, HUGGINGFACE, HubSource, ModelSpec
from specs.reading import read_spec_file

SEEDS = Path(__file__).parents[1] / "seeds"
LINUX_CUDA: dict[str, Any] = {"os": "linux", "arch": "x86_64", "compute_capability": "8.9", "has_cuda": True}
LINUX_CPU: dict[str, Any] = {"os": "linux", "arch": "x86_64", "compute_capability": None, "has_cuda": False}
MAC: dict[str, Any] = {"os": "darwin", "arch": "arm64", "compute_capability": None, "has_cuda": False}


def spec(model_format: str, *quantizations: str, engines: dict[str, tuple[str, ...]] | None = None) -> ModelSpec:
    return ModelSpec(model_format, 7, quantizations, (HubSource(HUGGINGFACE, "owner/name"),), engines=engines)


def cuda(capability: str) -> dict[str, Any]:
    return {**LINUX_CUDA, "compute_capability": capability}


@pytest.mark.parametrize("page", ["llama-3-instruct.rst", "llama-3.1.rst"])
def test_the_rules_say_what_the_seed_pages_say(page: str) -> None:
    (family,) = read_spec_file(SEEDS / page)
    for published in family.specs:
        unsaid = ModelSpec(published.format, published.size_in_billions, published.quantizations, published.hubs)
        assert published.engines
        assert dict(engines_for(unsaid)) == dict(published.engines)


def test_the_files_own_list_wins_over_the_rules() -> None:
    named = spec("pytorch", "none", engines={"Transformers": ("none",)})
    assert dict(engines_for(named)) == {"Transformers": ("none",)}
    assert candidate_engines(named, "none") == ("Transformers",)
    assert "does not name vLLM" in (refusal("vLLM", named, "none", **LINUX_CUDA) or "")


def test_an_empty_list_counts_as_unsaid() -> None:
    assert list(engines_for(spec("mlx", "4bit", engines={}))) == ["MLX"]


def test_every_format_has_an_engine_and_every_rule_names_one_of_ours() -> None:
    assert {rule.format for rule in RULES} == set(FORMATS)
    assert {rule.engine for rule in RULES} <= set(ENGINES)


def test_an_engine_that_takes_the_quantization_stands_before_one_that_does_not() -> None:
    assert candidate_engines(spec("pytorch", "none"), "none") == ("Transformers", "vLLM", "SGLang")
    assert candidate_engines(spec("pytorch", "4-bit"), "4-bit")[0] == "Transformers"
    assert candidate_engines(spec("ggufv2", "Q4_K_M"), "Q4_K_M")[0] == "llama.cpp"


def test_vllm_on_a_mac_names_what_it_needs() -> None:
    assert refusal("vLLM", "pytorch", "none", **MAC) == "vLLM needs Linux and CUDA; this is macOS"


def test_vllm_runs_without_cuda_through_its_cpu_build_and_sglang_does_not() -> None:
    assert refusal("vLLM", "pytorch", "none", **LINUX_CPU) is None
    assert "CUDA" in (refusal("SGLang", "pytorch", "none", **LINUX_CPU) or "")


@pytest.mark.parametrize("platform", [LINUX_CUDA, LINUX_CPU, MAC])
def test_llama_cpp_takes_gguf_everywhere(platform: dict[str, Any]) -> None:
    assert refusal("llama.cpp", "ggufv2", "UD-Q4_K_XL", **platform) is None


def test_mlx_wants_apple_silicon_or_linux() -> None:
    assert refusal("MLX", "mlx", "4bit", **MAC) is None
    assert refusal("MLX", "mlx", "4bit", **LINUX_CPU) is None
    assert "Apple Silicon" in (refusal("MLX", "mlx", "4bit", **{**MAC, "arch": "x86_64"}) or "")


@pytest.mark.parametrize("engine", ["Transformers", "vLLM", "SGLang"])
def test_fp8_starts_at_compute_capability_8_9(engine: str) -> None:
    assert refusal(engine, "fp8", "fp8", **cuda("8.9")) is None
    assert "8.9; this card has 8.6" in (refusal(engine, "fp8", "fp8", **cuda("8.6")) or "")


@pytest.mark.parametrize("engine", ["Transformers", "vLLM", "SGLang"])
def test_awq_kernels_start_at_7_5(engine: str) -> None:
    assert refusal(engine, "awq", "Int4", **cuda("7.5")) is None
    assert "AWQ" in (refusal(engine, "awq", "Int4", **cuda("7.0")) or "")


def test_marlin_kernels_start_at_7_5_and_ten_is_more_than_nine() -> None:
    assert "Marlin" in (refusal("vLLM", "gptq", "Int4", **cuda("7.0")) or "")
    assert refusal("vLLM", "fp8", "fp8", **cuda("10.0")) is None


def test_a_card_without_bf16_says_what_it_falls_back_to() -> None:
    said = fallback("Transformers", "pytorch", "none", compute_capability="7.5", has_cuda=True)
    assert said
    assert "float16" in said
    assert fallback("Transformers", "pytorch", "none", compute_capability="8.0", has_cuda=True) is None
    assert fallback("llama.cpp", "ggufv2", "Q4_K_M", compute_capability="7.5", has_cuda=True) is None


def test_quantizing_while_loading_is_for_transformers_only() -> None:
    assert refusal("vLLM", "pytorch", "4-bit", **LINUX_CUDA) == (
        "vLLM does not quantize to 4-bit while it loads; Transformers can"
    )


def test_vllm_takes_gptq_with_the_bits_that_it_knows() -> None:
    assert refusal("vLLM", "gptq", "Int3", **LINUX_CUDA) is None
    assert refusal("vLLM", "gptq", "Int4-Int8Mix", **LINUX_CUDA) is None
    assert "3, 4, 8 bits" in (refusal("vLLM", "gptq", "Int5", **LINUX_CUDA) or "")


def test_vllm_reads_gguf_as_one_file_only() -> None:
    parts = {"Q8_0": ("00001-of-00002", "00002-of-00002")}
    split = ModelSpec("ggufv2", 70, ("Q4_K_M", "Q8_0"), (HubSource(HUGGINGFACE, "owner/name", parts=parts),))
    assert "comes in 2 parts" in (refusal("vLLM", split, "Q8_0", **LINUX_CUDA) or "")
    assert refusal("vLLM", split, "Q4_K_M", **LINUX_CUDA) is None


def test_lmdeploy_is_named_as_not_carried_with_those_that_are() -> None:
    said = refusal("LMDEPLOY", "awq", "Int4", **LINUX_CUDA)
    assert said == "modeldeck does not carry LMDEPLOY; Transformers, vLLM and SGLang take awq"


def test_ggmlv3_says_that_nothing_runs_it() -> None:
    assert "no engine reads them any more" in (refusal("llama.cpp", "ggmlv3", "q4_0", **LINUX_CPU) or "")
    assert dict(engines_for(spec("ggmlv3", "q4_0"))) == {}


def test_an_engine_of_another_format_names_the_right_ones() -> None:
    assert refusal("MLX", "ggufv2", "Q4_K_M", **MAC) == "MLX does not read ggufv2; llama.cpp and vLLM can"


def test_engines_are_known_in_any_case() -> None:
    assert engine_name("VLLM") == "vLLM"
    assert engine_name(" llama.CPP ") == "llama.cpp"
    assert engine_name("Other") == "Other"
