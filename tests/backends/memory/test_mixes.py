"""The types of every mix, against llama.cpp's own quantizer in a dry run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import known_models as known
import pytest
import quantizer
import synthetic

from backends.memory.gguf_size import gguf_size
from specs.formats import parse_quantization
from specs.model import Architecture

FUSED = ("phi2", "phi3", "falcon", "chatglm")
"""Their attn_qkv follows the rule of before spring 2026 here, by which their published files were made."""


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize(
    "architecture",
    [
        known.LLAMA32_1B, known.LLAMA2_70B, known.QWEN25_05B, known.QWEN25_72B, known.QWEN3_30B_A3B, known.MIXTRAL,
        known.DEEPSEEK_V2_LITE, known.GEMMA2_9B, known.GEMMA3_270M, known.GPT_OSS_20B, known.STARCODER2_3B,
        known.COMMAND_R, known.GLM4_32B, known.OLMO2_13B, known.QWEN35_9B,
        known.GEMMA3N_E4B, known.LLAMA4_SCOUT, known.GLM45_AIR, known.NEMOTRON_H_9B, known.JAMBA_MINI,
    ],
    ids=lambda architecture: f"{architecture.architecture}-{architecture.block_count}",
)  # fmt: skip
def test_every_mix_takes_what_the_quantizer_counts(architecture: Architecture, tmp_path: Path) -> None:
    assert architecture.architecture not in FUSED
    counted = quantizer.sizes(synthetic.write(architecture, tmp_path / "f16.gguf", "F16"))
    assert len(counted) == len(quantizer.FILE_TYPES)
    for name, mib in counted.items():
        ours = gguf_size(architecture, parse_quantization("ggufv2", name))
        assert ours is not None
        # The log has two digits; ours counts the padding between tensors too.
        assert ours.tensors_bytes / 2**20 == pytest.approx(mib, rel=2e-4), name
