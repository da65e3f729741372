"""Decode speed, predicted from memory bandwidth and the bytes that a token reads."""

from __future__ import annotations

from backends.machine.model import Machine
from backends.memory.demand import Demand
from backends.memory.placement import Placement


def decode_speed(demand: Demand, placed: Placement, machine: Machine, context: int) -> float | None:
    """Tokens a second; None where no bandwidth is known."""
    bandwidths = [card.accelerator.bandwidth_bytes_per_second for card in placed.cards]
    if placed.verdict != "gpu" or not bandwidths or None in bandwidths:
        return None
    bandwidth = min(width for width in bandwidths if width is not None)
    read = demand.weights_bytes * demand.active_share
    return 0.7 * bandwidth / max(read, 1)
