"""Whether an engine takes a variant on a machine, and is installed."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

from backends.engines.engine import EngineStatus
from backends.fit import DEFAULT_CONTEXT, Wish
from backends.machine.model import Machine
from specs.engines import part_count, refusal
from specs.model import LLAMA_CPP, ModelFamily, ModelSpec, Variant

CONTEXT_STEP: Final = 256
"""Contexts are searched in steps of llama.cpp's own padding."""

Status = Literal["ready", "not-installed", "unsupported"]


def support(variant: Variant, engine: str, machine: Machine, status: EngineStatus | None) -> tuple[Status, str | None]:
    """Whether the engine takes the variant on this machine and is installed: status, and the refusal if any."""
    why = refusal_of(variant, engine, machine)
    if why is not None:
        return "unsupported", why
    if status is None:
        return "not-installed", None
    status = status.of(variant.spec.format, variant.quantization)
    if status.status == "unsupported":
        # On another machine than this one, this one's platform says nothing.
        return ("unsupported", status.reason) if machine.label is None else ("not-installed", None)
    return status.status, None


@lru_cache(maxsize=65_536)
def _refusal_cached(
    engine: str, model_format: str, quantization: str, os: str, arch: str, capability: str | None, has_cuda: bool
) -> str | None:
    return refusal(
        engine, model_format, quantization, os=os, arch=arch, compute_capability=capability, has_cuda=has_cuda
    )


def refusal_of(variant: Variant, engine: str, machine: Machine) -> str | None:
    """The sentence why the engine does not take the variant on this machine; None: it does."""
    return spec_refusal(variant.spec, variant.quantization, engine, machine)


def spec_refusal(spec: ModelSpec, quantization: str, engine: str, machine: Machine) -> str | None:
    """The same of a spec's quantization."""
    capability, has_cuda = platform_of(machine)
    if spec.engines or part_count(spec, quantization) > 1:
        # What the file itself says of engines and parts counts too.
        return refusal(
            engine,
            spec,
            quantization,
            os=machine.os,
            arch=machine.arch,
            compute_capability=capability,
            has_cuda=has_cuda,
        )
    return _refusal_cached(engine, spec.format, quantization, machine.os, machine.arch, capability, has_cuda)


def platform_of(machine: Machine) -> tuple[str | None, bool]:
    """The compute capability of the best CUDA card, and whether there is one."""
    best: tuple[int, int] | None = None
    has_cuda = False
    for accelerator in machine.accelerators:
        if accelerator.kind != "cuda":
            continue
        has_cuda = True
        parts = (accelerator.compute_capability or "").split(".")
        if len(parts) == 2 and all(part.isdigit() for part in parts):
            capability = (int(parts[0]), int(parts[1]))
            best = capability if best is None else max(best, capability)
    return (f"{best[0]}.{best[1]}" if best else None), has_cuda


def context_of(family: ModelFamily, wish: Wish) -> int:
    """Tokens to judge at: the wish, else the default, else what the family was trained for where that is shorter."""
    if wish.context is not None:
        return max(1, wish.context)
    if family.context_length:
        return min(DEFAULT_CONTEXT, family.context_length)
    return DEFAULT_CONTEXT


def cache_type_of(engine: str, wish: Wish) -> str:
    """The KV cache type that this engine can be asked for: the others keep 16 bits."""
    return wish.kv_cache_type if engine == LLAMA_CPP else "f16"
