"""KV caches and states, against what llama.cpp and others logged."""

from __future__ import annotations

import pytest
from known_models import (
    DEEPSEEK_V2_LITE,
    GEMMA3_270M,
    GEMMA_7B,
    GPT_OSS_120B,
    LLAMA2_7B,
    LLAMA3_8B,
    LLAMA32_1B,
    LLAMA32_3B,
    QWEN3_8B,
    QWEN3_14B,
    QWEN3_30B_A3B,
    QWEN25_3B,
    QWEN35_9B,
    QWEN36_35B_A3B,
)

from backends.memory.kv_cache import kv_cache
from specs.model import Architecture

MIB = 1 << 20

LOGGED = [
    # Source: tests/truth/llama_cpp_buffers.csv, by model and context.
    (LLAMA3_8B, 16_384, "f16", 2048.0),
    (LLAMA32_3B, 4096, "f16", 448.0),
    (QWEN3_30B_A3B, 65_536, "f16", 6144.0),
    (QWEN3_8B, 40_960, "f16", 5760.0),
    (QWEN3_14B, 16_384, "f16", 2560.0),
    (QWEN25_3B, 16_384, "f16", 576.0),
    (LLAMA32_1B, 8192, "q8_0", 136.0),
    (GEMMA_7B, 4096, "f16", 1792.0),
    (LLAMA2_7B, 4096, "f16", 2048.0),
    (QWEN3_30B_A3B, 4096, "q8_0", 204.0),
]


@pytest.mark.parametrize(("architecture", "context", "cache_type", "logged_mib"), LOGGED)
def test_a_full_cache_is_what_llama_cpp_logs(
    architecture: Architecture, context: int, cache_type: str, logged_mib: float
) -> None:
    cache = kv_cache(architecture)
    assert cache is not None
    assert cache.bytes_at(context, cache_type) == logged_mib * MIB


def test_only_the_attention_layers_of_a_hybrid_have_a_cache() -> None:
    # Logged: 8192 MiB at 262,144 tokens for 8 of 32 layers, 640 MiB at 32,768 for 10 of 40; beside that the state.
    for architecture, context, logged_mib, recurrent in (
        (QWEN35_9B, 262_144, 8192, 24),
        (QWEN36_35B_A3B, 32_768, 640, 30),
    ):
        cache = kv_cache(architecture)
        assert cache is not None
        state = (3 * (4096 + 2 * 16 * 128) + 128 * 4096) * 4 * recurrent
        assert cache.bytes_at(context) == logged_mib * MIB + state


def test_windows_keep_window_and_batch_rounded_up() -> None:
    # Gemma 3 270M at 32,768 tokens, logged: 96 MiB in 3 full layers and 15 in 15 windows; full-size windows 480.
    cache = kv_cache(GEMMA3_270M)
    assert cache is not None
    assert cache.bytes_at(32_768) == (96 + 15) * MIB
    assert cache.bytes_at(32_768, full=True) == (96 + 480) * MIB
    assert cache.bytes_at(4096) == (12 + 15) * MIB


def test_full_size_windows_of_gpt_oss_are_what_ollama_logs() -> None:
    cache = kv_cache(GPT_OSS_120B)
    assert cache is not None
    assert cache.bytes_at(4096, full=True) == 288 * MIB


def test_latent_attention_keeps_one_row_of_576() -> None:
    cache = kv_cache(DEEPSEEK_V2_LITE)
    assert cache is not None
    assert cache.bytes_at(4096) == 27 * 4096 * 576 * 2


def test_contexts_are_rounded_up_to_256_cells() -> None:
    cache = kv_cache(LLAMA3_8B)
    assert cache is not None
    assert cache.bytes_at(4097) == cache.bytes_at(4352)


def test_heads_may_differ_from_layer_to_layer() -> None:
    cache = kv_cache(Architecture("deci", 3, 1024, 4096, (8, 8, 8), (8, 0, 4), 128, 128, 32_000))
    assert cache is not None
    assert cache.bytes_at(256) == 256 * (8 + 4) * 128 * 2 * 2


def test_vllm_and_transformers_keep_exactly_the_tokens() -> None:
    # Source: 147,456 bytes a token, as logged for Qwen3 8B.
    cache = kv_cache(QWEN3_8B)
    assert cache is not None
    assert cache.exact_bytes_at(1) == 147_456


def test_an_unknown_shape_has_no_cache() -> None:
    assert kv_cache(Architecture(block_count=32)) is None
    assert kv_cache(Architecture()) is None


def test_compressed_rows_stand_for_4_or_128_tokens() -> None:
    # DeepSeek V4 Flash at 64,000 tokens and batches of 4096, logged: 182.75 MiB in 4352 cells of 43 windows, no values
    # (ggml-org/llama.cpp#27680). The compressed rows and states are those of its source.
    ratios = (0, 0, *(4, 128) * 20, 4)
    architecture = Architecture(
        "deepseek4", 43, 4096, 2048, 64, 1, 512, 512, 129_280, False, sliding_window=128,
        extra={"attention.compress_ratios": ratios, "attention.indexer.key_length": 128},
    )  # fmt: skip
    cache = kv_cache(architecture)
    assert cache is not None
    windows = cache.bytes_at(64_000, ubatch=4096) - cache.bytes_at(64_000, ubatch=512) + 43 * 768 * 512 * 2
    assert windows == 182.75 * MIB
    states = 21 * 2 * 8 * 2 * (512 + 128) * 4 + 20 * 2 * 128 * 512 * 4
    compressed = 21 * 16_128 * (512 + 128) * 2 + 20 * 512 * 512 * 2
    assert cache.bytes_at(64_000) == 43 * 768 * 512 * 2 + compressed + states
