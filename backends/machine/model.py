"""Values of the hardware: the machine, its memory and its accelerators."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor, as far as containers let us use it."""

    name: str | None
    physical_cores: int | None
    logical_cores: int | None
    performance_cores: int | None = None
    """Fast cores of a processor that has two kinds; None: all alike, or not told."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Host memory within the container's limit."""

    total_bytes: int | None
    available_bytes: int | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of an accelerator."""

    pid: int
    name: str | None
    user: str | None
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One GPU, GPU slice, or the GPU of a system on a chip."""

    index: int
    kind: str
    """"cuda", "metal" or another vendor's word."""
    name: str
    uuid: str | None = None
    total_bytes: int | None = None
    """Memory that one process may use; on Apple Silicon the working-set limit."""
    free_bytes: int | None = None
    compute_capability: str | None = None
    """CUDA's "8.9"; None elsewhere."""
    unified: bool = False
    """Whether its memory is the host's."""
    load_percent: int | None = None
    """Share of the last second in which it worked; None: not told."""
    holders: tuple[Holder, ...] = ()
    parent_uuid: str | None = None
    """The card that a MIG slice belongs to."""
    bandwidth_bytes_per_second: int | None = None
    """Published memory bandwidth; None: a device that we have no figure of."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What one can run models on: host, accelerators, and what could not be known."""

    os: str
    """"linux" or "darwin"."""
    arch: str
    """"x86_64", "aarch64" or "arm64"."""
    cpu: Cpu
    memory: Memory
    accelerators: tuple[Accelerator, ...] = ()
    warnings: tuple[str, ...] = ()
    label: str | None = None
    """Name of a preset or file when this is not the machine that we run on; None: this one."""
    host_bandwidth_bytes_per_second: int | None = None
    """Measured bandwidth of the host's memory; None: not measured, as where it is published for the processor."""
