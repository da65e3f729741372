"""A demand folded into the few numbers that a verdict needs, whatever the context and the machine's free memory."""

from __future__ import annotations

from backends.memory.demand import CPU, Demand
from backends.memory.kv_cache import DEFAULT_UBATCH, layer_bytes, padded


class Sums:
    """A demand with one cache type and one kind of device, folded into the few numbers that a verdict needs."""

    __slots__ = (
        "beside", "blocks", "card_overhead", "compute", "cpu_overhead", "demand", "fixed_card", "fixed_host",
        "full", "largest", "last", "layered", "on_cpu", "outside", "padded", "per_token", "per_token_host",
        "plain", "prompt", "share", "splits", "state", "step", "unified_only", "window", "window_cells", "window_row",
    )  # fmt: skip

    def __init__(self, demand: Demand, cache_type: str, kind: str) -> None:
        self.demand = demand
        kv = demand.kv
        self.full = self.window_row = 0.0
        self.state = 0
        for count, layer in kv.groups:
            if layer.kind == "none":
                continue
            self.state += count * layer.state_elements * 4
            if layer.kind == "recurrent":
                continue
            if demand.padded:
                row: float = layer_bytes(layer, 1, 1, cache_type) - layer.state_elements * 4
            else:
                row = (layer.key_elements + layer.value_elements) * demand.kv_element_bytes
            if layer.kind == "window" and kv.window:
                self.window_row += count * row
            else:
                self.full += count * row
        self.padded = demand.padded
        self.window = kv.window
        self.window_cells = padded(kv.window + DEFAULT_UBATCH) if demand.padded else kv.window
        self.compute = demand.compute_fixed
        self.per_token = demand.compute_per_token
        self.prompt = demand.prompt_bytes
        self.step = demand.step
        self.fixed_card = demand.weights_bytes - demand.host_bytes + demand.overhead_of(kind)
        self.fixed_host = demand.weights_bytes + demand.overhead_of(CPU)
        self.cpu_overhead = demand.overhead_of(CPU)
        self.beside = demand.host_bytes + demand.host_compute_fixed
        self.per_token_host = demand.host_compute_per_token
        self.outside = demand.outside_bytes
        self.last = demand.block_bytes[-1] if demand.block_bytes else 0
        self.splits = demand.splits
        self.on_cpu = demand.on_cpu
        self.unified_only = demand.gpu_where_unified
        self.share = demand.parallel_heads is not None
        self.plain = len(kv.groups) == 1 and (demand.padded or not demand.splits)
        self.layered = demand.layer_split
        self.blocks = max(len(demand.block_bytes), 1)
        self.largest = max(demand.block_bytes, default=0)
        self.card_overhead = demand.overhead_of(kind)
