"""Decode speed, predicted from memory bandwidth and the bytes that a token reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from backends.machine.bandwidth import channels_bandwidth, host_bandwidth
from backends.machine.model import Accelerator, Cpu, Machine
from backends.memory.demand import Demand
from backends.memory.placement import Placement
from specs.model import LLAMA_CPP, MLX, SGLANG, TRANSFORMERS, VLLM

DEPTH: Final = 512
"""Tokens of cache that a token reads in the prediction: a short chat, as the measurements were made."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a kind of device turns bandwidth into tokens."""

    efficiency: float
    """Share of the published bandwidth that decoding reaches on large models."""
    block_seconds: float
    """Time a block takes whatever its size: launches and small kernels, the ceiling of small models."""
    expert_seconds: float
    """Further time of a block with routed experts."""
    low_bits: float = 1.0
    """Share of the efficiency that is left below four bits a weight, where unpacking is the limit."""


CUDA: Final = Pace(0.86, 62e-6, 15e-6)
"""Ampere and later. Fitted on an RTX 5070; the RTX 3070 to 4090 of XiongjieDai's benchmarks of Llama 3 8B agree."""
CUDA_SERVER: Final = Pace(0.85, 120e-6, 25e-6)
"""A100, H100 and the like: more bandwidth at lower clocks. 138 and 144 tok/s on Llama 3 8B Q4_K_M, same source."""
CUDA_TURING: Final = Pace(0.78, 90e-6, 25e-6)
CUDA_PASCAL: Final = Pace(0.43, 240e-6, 100e-6, low_bits=0.42)
"""Without tensor cores, unpacking the weights is the limit, not memory. Fitted on a GTX 1050 Ti."""
PASCAL_TERAFLOPS: Final[Mapping[str, float]] = {
    "GTX 1050": 1.86, "GTX 1050 Ti": 2.14, "GTX 1060": 4.38, "GTX 1070": 6.46, "GTX 1070 Ti": 8.19, "GTX 1080": 8.87,
    "GTX 1080 Ti": 11.34, "TITAN X": 10.97, "TITAN Xp": 12.15, "Tesla P4": 5.5, "Tesla P40": 11.76, "Tesla P100": 9.5,
    "Quadro P2000": 3.0, "Quadro P4000": 5.3, "Quadro P5000": 8.9, "Quadro P6000": 12.6, "Tesla M40": 6.8,
}  # fmt: skip
"""Single-precision peak of cards without tensor cores. Source: NVIDIA's data sheets."""
UNPACKED_BYTES: Final = 22.5
"""Bytes a second that such a card unpacks for each GFLOP/s: 0.43 of a GTX 1050 Ti's bandwidth, 0.77 of a Tesla P40's
(56 tok/s on Llama 2 7B Q4_0, llama.cpp's pull request 4766)."""
METAL: Final = Pace(0.90, 130e-6, 50e-6)
"""Fitted on an M4 Pro; M2 to M4 of llama.cpp's discussion 4167 agree."""
METAL_FIRST: Final = Pace(0.72, 160e-6, 100e-6)
"""M1: 14 tok/s on Llama 2 7B Q4_0 with 68 GB/s, same source."""
METAL_FIRST_LARGE: Final = Pace(0.62, 160e-6, 100e-6)
"""M1 Max and Ultra, whose cores unpack more slowly than their memory delivers: 35 to 61 tok/s at four bits of 7 to 8
billion parameters with 400 GB/s, same source and XiongjieDai's benchmarks."""
ROCM: Final = Pace(0.80, 80e-6, 30e-6)
"""Fitted on an RX 7900 XT."""
ROCM_SERVER: Final = Pace(0.60, 130e-6, 40e-6)
"""Instinct: far more bandwidth than small kernels can use. Fitted on an MI300X: 161 tok/s on Qwen3 8B Q4_K_M, 40 to 55
on Llama 70B Q4_K_M, llama.cpp's discussion 14640."""
HOST: Final = Pace(0.62, 60e-6, 60e-6)
"""A desktop's RAM beside a card: 7 to 4 tok/s on models that an RTX 5070 holds in part."""
MEASURED_EFFICIENCY: Final = 0.7
"""Of a measured bandwidth, which is some 85 per cent of the channels' sum."""
SERVER_EFFICIENCY: Final = 0.55
"""Of all channels of a server: 28.7 tok/s at Q4_K_M to 19.2 at Q8_0 of Phi-4 14B on an EPYC 9554 with 460.8 GB/s are
0.55 to 0.65 of them. Source: ahelpme.com's llama-bench of that processor."""

ENGINE_SHARE: Final = {LLAMA_CPP: 1.0, MLX: 1.06, VLLM: 1.0, SGLANG: 1.0, TRANSFORMERS: 0.45}
"""Speed against llama.cpp's on the same bytes. MLX by the M4 Pro's pairs; Transformers decodes without graphs."""

DESKTOP_BANDWIDTH: Final = 51_200_000_000
"""Two channels of DDR4-3200, for hosts that do not say what they have."""

SERVER_NAMES: Final = ("A100", "H100", "H200", "H20", "H800", "A800", "B200", "B100", "GH200", "V100", "A30")


def pace_of(accelerator: Accelerator) -> Pace:
    """How this device decodes."""
    name = accelerator.name
    if accelerator.kind == "metal":
        if name.startswith(("Apple M1 Max", "Apple M1 Ultra")):
            return METAL_FIRST_LARGE
        return METAL_FIRST if name.startswith("Apple M1") else METAL
    if accelerator.kind == "cuda":
        if any(word in name for word in SERVER_NAMES):
            return CUDA_SERVER
        major = (accelerator.compute_capability or "8").partition(".")[0]
        if major.isdigit() and int(major) < 7:
            return _pascal(accelerator)
        return CUDA_TURING if major == "7" else CUDA
    return ROCM_SERVER if "Instinct" in name else ROCM


def _pascal(accelerator: Accelerator) -> Pace:
    """A card that is as quick as it unpacks: its arithmetic against its bandwidth."""
    known = max((name for name in PASCAL_TERAFLOPS if name in accelerator.name), key=len, default=None)
    if known is None or not accelerator.bandwidth_bytes_per_second:
        return CUDA_PASCAL
    teraflops = PASCAL_TERAFLOPS[known]
    unpacked = teraflops * UNPACKED_BYTES * 1e9
    return replace(
        CUDA_PASCAL,
        efficiency=min(0.8, unpacked / accelerator.bandwidth_bytes_per_second),
        block_seconds=CUDA_PASCAL.block_seconds * (PASCAL_TERAFLOPS["GTX 1050 Ti"] / teraflops) ** 0.5,
    )


def host_pace(machine: Machine) -> tuple[float, float] | None:
    """Bytes a second of the host's memory and the share of them that decoding reaches; None: nobody knows.

    Published where the memory is soldered, else measured on the machine, else by the memory channels of a server's
    processor; other processors are taken for desktops.
    """
    published = host_bandwidth(machine.cpu.name, machine)
    if published is not None:
        return published, HOST.efficiency
    if machine.host_bandwidth_bytes_per_second is not None:
        return machine.host_bandwidth_bytes_per_second, MEASURED_EFFICIENCY
    channels = channels_bandwidth(machine.cpu)
    if channels is not None:
        return channels, SERVER_EFFICIENCY
    return None if _is_server(machine.cpu) else (DESKTOP_BANDWIDTH, HOST.efficiency)


def _is_server(cpu: Cpu) -> bool:
    name = (cpu.name or "").lower()
    return any(word in name for word in ("epyc", "xeon", "threadripper", "neoverse", "graviton"))


def read_bytes(demand: Demand) -> float:
    """Bytes of weights that one token reads: all but the input embedding, of a mixture the routed share."""
    return (demand.weights_bytes - demand.host_bytes) * demand.active_share


def decode_speed(demand: Demand, placed: Placement, machine: Machine, context: int) -> float | None:
    """Tokens a second at the start of a chat; None where a bandwidth is not known.

    Each device reads its blocks' weights and cache at bandwidth x efficiency, and each block costs its launches;
    devices follow one another, except under tensor parallelism, where they share every block.
    """
    blocks = len(demand.block_bytes)
    total = read_bytes(demand)
    cache = demand.kv_bytes(min(DEPTH, context)) if blocks else 0
    routed = demand.active_share < 0.9
    few_bits = demand.weights_bytes * 8 < 4 * demand.parameters
    seconds = 0.0
    rest = 1.0
    if placed.verdict in {"gpu", "split"}:
        layers = sum(placed.card_layers) or 1
        parallel = demand.parallel_heads is not None and len(placed.cards) > 1
        whole = blocks + 1
        for card, number in zip(placed.cards, placed.card_layers, strict=False):
            bandwidth = card.accelerator.bandwidth_bytes_per_second
            if not bandwidth:
                return None
            share = 1 / len(placed.cards) if parallel else number / max(whole, layers)
            pace = pace_of(card.accelerator)
            each = blocks if parallel else blocks * share
            efficiency = pace.efficiency * (pace.low_bits if few_bits else 1.0)
            part = (total + cache) * share / (bandwidth * efficiency)
            part += each * (pace.block_seconds + (pace.expert_seconds if routed else 0.0))
            seconds = max(seconds, part) if parallel else seconds + part
            rest -= share
    if placed.verdict in {"split", "cpu"} and rest > 0:
        of_host = host_pace(machine)
        if of_host is None and placed.verdict == "cpu":
            return None
        ram_bandwidth, ram_efficiency = of_host or (DESKTOP_BANDWIDTH, HOST.efficiency)
        seconds += (total + cache) * rest / (ram_bandwidth * ram_efficiency)
        seconds += blocks * rest * (HOST.block_seconds + (HOST.expert_seconds if routed else 0.0))
    if seconds <= 0:
        return None
    return ENGINE_SHARE.get(demand.engine, 1.0) / seconds
