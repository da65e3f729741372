"""Peaks of Transformers, against what Qwen published of Qwen2.5 under Transformers 4.46.0."""

from __future__ import annotations

import statistics
from pathlib import Path

import transformers_rows
from known_models import DEEPSEEK_V2_LITE, QWEN3_4B, QWEN25_7B

from backends.memory import mlx, transformers, vllm
from backends.memory.shape import shape
from specs.formats import parse_quantization
from specs.model import VLLM

TRUTH = Path(__file__).parents[2] / "truth" / "other_engines.csv"


def test_single_card_peaks_are_met() -> None:
    errors = sorted(transformers_rows.errors(TRUTH, "4.46.0"))
    assert len(errors) == 70
    assert statistics.median(errors) <= 0.03
    assert errors[int(0.95 * len(errors))] <= 0.08


def test_mlx_peaks_of_qwen3_4b_are_met() -> None:
    # Source: mlx_lm.benchmark -p 2048 -g 128 on an M4 Max, tests/truth/other_engines.csv.
    known = shape(QWEN3_4B, size_in_billions=4, parameters=4_022_468_096)
    for name, published in (("bf16", 9.02e9), ("8bit", 5.254e9), ("6bit", 4.25e9), ("5bit", 3.86e9), ("4bit", 3.35e9)):
        demand = mlx.demand(known, parse_quantization("mlx", name))
        predicted = demand.weights_bytes + demand.kv_bytes(2176) + demand.prompt_bytes * 2048
        assert abs(predicted / published - 1) < 0.03


def test_four_bit_on_the_fly_downloads_sixteen() -> None:
    known = shape(QWEN25_7B, size_in_billions=7, parameters=7_615_616_512)
    demand = transformers.demand(known, parse_quantization("pytorch", "4-bit"))
    assert demand.download_bytes is not None
    assert demand.download_bytes > 2.5 * demand.weights_bytes


def test_vllm_divides_heads_only() -> None:
    known = shape(QWEN25_7B, size_in_billions=7, parameters=7_615_616_512)
    demand = vllm.demand(known, parse_quantization("pytorch", "none"), "vLLM")
    assert demand.parallel_heads == (28, 4)
    assert not demand.splits


def test_latent_attention_keeps_the_heads_own_keys_and_values() -> None:
    # 27 layers of 16 heads of 192 and 128 elements; vLLM keeps the latent row of 576.
    known = shape(DEEPSEEK_V2_LITE, size_in_billions=15.7, parameters=15_706_484_224)
    plain = parse_quantization("pytorch", "none")
    assert transformers.demand(known, plain).kv_bytes(1000, "f16") == 27 * 1000 * 16 * (192 + 128) * 2
    assert vllm.demand(known, plain, engine=VLLM).kv_bytes(1000, "f16") == 27 * 1000 * 576 * 2
