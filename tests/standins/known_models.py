"""Hyper-parameters of published models, by their configurations on the hubs; facts for tests."""

from __future__ import annotations

from typing import Any

from specs.model import Architecture


def dense(
    name: str, blocks: int, width: int, forward: int, heads: int, heads_kv: int, key: int, words: int, **more: Any
) -> Architecture:
    tied = bool(more.pop("tied", False))
    return Architecture(name, blocks, width, forward, heads, heads_kv, key, key, words, tied, **more)


QWEN25_05B = dense("qwen2", 24, 896, 4864, 14, 2, 64, 151_936, tied=True)
QWEN25_15B = dense("qwen2", 28, 1536, 8960, 12, 2, 128, 151_936, tied=True)
QWEN25_7B = dense("qwen2", 28, 3584, 18_944, 28, 4, 128, 152_064)
QWEN25_32B = dense("qwen2", 64, 5120, 27_648, 40, 8, 128, 152_064)
QWEN25_72B = dense("qwen2", 80, 8192, 29_568, 64, 8, 128, 152_064)
LLAMA3_8B = dense("llama", 32, 4096, 14_336, 32, 8, 128, 128_256)
LLAMA2_7B = dense("llama", 32, 4096, 11_008, 32, 32, 128, 32_000)
LLAMA2_70B = dense("llama", 80, 8192, 28_672, 64, 8, 128, 32_000)
LLAMA32_1B = dense("llama", 16, 2048, 8192, 32, 8, 64, 128_256, tied=True)
LLAMA32_3B = dense("llama", 28, 3072, 8192, 24, 8, 128, 128_256, tied=True)
QWEN25_3B = dense("qwen2", 36, 2048, 11_008, 16, 2, 128, 151_936, tied=True)
QWEN3_4B = dense("qwen3", 36, 2560, 9728, 32, 8, 128, 151_936, tied=True)
QWEN3_8B = dense("qwen3", 36, 4096, 12_288, 32, 8, 128, 151_936)
QWEN3_14B = dense("qwen3", 40, 5120, 17_408, 40, 8, 128, 151_936)
GEMMA_7B = dense("gemma", 28, 3072, 24_576, 16, 16, 256, 256_000, tied=True)
GEMMA2_9B = dense("gemma2", 42, 3584, 14_336, 16, 8, 256, 256_000, tied=True, sliding_window=4096)
GEMMA3_27B = dense("gemma3", 62, 5376, 21_504, 32, 16, 128, 262_208, tied=True, sliding_window=1024)
GEMMA3_270M = dense("gemma3", 18, 640, 2048, 4, 1, 256, 262_144, tied=True, sliding_window=512)
PHI3_MINI = dense("phi3", 32, 3072, 8192, 32, 32, 96, 32_064, rope_dimension_count=96)
PHI2 = dense("phi2", 32, 2560, 10_240, 32, 32, 80, 51_200, rope_dimension_count=32)
MIXTRAL = dense("llama", 32, 4096, 14_336, 32, 8, 128, 32_000, expert_count=8, expert_used_count=2)
QWEN3_30B_A3B = dense(
    "qwen3moe", 48, 2048, 6144, 32, 4, 128, 151_936,
    expert_count=128, expert_used_count=8, expert_feed_forward_length=768,
)  # fmt: skip
GPT_OSS_20B = dense(
    "gpt-oss", 24, 2880, 2880, 64, 8, 64, 201_088,
    expert_count=32, expert_used_count=4, expert_feed_forward_length=2880, sliding_window=128,
)  # fmt: skip
GPT_OSS_120B = dense(
    "gpt-oss", 36, 2880, 2880, 64, 8, 64, 201_088,
    expert_count=128, expert_used_count=4, expert_feed_forward_length=2880, sliding_window=128,
)  # fmt: skip
QWEN35_9B = dense(
    "qwen35", 32, 4096, 12_288, 16, 4, 256, 248_320,
    full_attention_interval=4, ssm_conv_kernel=4, ssm_state_size=128, ssm_group_count=16, ssm_inner_size=4096,
    rope_dimension_count=64, extra={"ssm.time_step_rank": 32, "rope.dimension_sections": [11, 11, 10, 0]},
)  # fmt: skip
QWEN36_35B_A3B = dense(
    "qwen35moe", 40, 2048, 512, 16, 2, 256, 248_320,
    full_attention_interval=4, ssm_conv_kernel=4, ssm_state_size=128, ssm_group_count=16, ssm_inner_size=4096,
    expert_count=256, expert_used_count=8, expert_feed_forward_length=512,
)  # fmt: skip
DEEPSEEK_V2_LITE = Architecture(
    "deepseek2", 27, 2048, 10_944, 16, 16, 192, 128, 102_400, False, 64, 6, 1408, 2816, 1, 512, None, 64,
    extra={"expert_shared_count": 2, "expert_weights_scale": 1.0},
)  # fmt: skip
GEMMA3_1B = dense("gemma3", 26, 1152, 6912, 4, 1, 256, 262_144, tied=True, sliding_window=512)
GEMMA3_4B = dense("gemma3", 34, 2560, 10_240, 8, 4, 256, 262_208, tied=True, sliding_window=1024)
GEMMA3N_E4B = dense(
    "gemma3n", 35, 2048, 16_384, 8, 2, 256, 262_144, tied=True, sliding_window=512,
    extra={"embedding_length_per_layer_input": 256},
)  # fmt: skip
PHI4 = dense("phi3", 40, 5120, 17_920, 40, 10, 128, 100_352)
MIXTRAL_22B = dense("llama", 56, 6144, 16_384, 48, 8, 128, 32_000, expert_count=8, expert_used_count=2)
GLM4_9B_1M = dense("chatglm", 40, 4096, 13_696, 32, 4, 128, 151_552, rope_dimension_count=64)
DEEPSEEK_V3 = Architecture(
    "deepseek2", 61, 7168, 18_432, 128, 128, 192, 128, 129_280, False, 256, 8, 2048, 2048, 3, 512, 1536, 64,
    extra={"expert_shared_count": 1, "expert_weights_scale": 2.5},
)  # fmt: skip
LLAMA4_SCOUT = dense(
    "llama4", 48, 5120, 16_384, 40, 8, 128, 202_048,
    expert_count=16, expert_used_count=1, expert_feed_forward_length=8192, extra={"interleave_moe_layer_step": 1},
)  # fmt: skip
GLM45_AIR = dense(
    "glm4moe", 47, 4096, 10_944, 96, 8, 128, 151_552, expert_count=128, expert_used_count=8,
    expert_feed_forward_length=1408, expert_shared_feed_forward_length=1408, leading_dense_block_count=1,
    extra={"nextn_predict_layers": 1, "expert_shared_count": 1, "expert_weights_scale": 1.0},
)  # fmt: skip
NEMOTRON_PATTERN = "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-"
NEMOTRON_H_9B = Architecture(
    "nemotron_h", 56, 4480, tuple(15_680 if kind == "-" else 0 for kind in NEMOTRON_PATTERN), 40,
    tuple(8 if kind == "*" else 0 for kind in NEMOTRON_PATTERN), 128, 128, 131_072, False,
    ssm_conv_kernel=4, ssm_state_size=128, ssm_group_count=8, ssm_inner_size=10_240,
    extra={"ssm.time_step_rank": 128},
)  # fmt: skip
JAMBA_MINI = Architecture(
    "jamba", 32, 4096, 14_336, 32, tuple(8 if index % 8 == 4 else 0 for index in range(32)), 128, 128, 65_536, False,
    expert_count=16, expert_used_count=2, ssm_conv_kernel=4, ssm_state_size=16, ssm_inner_size=8192,
    extra={"ssm.time_step_rank": 256, "interleave_moe_layer_step": 2},
)  # fmt: skip
QWEN3_NEXT_80B = dense(
    "qwen3next", 48, 2048, 5120, 16, 2, 256, 151_936, expert_count=512, expert_used_count=10,
    expert_feed_forward_length=512, expert_shared_feed_forward_length=512, full_attention_interval=4,
    ssm_conv_kernel=4, ssm_state_size=128, ssm_group_count=16, ssm_inner_size=4096,
    extra={"ssm.time_step_rank": 32},
)  # fmt: skip
FILES_ELSEWHERE = {
    "phi-4": PHI4, "qwen3-30b-a3b": QWEN3_30B_A3B, "mixtral-8x22b": MIXTRAL_22B, "glm-4-9b-chat-1m": GLM4_9B_1M,
    "deepseek-v3": DEEPSEEK_V3, "gemma-3-4b": GEMMA3_4B, "gemma-3-1b": GEMMA3_1B,
}  # fmt: skip
"""Models of tests/truth/gguf_file_sizes_elsewhere.csv."""
STARCODER2_3B = dense("starcoder2", 30, 3072, 12_288, 24, 2, 128, 49_152, tied=True)
COMMAND_R = dense("command-r", 40, 8192, 22_528, 64, 64, 128, 256_000, tied=True, extra={"logit_scale": 0.0625})
GLM4_9B = dense("chatglm", 40, 4096, 13_696, 32, 2, 128, 151_552, rope_dimension_count=64)
GLM4_32B = dense("glm4", 61, 6144, 23_040, 48, 2, 128, 151_552, rope_dimension_count=64)
FALCON_7B = dense("falcon", 32, 4544, 18_176, 71, 1, 64, 65_024)
OLMO2_13B = dense("olmo2", 40, 5120, 13_824, 40, 40, 128, 100_352)

RESERVED_MIB = {
    "llama3-8b": (LLAMA3_8B, 120.5),
    "qwen2.5-7b": (QWEN25_7B, 143.59),
    "qwen2.5-0.5b": (QWEN25_05B, 40.09),
    "qwen3-8b": (QWEN3_8B, 108.59),
    "qwen3-4b": (QWEN3_4B, 84.59),
    "gemma2-9b": (GEMMA2_9B, 122.0),
    "gemma3-27b": (GEMMA3_27B, 172.02),
    "phi3-mini": (PHI3_MINI, 70.13),
    "qwen3-30b-a3b": (QWEN3_30B_A3B, 92.59),
    "mixtral": (MIXTRAL, 204.13),
    "gpt-oss-20b": (GPT_OSS_20B, 97.91),
    "qwen3.5-9b": (QWEN35_9B, 100.97),
    "starcoder2-3b": (STARCODER2_3B, 52.2),
    "phi2": (PHI2, 49.21),
    "command-r": (COMMAND_R, 200.99),
    "glm4-9b": (GLM4_9B, 108.84),
    "glm4-32b": (GLM4_32B, 187.59),
    "falcon-7b": (FALCON_7B, 75.26),
    "olmo2-13b": (OLMO2_13B, 125.39),
}
"""Compute and output buffers in MiB at 4,096 tokens, batches of 512, one output, flash attention.

As llama.cpp of llama-cpp-python 0.3.36 reserves them on a CPU, asked by backends.memory.engine_answer.
"""
