"""The demand of one variant under one engine: bytes as functions of the context, whatever the machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

from backends.memory.estimate import Basis, MemoryEstimate
from backends.memory.kv_cache import DEFAULT_UBATCH, KvCache

UBATCH: Final = DEFAULT_UBATCH

CPU: Final = "cpu"
"""Device kind of a load without an accelerator."""


ANSWER_TOKENS: Final = 2048
"""Tokens of a context that are left for the answer: the prompt is never all of it."""


def longest_prompt(context: int) -> int:
    """The longest prompt that leaves room for an answer of 2,048 tokens; a quarter of a short context at least."""
    return max(context - ANSWER_TOKENS, context // 4)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a load takes, by part."""

    engine: str
    weights_bytes: int
    """Bytes of all tensors."""
    block_bytes: tuple[int, ...]
    """Weights of each block, in order."""
    outside_bytes: int
    """Weights on the first accelerator beside the blocks: the output layer."""
    host_bytes: int
    """Weights that lie in RAM even when every layer is on accelerators: llama.cpp's input embedding."""
    kv: KvCache
    padded: bool
    """Whether the engine rounds the cache up to whole blocks of cells, as llama.cpp does."""
    compute_fixed: int
    """Compute buffer of a device, the part that does not depend on the context."""
    compute_per_token: float
    host_compute_fixed: int
    host_compute_per_token: float
    overhead: tuple[tuple[str, int], ...]
    """Per process and device, by kind of device; the first entry counts for kinds that are not listed."""
    basis: Basis
    about: bool
    download_bytes: int | None
    """Exact, or predicted from the tensors; None: not even that."""
    parameters: int
    active_share: float
    """Share of the weights that one token reads."""
    splits: bool = False
    """Whether some layers may stay on the host."""
    layer_split: bool = True
    """Whether layers may lie on several cards."""
    parallel_heads: tuple[int, int] | None = None
    """Heads and KV heads that tensor parallelism divides; None: the engine does not divide."""
    on_cpu: bool = True
    """Whether the engine runs this without an accelerator."""
    gpu_where_unified: bool = False
    """Whether it stays on the GPU of a unified memory: no falling back to the CPU beside it."""
    kv_element_bytes: float = 2.0
    prompt_bytes: float = 0.0
    """Activations that a prefill in one piece holds for each token of the prompt."""
    step: int = 0
    """Tokens of one prefill step where the engine takes the prompt in pieces; 0: in one."""
    answered_by: str | None = None
    """llama-cpp-python's version, where the compute buffers are its own answer; None: they follow from the formula."""
    loads: int = 0
    """How many loads on this machine its overhead is corrected by."""

    def corrected(self, extra_bytes: int, loads: int) -> Demand:
        """The same with what loads took beyond their predictions.

        Weights and KV cache follow from the tensors; what a measurement corrects is all that surrounds them.
        """
        overhead = tuple((kind, max(0, size + extra_bytes)) for kind, size in self.overhead)
        return replace(self, overhead=overhead, loads=loads)

    def kv_bytes(self, context: int, cache_type: str = "f16") -> int:
        """KV cache and recurrent state of one sequence."""
        if self.padded:
            return self.kv.bytes_at(context, cache_type)
        return self.kv.exact_bytes_at(context, self.kv_element_bytes)

    def device_compute(self, context: int) -> int:
        """Compute buffer of each device."""
        fixed = self.compute_fixed + int(self.compute_per_token * context)
        if not self.prompt_bytes:
            return fixed
        prompt = longest_prompt(context)
        if self.step:
            return fixed + int(self.prompt_bytes * min(prompt, self.step))
        # The peak is the larger of the end of prefill and the end of the answer, whose cache is counted apart.
        later = self.kv_bytes(context) - self.kv_bytes(prompt)
        return fixed + max(0, int(self.prompt_bytes * prompt) - later)

    def host_compute(self, context: int) -> int:
        """Compute buffer of the host beside the devices."""
        return self.host_compute_fixed + int(self.host_compute_per_token * context)

    def overhead_of(self, kind: str) -> int:
        """What the process takes on a device of this kind before any tensor."""
        for name, size in self.overhead:
            if name == kind:
                return size
        return self.overhead[0][1]

    def estimate(self, context: int, cache_type: str, kind: str, devices: int = 1) -> MemoryEstimate:
        """The load as a whole: on devices of this kind and their host, or on the host alone."""
        compute = self.device_compute(context) * devices
        if kind != CPU:
            compute += self.host_compute(context)
        weights, kv = self.weights_bytes, self.kv_bytes(context, cache_type)
        overhead = self.overhead_of(kind) * devices
        # A guess from the parameter count stays one, whatever surrounds it.
        basis: Basis = "measured" if self.loads and self.basis != "size" else self.basis
        return MemoryEstimate(weights, kv, compute, overhead, basis)


class Portion(NamedTuple):
    """All of a demand that depends on the quantization, without a size for every block: what whole catalogs need."""

    weights_bytes: int
    outside_bytes: int
    host_bytes: int
    last_bytes: int
    """The block next to the output layer, the first to go on a card."""
    largest_bytes: int
    blocks: int
    on_cpu: bool

    @classmethod
    def of(cls, demand: Demand) -> Self:
        """The portion of a demand that was made whole."""
        sizes = demand.block_bytes
        last, largest = (sizes[-1], max(sizes)) if sizes else (0, 0)
        return cls(
            demand.weights_bytes, demand.outside_bytes, demand.host_bytes, last, largest, len(sizes), demand.on_cpu
        )


def host_total(demand: Demand, context: int, cache_type: str) -> int:
    """Bytes of a load in RAM alone."""
    return demand.estimate(context, cache_type, CPU).total_bytes
