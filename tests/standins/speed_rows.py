"""Predictions beside the measured decode speeds of tests/truth/decode_speed.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.fit import Option, Wish
from backends.judge import judge
from backends.machine.bandwidth import bandwidth_of, compute_capability_of
from backends.machine.model import Accelerator, Cpu, Machine, Memory
from specs.model import LLAMA_CPP, MLX, Architecture, ModelFamily, ModelSpec, Variant

HERE = Path(__file__).parent
GIB = 1 << 30
CONTEXT = 2048
"""Enough for the 300 tokens that each run answered with."""


@dataclass(frozen=True)
class SpeedRow:
    """One measured run and what we predict of it."""

    hardware: str
    model: str
    engine: str
    measured: float
    predicted: float | None
    parameters: int
    active_parameters: int
    bandwidth: int
    machine: Machine
    option: Option

    @property
    def error(self) -> float:
        """Relative; 1 where nothing is predicted."""
        return 1.0 if self.predicted is None else abs(self.predicted / self.measured - 1)


def machine_of(row: dict[str, str]) -> Machine:
    """The machine that a row was measured on."""
    name, total = row["hardware"], int(float(row["memory_gb"]) * GIB)
    kind = "metal" if name.startswith("Apple") else "cuda" if name.startswith("NVIDIA") else "rocm"
    unified = row["unified"] == "True"
    card = Accelerator(
        0, kind, name, None, int(total * 0.75) if unified else total, None, compute_capability_of(name), unified,
        bandwidth_bytes_per_second=bandwidth_of(name),
    )  # fmt: skip
    ram = total if unified else 64 * GIB
    system, arch = ("darwin", "arm64") if unified else ("linux", "x86_64")
    return Machine(system, arch, Cpu(row["cpu"], 8, 16), Memory(ram, int(ram * 0.9)), (card,), label=name)


def rows(truth: Path) -> Iterator[SpeedRow]:
    """Every measured row with its prediction."""
    with (HERE / "speed_models.csv").open() as file:
        models = {row["model"]: row for row in csv.DictReader(file)}
    with truth.open() as file:
        for row in csv.DictReader(file):
            model = models[row["model"]]
            mlx = row["engine"] == "mlx" or row["model"].endswith("mlx")
            weight_format, quantization = ("mlx", "4bit") if mlx else ("ggufv2", "Q4_K_M")
            if "MXFP4" in row["model"] and not mlx:
                quantization = "MXFP4_MOE"
            parameters = int(model["parameters"])
            active = int(model["active_parameters"] or parameters)
            spec = ModelSpec(
                weight_format, parameters / 1e9, (quantization,), (), active / 1e9 if active < parameters else None,
                parameters=parameters, architecture=Architecture(block_count=int(model["block_count"])),
            )  # fmt: skip
            family = ModelFamily(row["model"].split("-Q4_K")[0], 32_768, (), (), (spec,))
            machine = machine_of(row)
            option = judge(Variant(family, spec, quantization), MLX if mlx else LLAMA_CPP, machine, Wish(CONTEXT))
            speed = option.tokens_per_second
            yield SpeedRow(
                row["hardware"], row["model"], row["engine"], float(row["decode_tokens_per_second"]),
                speed.value if speed else None, parameters, active,
                machine.accelerators[0].bandwidth_bytes_per_second or 0, machine, option,
            )  # fmt: skip
