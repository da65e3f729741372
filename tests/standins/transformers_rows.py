"""Predictions beside the peaks of Transformers on one card in tests/truth/other_engines.csv, by stated version."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import known_models as known

from backends.memory import transformers
from backends.memory.shape import shape
from backends.memory.tensors import parameter_count
from specs.formats import parse_quantization

MODELS = {
    "Qwen2.5-0.5B-Instruct": known.QWEN25_05B,
    "Qwen2.5-1.5B-Instruct": known.QWEN25_15B,
    "Qwen2.5-7B-Instruct": known.QWEN25_7B,
    "Qwen2.5-32B-Instruct": known.QWEN25_32B,
    "Qwen2.5-72B-Instruct": known.QWEN25_72B,
    "Qwen3-8B": known.QWEN3_8B,
    "Qwen3-14B": known.QWEN3_14B,
}
FORMATS = {
    "BF16": ("pytorch", "none"),
    "GPTQ-Int4": ("gptq", "Int4"),
    "GPTQ-Int8": ("gptq", "Int8"),
    "AWQ": ("awq", "Int4"),
    "AWQ-INT4": ("awq", "Int4"),
    "FP8": ("fp8", "fp8"),
}


def errors(truth: Path, version: str) -> Iterator[float]:
    """Relative errors of the rows of one version, such as "4.46.0"."""
    with truth.open() as file:
        for row in csv.DictReader(file):
            stated = f"transformers {version}" in row["setting"]
            if row["engine"] != "transformers" or not stated or row["gpus"] != "1" or row["model"] not in MODELS:
                continue
            architecture = MODELS[row["model"]]
            parameters = parameter_count(architecture)
            known_shape = shape(architecture, size_in_billions=parameters / 1e9, parameters=parameters)
            demand = transformers.demand(known_shape, parse_quantization(*FORMATS[row["quant"]]))
            context = int(row["input_tokens"]) + int(row["output_tokens"])
            predicted = demand.weights_bytes + demand.kv_bytes(context) + demand.device_compute(context)
            measured = float(row["value"]) * (1 << 20 if row["unit"].startswith("MB") else 1 << 30)
            yield abs(predicted / measured - 1)
