"""Peaks of Transformers, against what Qwen published of Qwen2.5 under Transformers 4.46.0."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

from known_models import QWEN3_4B, QWEN25_05B, QWEN25_7B, QWEN25_15B, QWEN25_32B, QWEN25_72B

from backends.memory import mlx, transformers, vllm
from backends.memory.shape import shape
from specs.formats import parse_quantization

TRUTH = Path(__file__).parents[2] / "truth" / "other_engines.csv"
VERSION = "transformers 4.46.0"
MODELS = {
    "Qwen2.5-0.5B-Instruct": (QWEN25_05B, 494_032_768),
    "Qwen2.5-1.5B-Instruct": (QWEN25_15B, 1_543_714_304),
    "Qwen2.5-7B-Instruct": (QWEN25_7B, 7_615_616_512),
    "Qwen2.5-32B-Instruct": (QWEN25_32B, 32_763_876_352),
    "Qwen2.5-72B-Instruct": (QWEN25_72B, 72_706_203_648),
}
FORMATS = {
    "BF16": ("pytorch", "none"),
    "GPTQ-Int4": ("gptq", "Int4"),
    "GPTQ-Int8": ("gptq", "Int8"),
    "AWQ": ("awq", "Int4"),
}


def test_single_card_peaks_are_met() -> None:
    errors = []
    with TRUTH.open() as file:
        for row in csv.DictReader(file):
            if row["engine"] != "transformers" or VERSION not in row["setting"] or row["gpus"] != "1":
                continue
            architecture, parameters = MODELS[row["model"]]
            known = shape(architecture, size_in_billions=parameters / 1e9, parameters=parameters)
            demand = transformers.demand(known, parse_quantization(*FORMATS[row["quant"]]))
            context = int(row["input_tokens"]) + int(row["output_tokens"])
            predicted = demand.weights_bytes + demand.kv_bytes(context) + demand.device_compute(context)
            errors.append(abs(predicted / (float(row["value"]) * 2**30) - 1))
    errors.sort()
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
