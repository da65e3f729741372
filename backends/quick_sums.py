"""A demand folded into the few numbers that a verdict needs, whatever the machine's free memory."""

from __future__ import annotations

from typing import NamedTuple

from backends.fit import Correction
from backends.memory.demand import CPU, Demand, Portion, longest_prompt
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
        if layer.compressed_elements:
            # As near as sums over cells come: rows in steps of 256 are left out.
            shared = layer_bytes(layer, 256 * layer.ratio, 0, cache_type) - layer.state_elements * 4
            full += count * shared / (256 * layer.ratio)
            window_row += count * (layer_bytes(layer, 0, 1, cache_type) - layer.state_elements * 4)
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


class Frame:
    """All of a model's demand under one engine that no quantization changes, with one cache type and kind of device."""

    __slots__ = (
        "_at", "compute", "full", "heads", "host_compute", "layered", "overheads", "padded", "per_token",
        "per_token_host", "plain", "prompt", "share", "splits", "state", "step", "unified_only", "window",
        "window_cells", "window_row",
    )  # fmt: skip

    def __init__(self, demand: Demand, rows: Rows, kind: str) -> None:
        self.full, self.window_row, self.state, self.window, self.window_cells, plain = rows
        self.padded = demand.padded
        self.compute = demand.compute_fixed
        self.per_token = demand.compute_per_token
        self.prompt = demand.prompt_bytes
        self.step = demand.step
        self.overheads = demand.overhead_of(kind), demand.overhead_of(CPU)
        """Of a card and of the processor."""
        self.host_compute = demand.host_compute_fixed
        self.per_token_host = demand.host_compute_per_token
        self.splits = demand.splits
        self.unified_only = demand.gpu_where_unified
        self.heads = demand.parallel_heads or (1, 1)
        self.share = demand.parallel_heads is not None
        self.plain = plain and (demand.padded or not demand.splits)
        self.layered = demand.layer_split
        self._at = (0, 0, 0, 0)

    def at(self, context: int) -> tuple[int, int, int, int]:
        """The context, with what it takes: cache, compute buffer, and what grows with it in RAM beside cards.

        The last one is kept, in one piece: threads that judge at other contexts may ask at the same time.
        """
        found = self._at
        if found[0] != context:
            found = self._at = (context, *self._sums(context), int(self.per_token_host * context))
        return found

    def _sums(self, context: int) -> tuple[int, int]:
        if self.padded:
            cells = padded(context)
            windowed = cells if not self.window or self.window_cells > cells else self.window_cells
            kv = int(cells * self.full + windowed * self.window_row) + self.state
            return kv, self.compute + int(self.per_token * context)
        seen = context if not self.window or self.window > context else self.window
        kv = int(context * self.full + seen * self.window_row + self.state)
        compute = self.compute + int(self.per_token * context)
        if self.prompt:
            prompt = longest_prompt(context)
            if self.step:
                compute += int(self.prompt * min(prompt, self.step))
            else:
                before = prompt if not self.window or self.window > prompt else self.window
                later = kv - int(prompt * self.full + before * self.window_row + self.state)
                compute += max(0, int(self.prompt * prompt) - later)
        return kv, compute


class Sums:
    """A demand folded into the few numbers that a verdict needs."""

    __slots__ = (
        "beside", "blocks", "card_overhead", "cpu_overhead", "demand", "fixed_card", "fixed_host", "frame", "largest",
        "last", "on_cpu", "outside", "weights",
    )  # fmt: skip

    def __init__(self, frame: Frame, portion: Portion, correction: Correction | None) -> None:
        weights, self.outside, host, self.last, self.largest, blocks, self.on_cpu = portion
        card, cpu = frame.overheads
        if correction is not None:
            extra = correction.extra_bytes(weights)
            card, cpu = max(0, card + extra), max(0, cpu + extra)
        self.frame = frame
        self.demand: Demand | None = None
        """The whole of it; None: no verdict needed that yet."""
        self.weights = weights
        self.blocks = blocks or 1
        self.card_overhead = card
        self.cpu_overhead = cpu
        self.fixed_card = weights - host + card
        self.fixed_host = weights + cpu
        self.beside = host + frame.host_compute
