"""The estimate of one load: bytes by part, and what they are known from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Basis = Literal["measured", "file", "catalog", "size"]
"""From a measured load here, the weights' own header, the catalog's architecture, or the parameter count alone."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that one load takes, by part. None: this part cannot be known."""

    weights_bytes: int
    kv_cache_bytes: int | None
    """KV cache and recurrent state of one sequence at the context asked for."""
    compute_bytes: int | None
    overhead_bytes: int | None
    basis: Basis

    @property
    def total_bytes(self) -> int:
        """The sum of the parts that are known."""
        parts = (self.weights_bytes, self.kv_cache_bytes, self.compute_bytes, self.overhead_bytes)
        return sum(part for part in parts if part is not None)

    @property
    def buffers_bytes(self) -> int:
        """What an engine's own report counts: everything but the overhead of process and device."""
        return self.total_bytes - (self.overhead_bytes or 0)
