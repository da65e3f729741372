"""Which engine takes which format and quantization, as data with a sentence for each refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from specs import extensions
from specs.model import ENGINES, FORMATS, LLAMA_CPP, MLX, SGLANG, TRANSFORMERS, VLLM, ModelSpec

LMDEPLOY: Final = "LMDEPLOY"
"""An engine that spec pages name and modeldeck does not carry."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One format that an engine takes, and under which conditions."""

    engine: str
    format: str
    quantizations: tuple[str, ...] | None = None
    """Lower-case names that it takes; None: any."""
    bits: tuple[int, ...] | None = None
    """Bits that it takes, by the number in the quantization's name; None: any. Names without a number pass."""
    listed: bool = True
    """Whether spec pages name this engine for the format; unlisted ones are offered, but not promised."""
    single_file: bool = False
    """Whether weights in parts are refused."""
    min_capability: tuple[int, int] | None = None
    """Lowest CUDA compute capability whose kernels exist; asked only where a CUDA card is used."""
    kernels: str = ""
    """What needs that capability, for the sentence."""
    needs_cuda: bool = False
    """Whether this format needs a CUDA card although the engine runs without one."""


RULES: Final[tuple[Rule, ...]] = (
    Rule(LLAMA_CPP, "ggufv2"),
    Rule(VLLM, "ggufv2", listed=False, single_file=True, needs_cuda=True),
    Rule(TRANSFORMERS, "pytorch", ("none", "4-bit", "8-bit")),
    Rule(VLLM, "pytorch", ("none",)),
    Rule(SGLANG, "pytorch", ("none",)),
    Rule(TRANSFORMERS, "gptq", min_capability=(6, 0), kernels="GPTQ kernels"),
    Rule(VLLM, "gptq", bits=(3, 4, 8), min_capability=(7, 5), kernels="Marlin kernels"),
    Rule(SGLANG, "gptq", min_capability=(7, 5), kernels="Marlin kernels"),
    Rule(TRANSFORMERS, "awq", min_capability=(7, 5), kernels="AWQ kernels"),
    Rule(VLLM, "awq", bits=(4, 8), min_capability=(7, 5), kernels="AWQ and Marlin kernels"),
    Rule(SGLANG, "awq", min_capability=(7, 5), kernels="AWQ and Marlin kernels"),
    Rule(TRANSFORMERS, "fp8", min_capability=(8, 9), kernels="fp8 kernels", needs_cuda=True),
    Rule(VLLM, "fp8", min_capability=(8, 9), kernels="fp8 kernels", needs_cuda=True),
    Rule(SGLANG, "fp8", min_capability=(8, 9), kernels="fp8 kernels", needs_cuda=True),
    Rule(TRANSFORMERS, "fp4", min_capability=(7, 5), kernels="fp4 kernels", needs_cuda=True),
    Rule(TRANSFORMERS, "bnb", min_capability=(6, 0), kernels="bitsandbytes kernels"),
    Rule(VLLM, "bnb", min_capability=(7, 0), kernels="bitsandbytes kernels", needs_cuda=True),
    Rule(MLX, "mlx"),
)
"""Formats in the order of the spec pages, engines in the order in which we would try them.

Sources: the spec pages; vLLM's and SGLang's tables of supported hardware; bitsandbytes' requirements (Pascal, 6.0);
NVIDIA's table of compute capabilities (fp8 tensor cores from Ada, 8.9; Marlin from Turing, 7.5).
"""

DEAD_FORMATS: Final[Mapping[str, str]] = {
    "ggmlv3": "ggmlv3 files are older than GGUF and no engine reads them any more; look for a ggufv2 spec of the model",
}

_NAMES: Final = {name.lower(): name for name in (*ENGINES, LMDEPLOY)} | {
    "llama-cpp": LLAMA_CPP,
    "llama-cpp-python": LLAMA_CPP,
    "llamacpp": LLAMA_CPP,
    "llama_cpp": LLAMA_CPP,
    "mlx-lm": MLX,
}
_BY_FORMAT: Final[Mapping[str, Mapping[str, Rule]]] = {
    name: {rule.engine: rule for rule in RULES if rule.format == name} for name in FORMATS
}
_OLDEST_CARD: Final[Mapping[str, tuple[int, int]]] = {VLLM: (7, 0), SGLANG: (7, 5)}
"""Lowest compute capability that these engines start on at all. Source: their installation guides."""
_OS_NAMES: Final = {"darwin": "macOS", "linux": "Linux", "windows": "Windows", "win32": "Windows"}


def engine_name(name: str) -> str:
    """An engine in our spelling, whatever case it was written in; unknown names as they stand."""
    known = _NAMES.get(name.strip().lower())
    if known is not None:
        return known
    added = extensions.extension("engines", name)
    return added.name if added is not None else name.strip()


def engines_for(spec: ModelSpec) -> Mapping[str, tuple[str, ...]]:
    """Which quantizations each engine could take anywhere: as the file says, else as our rules say."""
    if spec.engines:
        return spec.engines
    taken: dict[str, tuple[str, ...]] = {}
    for engine, rule in _rules(spec.format).items():
        names = tuple(name for name in spec.quantizations if _takes(rule, name.lower())) if rule.listed else ()
        if names:
            taken[engine] = names
    return taken


def candidate_engines(spec: ModelSpec, quantization: str) -> tuple[str, ...]:
    """Engines of ours that take the spec's format, the one to try first in front.

    An engine may still refuse the quantization or the machine; refusal() has the sentence. A file that names engines
    leaves only those.
    """
    ordered = _candidates(spec.format, quantization.lower())
    if not spec.engines:
        return ordered
    wanted = quantization.lower()
    named = {
        engine: any(name.lower() == wanted for name in names)
        for engine, names in spec.engines.items()
        if engine in extensions.engines()
    }
    known = [engine for engine in ordered if engine in named]
    known += [engine for engine in named if engine not in known]
    return tuple(sorted(known, key=lambda engine: not named[engine]))


def refusal(
    engine: str,
    spec_or_format: ModelSpec | str,
    quantization: str,
    *,
    os: str,
    arch: str,
    compute_capability: str | None,
    has_cuda: bool,
) -> str | None:
    """Why this engine does not take these weights on that platform, in one sentence; None: it takes them.

    Args:
        engine: in any case; engines that modeldeck does not carry are answered too.
        spec_or_format: a spec, whose own word on engines counts, or only the name of a format.
        quantization: as the spec lists it.
        os: "linux" or "darwin".
        arch: "x86_64", "aarch64" or "arm64".
        compute_capability: of the lowest CUDA card to be used, such as "8.9"; None: no card or not known.
        has_cuda: whether there is a CUDA card that can be used.
    """
    name = engine_name(engine)
    if isinstance(spec_or_format, ModelSpec):
        spec, model_format = spec_or_format, spec_or_format.format
        said = _said_by_file(name, spec, quantization)
        if said:
            return said
        if name in (spec.engines or ()) and extensions.extension("engines", name) is not None:
            return None  # of an engine that a package adds, the file's word is all that is known
    else:
        spec, model_format = None, spec_or_format
    why = _refused_by_rules(name, model_format, quantization.lower()) or _refused_by_platform(
        _rules(model_format)[name], os, arch, compute_capability, has_cuda
    )
    if why is None and spec is not None and _rules(model_format)[name].single_file:
        parts = part_count(spec, quantization)
        if parts > 1:
            return f"{name} reads GGUF as a single file, and {quantization} comes in {parts} parts; llama.cpp takes it"
    return why


def fallback(
    engine: str, model_format: str, quantization: str, *, compute_capability: str | None, has_cuda: bool
) -> str | None:
    """What an engine does instead on a card that lacks a type which the weights are published in; None: nothing.

    A sentence for the reason line, not a refusal: below compute capability 8.0 there is no fast bf16.
    """
    capability = _capability(compute_capability)
    if not has_cuda or capability is None or capability >= (8, 0) or model_format not in {"pytorch", "bnb"}:
        return None
    name = engine_name(engine)
    if name not in {TRANSFORMERS, VLLM, SGLANG}:
        return None
    what = "computes in float16" if quantization.lower() != "none" else "loads the weights as float16"
    return f"no bf16 at compute capability {compute_capability} (it starts at 8.0): {name} {what} instead"


def not_carried(engine: str, model_format: str, quantization: str) -> str:
    """The sentence for an engine that modeldeck does not carry, with those that take the format instead."""
    others = [
        name for name in _candidates(model_format, quantization.lower()) if _taken(name, model_format, quantization)
    ]
    if not others:
        return f"modeldeck does not carry {engine}"
    return (
        f"modeldeck does not carry {engine}; {_either(others)} {'takes' if len(others) == 1 else 'take'} {model_format}"
    )


def _refused_by_rules(name: str, model_format: str, quantization: str) -> str | None:
    """The refusal that holds on every machine."""
    if model_format in DEAD_FORMATS:
        return DEAD_FORMATS[model_format]
    if name not in extensions.engines():
        return not_carried(name, model_format, quantization)
    rule = _rules(model_format).get(name)
    if rule is None:
        others = [other for other in _candidates(model_format, quantization) if other != name]
        takers = f"; {_either(others)} can" if others else ""
        return f"{name} does not read {model_format}{takers}"
    if not _takes(rule, quantization):
        return _wrong_quantization(rule, quantization)
    return None


def _refused_by_platform(rule: Rule, os: str, arch: str, compute_capability: str | None, has_cuda: bool) -> str | None:
    name = rule.engine
    here = _OS_NAMES.get(os.lower(), os)
    if name in {VLLM, SGLANG} and os != "linux":
        return f"{name} needs Linux and CUDA; this is {here}"
    if name == MLX and os == "darwin" and arch not in {"arm64", "aarch64"}:
        return f"MLX needs Apple Silicon; this is {here} on {arch}"
    if name == MLX and os not in {"darwin", "linux"}:
        return f"MLX needs Apple Silicon, or Linux for its CPU build; this is {here}"
    if name == SGLANG and not has_cuda:
        return "SGLang needs Linux and CUDA; this machine has no CUDA card that can be used"
    if rule.needs_cuda and not has_cuda:
        where = "" if os == "linux" else f"; this is {here}"
        return f"{name} needs a CUDA card for {rule.format}{where or '; this machine has none that can be used'}"
    capability = _capability(compute_capability)
    needed = rule.min_capability
    if has_cuda and capability is not None and needed is not None and capability < needed:
        least = f"{needed[0]}.{needed[1]}"
        return f"{name}'s {rule.kernels} need compute capability {least}; this card has {compute_capability}"
    oldest = _OLDEST_CARD.get(name)
    if has_cuda and capability is not None and oldest is not None and capability < oldest:
        return f"{name} needs compute capability {oldest[0]}.{oldest[1]}; this card has {compute_capability}"
    return None


def _said_by_file(name: str, spec: ModelSpec, quantization: str) -> str | None:
    """The refusal that follows from the file's own list of engines."""
    if not spec.engines or name not in extensions.engines():
        return None
    wanted = quantization.lower()
    allowed = spec.engines.get(name)
    if allowed is None:
        others = [engine for engine in spec.engines if engine in extensions.engines()]
        instead = f"; {_either(others)} can" if others else ""
        return f"the spec file does not name {name} for {spec.format} {quantization}{instead}"
    if any(entry.lower() == wanted for entry in allowed):
        return None
    others = [
        engine
        for engine, names in spec.engines.items()
        if engine in extensions.engines() and any(entry.lower() == wanted for entry in names)
    ]
    instead = f"; {_either(others)} can" if others else ""
    only = ", ".join(allowed) or "none of them"
    return f"{name} is only available for quantization {only} of this spec, not {quantization}{instead}"


def _wrong_quantization(rule: Rule, quantization: str) -> str:
    others = [name for name, other in _rules(rule.format).items() if other is not rule and _takes(other, quantization)]
    instead = f"; {_either(others)} can" if others else ""
    if rule.quantizations is not None:
        if rule.format == "pytorch" and quantization in {"4-bit", "8-bit"}:
            return f"{rule.engine} does not quantize to {quantization} while it loads{instead}"
        return f"{rule.engine} takes {rule.format} as {', '.join(rule.quantizations)}, not {quantization}{instead}"
    widths = ", ".join(map(str, rule.bits or ()))
    return f"{rule.engine} takes {rule.format} with {widths} bits, not {quantization}{instead}"


def _rules(model_format: str) -> Mapping[str, Rule]:
    """By engine, those that packages add behind ours."""
    there = extensions.found()
    return _rules_with(model_format, there) if there.extensions else _BY_FORMAT.get(model_format, {})


@lru_cache(maxsize=64)
def _rules_with(model_format: str, there: extensions.Found) -> Mapping[str, Rule]:
    added = {one.name: Rule(one.name, model_format) for one in there.extensions if model_format in one.formats}
    return {**_BY_FORMAT.get(model_format, {}), **added}


def _candidates(model_format: str, quantization: str) -> tuple[str, ...]:
    return _ordered(model_format, quantization, extensions.found())


@lru_cache(maxsize=4096)
def _ordered(model_format: str, quantization: str, _there: extensions.Found) -> tuple[str, ...]:
    rules = _rules(model_format).values()
    return tuple(rule.engine for rule in sorted(rules, key=lambda rule: not _takes(rule, quantization)))


def _taken(engine: str, model_format: str, quantization: str) -> bool:
    rule = _rules(model_format).get(engine)
    return rule is not None and _takes(rule, quantization.lower())


@lru_cache(maxsize=4096)
def _takes(rule: Rule, quantization: str) -> bool:
    if rule.quantizations is not None:
        return quantization in rule.quantizations
    if rule.bits is None:
        return True
    found = [int(number) for number in re.findall(r"(?:int|w|^)(\d+)", quantization)]
    return not found or all(number in rule.bits for number in found)


def part_count(spec: ModelSpec, quantization: str) -> int:
    """Files that a quantization's weights come in, as far as the spec says."""
    if not any(hub.parts for hub in spec.hubs):
        return 1
    wanted = quantization.lower()
    return max(
        (len(parts) for hub in spec.hubs for name, parts in hub.parts.items() if name.lower() == wanted), default=1
    )


@lru_cache(maxsize=256)
def _capability(text: str | None) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d{1,3})(?:\.(\d{1,3}))?", text.strip()) if text else None
    return (int(match[1]), int(match[2] or 0)) if match else None


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
