"""What vLLM is told: its arguments for a load and its parameters for an answer."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_vllm
import pytest

from backends.engines import vllm_arguments
from backends.engines.engine import LoadOptions, Sampling, Weights
from backends.engines.sampling import bounded
from backends.errors import EngineError


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return Weights(tmp_path, "tiny", "pytorch", "none")


def test_sampling_reaches_vllm_whole() -> None:
    told = vllm_arguments.sampling_parameters(
        bounded(Sampling(temperature=0.8, top_k=0, top_p=0.9, min_p=0.1, repetition_penalty=1.2, seed=-1, logprobs=3)),
        64,
        frozenset({5, 2}),
    )
    assert told == {
        "max_tokens": 64, "temperature": 0.8, "top_k": 0, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2,
        "seed": 0x7FFFFFFFFFFFFFFF, "stop_token_ids": [2, 5], "logprobs": 3, "detokenize": False,
        "skip_reading_prefix_cache": True,
    }  # fmt: skip


def test_at_temperature_0_nothing_else_decides() -> None:
    told = vllm_arguments.sampling_parameters(bounded(Sampling(temperature=0, seed=4)), 8, frozenset())
    assert (told["temperature"], told["top_k"], told["top_p"], told["min_p"]) == (0.0, 0, 1.0, 0.0)
    assert told["seed"] is None
    assert told["skip_reading_prefix_cache"] is None


@pytest.mark.parametrize(("wanted", "told"), [(0, None), (5, 5), (500, 100)])
def test_no_more_alternatives_are_asked_for_than_the_engine_was_set_up_for(wanted: int, told: int | None) -> None:
    asked = bounded(Sampling(logprobs=wanted))
    assert vllm_arguments.sampling_parameters(asked, 8, frozenset())["logprobs"] == told


def test_a_build_that_knows_the_variable_alone_gets_whole_gibibytes(
    monkeypatch: pytest.MonkeyPatch, weights: Weights
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    options = LoadOptions(context=4096)
    vllm_arguments.engine_arguments(weights, options, context=4096, cpu=True, known=frozenset())
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "7"
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE")
    told = vllm_arguments.engine_arguments(weights, options, context=4096, cpu=True, known=frozenset())
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert "kv_cache_memory_bytes" not in told
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE")


def on_cards(weights: Weights, **options: Any) -> dict[str, Any]:
    known = frozenset(fake_vllm.ENGINE_ARGUMENTS)
    return vllm_arguments.engine_arguments(
        weights, LoadOptions(**({"context": 4096} | options)), context=4096, cpu=False, known=known
    )


def test_vllm_is_set_up_for_one_conversation_that_can_be_stopped(weights: Weights) -> None:
    """Prompts in parts, prefixes kept, one request at a time, and no step ahead of what was asked for."""
    assert on_cards(weights) == {
        "model": str(weights.path), "served_model_name": "tiny", "load_format": "safetensors",
        "trust_remote_code": False, "dtype": "auto", "max_model_len": 4096, "max_num_seqs": 1,
        "max_num_batched_tokens": 2048, "enable_chunked_prefill": True, "enable_prefix_caching": True,
        "max_logprobs": 100, "kv_cache_dtype": "auto", "gpu_memory_utilization": 0.9, "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1, "disable_log_stats": True, "seed": 0, "use_tqdm_on_load": False,
        "async_scheduling": False, "limit_mm_per_prompt": {"image": 0, "video": 0, "audio": 0},
    }  # fmt: skip


def test_weights_are_read_as_their_format_asks(weights: Weights, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    assert on_cards(replace(weights, path=file, format="ggufv2"))["load_format"] == "gguf"
    assert on_cards(replace(weights, format="bnb"))["load_format"] == "bitsandbytes"


def test_a_vllm_that_cannot_be_told_a_card_is_not_given_another_one(weights: Weights) -> None:
    with pytest.raises(EngineError, match="set CUDA_VISIBLE_DEVICES before starting"):
        vllm_arguments.engine_arguments(
            weights, LoadOptions(4096, device="cuda:1"), context=4096, cpu=False, known=frozenset()
        )


def test_cards_are_shared_as_the_options_say(weights: Weights) -> None:
    alone = on_cards(weights, memory_share=0.72, device="cuda:1")
    assert (alone["gpu_memory_utilization"], alone["device_ids"]) == (0.72, [1])
    assert "distributed_executor_backend" not in alone
    assert on_cards(weights, kv_cache_type="q8_0")["kv_cache_dtype"] == "fp8"
    two = on_cards(weights, tensor_parallel=2)
    assert (two["tensor_parallel_size"], two["distributed_executor_backend"]) == (2, "mp")
    cluster = on_cards(weights, tensor_parallel=8, pipeline_parallel=2, ray_address="auto")
    assert cluster["distributed_executor_backend"] == "ray"
    assert (cluster["tensor_parallel_size"], cluster["pipeline_parallel_size"]) == (8, 2)
