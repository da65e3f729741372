"""Decode speeds of devices and models that a fit has not seen: the pace is fitted anew without them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import known_models as known
import speed_rows

from backends.fit import Wish
from backends.judge import judge
from backends.machine.bandwidth import bandwidth_of, compute_capability_of
from backends.machine.model import Accelerator, Cpu, Machine, Memory
from backends.memory.estimators import demand_of
from backends.speed import CUDA_PASCAL, DEPTH, ENGINE_SHARE, pace_of, read_bytes
from specs.model import LLAMA_CPP, ModelFamily, ModelSpec, Variant

GIB = 1 << 30
LLAMA3_70B = replace(known.LLAMA3_8B, block_count=80, embedding_length=8192, feed_forward_length=28_672, head_count=64)
MODELS = {
    "llama-3-8b": (known.LLAMA3_8B, 8_030_261_248),
    "llama-3-70b": (LLAMA3_70B, 70_553_706_496),
    "llama-2-7b": (known.LLAMA2_7B, 6_738_415_616),
    "llama-2-70b": (replace(LLAMA3_70B, vocab_size=32_000), 68_976_648_192),
}


@dataclass(frozen=True)
class Run:
    """One measured run on one device, as far as a pace enters into it."""

    device: str
    model: str
    group: str
    """Devices of one pace."""
    kind: str
    measured: float
    bandwidth: int
    read_bytes: float
    blocks: int
    routed: bool
    engine_share: float

    block_share: float = 1.0
    """Of a block's seconds, where a pace follows from the card's arithmetic."""

    def speed(self, efficiency: float, block_seconds: float) -> float:
        """Tokens a second at a pace; routed experts cost a quarter of a block's launches again."""
        each = block_seconds * (1.25 if self.routed else 1.0)
        return self.engine_share / (
            self.read_bytes / (self.bandwidth * efficiency) + self.blocks * each * self.block_share
        )


def variant_of(model: str, quantization: str) -> Variant:
    architecture, parameters = MODELS[model]
    spec = ModelSpec("ggufv2", parameters / 1e9, (quantization,), parameters=parameters, architecture=architecture)
    return Variant(ModelFamily(model, 8192, (), (), (spec,)), spec, quantization)


def elsewhere(path: Path) -> Iterator[tuple[Run | None, float, float]]:
    """Runs on hardware that the paces were not fitted on, each with measured and predicted speed; None: two cards."""
    with path.open() as file:
        for row in csv.DictReader(file):
            name, total = row["hardware"], int(float(row["memory_gb"]) * GIB)
            metal = name.startswith("Apple")
            bandwidth = bandwidth_of(name, memory_bytes=total) or 0
            cards = tuple(
                Accelerator(
                    index, "metal" if metal else "cuda", name, None, int(total * 0.9) if metal else total, None,
                    compute_capability_of(name), metal, bandwidth_bytes_per_second=bandwidth,
                )
                for index in range(int(row["cards"]))
            )  # fmt: skip
            ram = total if metal else 64 * GIB
            system, arch = ("darwin", "arm64") if metal else ("linux", "x86_64")
            machine = Machine(system, arch, Cpu(None, 8, 16), Memory(ram, ram), cards, label=name)
            variant = variant_of(row["model"], row["quantization"])
            speed = judge(variant, LLAMA_CPP, machine, Wish(1024)).tokens_per_second
            measured = float(row["decode_tokens_per_second"])
            one = _run(variant, LLAMA_CPP, cards[0], row["model"], measured) if len(cards) == 1 else None
            yield one, measured, speed.value if speed else math.nan


def truth(path: Path) -> Iterator[Run]:
    """Runs of the truth file that lay on one card as a whole."""
    for row in speed_rows.rows(path):
        if row.option.verdict == "gpu":
            card = row.machine.accelerators[0]
            yield _run(row.option.variant, row.option.engine, card, row.model, row.measured)


def _run(variant: Variant, engine: str, card: Accelerator, model: str, measured: float) -> Run:
    demand = demand_of(variant, engine)
    pace, group, share, block_share = pace_of(card), "", 1.0, 1.0
    if pace.low_bits < 1:
        # Cards without tensor cores differ by their arithmetic, see backends.speed: what is fitted is the level.
        group = "pascal"
        share = pace.efficiency / CUDA_PASCAL.efficiency
        share *= pace.low_bits if demand.weights_bytes * 8 < 4 * demand.parameters else 1.0
        block_share = pace.block_seconds / CUDA_PASCAL.block_seconds
    return Run(
        card.name, model, group or str(pace), card.kind, measured, round((card.bandwidth_bytes_per_second or 0) * share),
        read_bytes(demand) + demand.kv_bytes(DEPTH), len(demand.block_bytes), demand.active_share < 0.9,
        ENGINE_SHARE[engine], block_share,
    )  # fmt: skip


def fitted(runs: Sequence[Run]) -> tuple[float, float]:
    """Efficiency and seconds a block that meet these runs best, by the mean of the logarithms' errors."""
    best = (math.inf, 0.0, 0.0)
    for efficiency in (number / 50 for number in range(15, 51)):
        for block_seconds in (number * 20e-6 for number in range(16)):
            error = sum(abs(math.log(one.speed(efficiency, block_seconds) / one.measured)) for one in runs)
            best = min(best, (error, efficiency, block_seconds))
    return best[1], best[2]


def errors_without(runs: Sequence[Run], name: Callable[[Run], str]) -> dict[str, list[float]]:
    """Relative errors of every run by what was left out, predicted by a pace that was fitted without the runs of the same name.

    The pace is that of the other runs in its group; where the group has none, of its kind of device, else of all.
    """
    errors: dict[str, list[float]] = {}
    for left_out in sorted({name(one) for one in runs}):
        rest = [one for one in runs if name(one) != left_out]
        for group, theirs in _by_group(one for one in runs if name(one) == left_out):
            like = [one for one in rest if one.group == group] or [one for one in rest if one.kind == theirs[0].kind]
            pace = fitted(like or rest)
            errors.setdefault(left_out, []).extend(abs(one.speed(*pace) / one.measured - 1) for one in theirs)
    return errors


def _by_group(runs: Iterable[Run]) -> list[tuple[str, list[Run]]]:
    groups: dict[str, list[Run]] = {}
    for one in runs:
        groups.setdefault(one.group, []).append(one)
    return list(groups.items())
