"""A demand folded into the few numbers that a verdict needs, whatever the context and the machine's free memory."""

from __future__ import annotations

from typing import NamedTuple

from backends.memory.demand import CPU, Demand
from backends.memory.kv_cache import DEFAULT_UBATCH, KvCache, cell_bytes, layer_bytes, padded


class Rows(NamedTuple):
    """A model's KV cache and state with one cache type: bytes as sums over its layers, whatever its quantization."""

    full: float
    """A cell in all layers that attend fully."""
    window_row: float
    """A cell in all layers that attend through a window."""
    state: int
    window: int
    """Tokens that a window holds; 0: there is none."""
    window_cells: int
    """The cells of a window as the engine makes them."""
    plain: bool
    """Whether all layers are alike."""


def rows_of(kv: KvCache, cache_type: str, *, padded_cells: bool, element_bytes: float) -> Rows:
    """Sum up the layers.

    Args:
        kv: The model's layers.
        cache_type: What an engine with padded cells keeps.
        padded_cells: Whether the engine makes whole blocks of cells, as llama.cpp does.
        element_bytes: What the others keep for each element.
    """
    full = window_row = 0.0
    state = 0
    for count, layer in kv.groups:
        if layer.kind == "none":
            continue
        state += count * layer.state_elements * 4
        if layer.kind == "recurrent":
            continue
        if padded_cells:
            row: float = layer_bytes(layer, 1, 1, cache_type) - layer.state_elements * 4
        else:
            row = cell_bytes(layer, element_bytes)
        if layer.kind == "window" and kv.window:
            window_row += count * row
        else:
            full += count * row
    cells = padded(kv.window + DEFAULT_UBATCH) if padded_cells else kv.window
    return Rows(full, window_row, state, kv.window, cells, len(kv.groups) == 1)


class Sums:
    """A demand with one cache type and one kind of device, folded into the few numbers that a verdict needs."""

    __slots__ = (
        "beside", "blocks", "card_overhead", "compute", "cpu_overhead", "demand", "fixed_card", "fixed_host",
        "full", "largest", "last", "layered", "on_cpu", "outside", "padded", "per_token", "per_token_host",
        "plain", "prompt", "share", "splits", "state", "step", "unified_only", "window", "window_cells", "window_row",
    )  # fmt: skip

    def __init__(self, demand: Demand, rows: Rows, kind: str) -> None:
        self.demand = demand
        self.full, self.window_row, self.state, self.window, self.window_cells, plain = rows
        self.padded = demand.padded
        self.compute = demand.compute_fixed
        self.per_token = demand.compute_per_token
        self.prompt = demand.prompt_bytes
        self.step = demand.step
        weights, blocks = demand.weights_bytes, demand.block_bytes
        self.card_overhead = demand.overhead_of(kind)
        self.cpu_overhead = demand.overhead_of(CPU)
        self.fixed_card = weights - demand.host_bytes + self.card_overhead
        self.fixed_host = weights + self.cpu_overhead
        self.beside = demand.host_bytes + demand.host_compute_fixed
        self.per_token_host = demand.host_compute_per_token
        self.outside = demand.outside_bytes
        self.last = blocks[-1] if blocks else 0
        self.splits = demand.splits
        self.on_cpu = demand.on_cpu
        self.unified_only = demand.gpu_where_unified
        self.share = demand.parallel_heads is not None
        self.plain = plain and (demand.padded or not demand.splits)
        self.layered = demand.layer_split
        self.blocks = len(blocks) or 1
        self.largest = max(blocks) if blocks else 0
