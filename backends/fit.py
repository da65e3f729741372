"""Judging a variant on a machine: where it runs, how far, and what would make it fit."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from backends.defaults import DEFAULT_CONTEXT as DEFAULT_CONTEXT  # noqa: PLC0414 - those who judge look for it here
from backends.memory.estimate import MemoryEstimate
from specs.model import Architecture, Variant

Verdict = Literal["gpu", "split", "cpu", "no"]
_VERDICT_RANK: Final[Mapping[str, int]] = {"gpu": 0, "split": 1, "cpu": 2, "no": 3}
_STATUS_RANK: Final[Mapping[str, int]] = {"ready": 0, "not-installed": 1, "unsupported": 2}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants of a load."""

    context: int | None = None
    """Tokens; None: DEFAULT_CONTEXT, or the family's own where that is shorter."""
    kv_cache_type: str = "f16"
    """"f16", "q8_0" or "q4_0"."""


@dataclass(frozen=True, slots=True)
class Compute:
    """Compute buffers of one load as llama.cpp itself reserves them, in a line with the context."""

    cache_type: str
    """The KV cache's type that was asked for; buffers of another one are not known."""
    device_fixed: int
    """Bytes on accelerators; 0 where the build that answered drives none."""
    device_per_token: float
    host_fixed: int
    """Bytes in RAM."""
    host_per_token: float
    library: str
    """The version that answered."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of one variant's weights beyond its spec file."""

    file_bytes: int | None = None
    """Bytes of the weights' files, exact from a listing or the disk."""
    download_bytes: int | None = None
    """Bytes of everything that a download brings, exact."""
    architecture: Architecture | None = None
    """From the weights' own header or configuration."""
    weights_bytes: int | None = None
    """Bytes of all tensors, from the header."""
    on_disk: bool = False
    compute: Compute | None = None
    """llama.cpp's own answer for its buffers; None: it was not asked."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What loads on this machine took beside what was predicted, for one engine and format."""

    loads: tuple[tuple[int, int], ...]
    """Predicted and measured bytes of the latest loads, at least one."""

    @property
    def ratio(self) -> float:
        """The median of measured over predicted, for words."""
        return statistics.median(measured / predicted for predicted, measured in self.loads)

    def extra_bytes(self, weights_bytes: int) -> int:
        """Bytes that a load of these weights takes beyond its prediction; below 0 where it takes less.

        What a prediction misses is the process, the driver, an allocator's rounding: on loads of half to twice the size
        it is taken to be the same, on larger ones at most twice as much, and on smaller ones less in proportion. Never
        a share of everything: tensors do not grow by what a small load's process took.
        """
        return round(
            statistics.median(
                (measured - predicted) * _scale(weights_bytes / predicted) for predicted, measured in self.loads
            )
        )


def _scale(size_ratio: float) -> float:
    """How much of another load's difference counts for one of so many times its size."""
    return min(2 * size_ratio, 1.0) if size_ratio < 1 else min(2.0, max(1.0, size_ratio / 2))


@dataclass(frozen=True, slots=True)
class Speed:
    """Decode speed in tokens per second."""

    value: float
    basis: Literal["measured", "predicted"]


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run one variant here: engine, verdict, bytes and reason."""

    variant: Variant
    engine: str
    engine_status: Literal["ready", "not-installed", "unsupported"]
    verdict: Verdict
    reason: str | None
    """Why not, why not better or what is not installed, with the cheapest cure; None when there is nothing to say."""
    where: str
    """In words: "on the RTX 4090, all 33 layers"."""
    context: int
    max_context: int | None
    """The longest context that keeps this verdict; None: not known."""
    gpu_layers: int | None
    """llama.cpp: layers on the accelerators, the output layer counted; None: does not apply."""
    total_layers: int | None
    download_bytes: int | None
    tokens_per_second: Speed | None
    memory: MemoryEstimate
    budget_bytes: int | None
    """What the place that the verdict names has to give; for "no" the largest place."""
    about: bool = False
    """Whether the quantization is an uploader's own mix, so that bytes are approximate."""
    card_indices: tuple[int, ...] = ()
    """Accelerators that hold layers, by the machine's numbers."""
    card_layers: tuple[int, ...] = ()
    """Layers on each of them."""
    compute_by: str | None = None
    """The llama-cpp-python whose own answer the compute buffers are; None: they follow from the formula."""
    kv_cache_type: str = "f16"
    """Type of the KV cache that it was judged with; f16 where the engine has no other."""
    device: str | None = None
    """The one device to load on where there is a choice, as "cuda:1" or "cpu"; None: the engine's own choice."""
    memory_share: float | None = None
    """Of each card, what vLLM or SGLang may take; None: another engine, or not known."""
    tensor_parallel: int = 1
    """On a cluster: cards of one machine that share every layer; on this machine card_indices say it."""
    pipeline_parallel: int = 1
    """On a cluster: stages of whole layers one behind the other."""
    lack: str | None = None
    """What is not installed here for these weights, in one sentence; None: nothing is missing, or it would not help."""
    install_line: str | None = None
    """The command that installs it; None: nothing is to be installed, or it is not known how."""
    ray_address: str | None = None
    """The Ray cluster that it was judged for; None: this machine."""


def offer_rank(option: Option) -> tuple[int, int, int, float]:
    """A variant's options in order: what runs now, the better place, the engine that is ready, then the faster one.

    An engine that is ready and runs it anyhow stands before one that would have to be installed.
    """
    runs = option.verdict != "no"
    ready = option.engine_status == "ready"
    speed = option.tokens_per_second
    return (
        0 if runs and ready else 1 if runs else 2,
        _VERDICT_RANK[option.verdict],
        _STATUS_RANK[option.engine_status],
        -speed.value if speed is not None else 0.0,
    )
