"""Machines and families for tests of the fit."""

from __future__ import annotations

from known_models import LLAMA2_70B, LLAMA3_8B, QWEN3_30B_A3B

from backends.engines.engine import EngineStatus
from backends.machine.model import Accelerator, Cpu, Machine, Memory
from specs.model import HUGGINGFACE, Architecture, HubSource, ModelFamily, ModelSpec, Variant

GIB = 1 << 30
READY = {name: EngineStatus("ready") for name in ("llama.cpp", "Transformers", "vLLM", "SGLang", "MLX")}


def card(
    name: str, gib: float, *, index: int = 0, free: float | None = None, capability: str = "8.9", gbps: int = 1008
) -> Accelerator:
    total = int(gib * GIB)
    return Accelerator(
        index, "cuda", name, f"GPU-{index}", total, int((gib if free is None else free) * GIB), capability,
        bandwidth_bytes_per_second=gbps * 10**9,
    )  # fmt: skip


def linux(ram: float, *cards: Accelerator, free: float | None = None, label: str | None = None) -> Machine:
    total, available = int(ram * GIB), int((ram * 0.9 if free is None else free) * GIB)
    return Machine("linux", "x86_64", Cpu("desktop", 8, 16), Memory(total, available), cards, label=label)


def mac(ram: int, share: float = 0.75) -> Machine:
    gpu = Accelerator(0, "metal", "Apple M4 Pro", None, int(ram * share * GIB), None, None, True,
                      bandwidth_bytes_per_second=273 * 10**9)  # fmt: skip
    return Machine("darwin", "arm64", Cpu("Apple M4 Pro", 12, 12), Memory(ram * GIB, int(ram * 0.9) * GIB), (gpu,))


RTX_4090 = linux(64, card("NVIDIA GeForce RTX 4090", 24))
RTX_3060 = linux(32, card("NVIDIA GeForce RTX 3060", 12, gbps=360, capability="8.6"))
UNLIKE = linux(64, card("NVIDIA GeForce RTX 3090", 24), card("NVIDIA GeForce RTX 3060", 12, index=1))
TWO_3090 = linux(64, *(card("NVIDIA GeForce RTX 3090", 24, index=index, capability="8.6") for index in range(2)))
EIGHT_H100 = linux(512, *(card("NVIDIA H100 80GB HBM3", 80, index=i, capability="9.0", gbps=3350) for i in range(8)))
LAPTOP = linux(16)
SMALL = linux(8, free=6)
TINY = linux(2, free=1.2)

QUANTIZATIONS = ("IQ2_XS", "Q2_K", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")


def spec(
    weight_format: str,
    size: float,
    quantizations: tuple[str, ...],
    architecture: Architecture | None,
    parameters: int | None,
) -> ModelSpec:
    hub = HubSource(HUGGINGFACE, f"bartowski/{weight_format}-{size}")
    return ModelSpec(weight_format, size, quantizations, (hub,), parameters=parameters, architecture=architecture)


FAMILY = ModelFamily(
    "llama-test", 131_072, ("en",), ("chat",),
    (
        spec("ggufv2", 8, QUANTIZATIONS, LLAMA3_8B, 8_030_261_248),
        spec("pytorch", 8, ("none", "4-bit"), LLAMA3_8B, 8_030_261_248),
        spec("ggufv2", 70, QUANTIZATIONS, LLAMA2_70B, 68_976_648_192),
        spec("pytorch", 70, ("none",), LLAMA2_70B, 68_976_648_192),
        spec("gptq", 70, ("Int4",), LLAMA2_70B, 68_976_648_192),
        spec("ggufv2", 30, QUANTIZATIONS, QWEN3_30B_A3B, 30_532_122_624),
        spec("mlx", 8, ("4bit", "8bit"), LLAMA3_8B, 8_030_261_248),
        spec("ggufv2", 13, ("Q4_K_M", "UD-Q4_K_XL"), None, None),
    ),
)  # fmt: skip


def variant(weight_format: str, size: float, quantization: str, family: ModelFamily = FAMILY) -> Variant:
    found = next(one for one in family.specs if one.format == weight_format and one.size_in_billions == size)
    return Variant(family, found, quantization)
