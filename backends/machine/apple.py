"""Apple Silicon: one GPU on the system's own memory, and how much of it that GPU may have."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass

from backends.machine.bandwidth import bandwidth_of
from backends.machine.model import Accelerator

_GIB = 1 << 30
_MIB = 1 << 20

_SYSCTL = "/usr/sbin/sysctl"
_KEYS = (
    "machdep.cpu.brand_string",
    "hw.memsize",
    "hw.physicalcpu",
    "hw.perflevel0.physicalcpu",
    "hw.optional.arm64",
    "iogpu.wired_limit_mb",
    "sysctl.proc_translated",
)

ROSETTA = (
    "this Python was built for Intel and runs under Rosetta, where MLX does not run and llama.cpp is slow: "
    "install a Python for arm64 and modeldeck in it"
)
INTEL_MAC = "this is an Intel Mac: no engine here uses its GPU, so models run on the processor"

# Asked in a child process: a native call that goes wrong must not take the app with it, and importing
# mlx costs more than the start may. Metal's own property first (a few ms), then MLX where it is installed.
_WORKING_SET_QUESTION = """
import ctypes
try:
    ctypes.CDLL("/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics")
    metal = ctypes.CDLL("/System/Library/Frameworks/Metal.framework/Metal")
    objc = ctypes.CDLL("/usr/lib/libobjc.A.dylib")
    metal.MTLCreateSystemDefaultDevice.restype = ctypes.c_void_p
    objc.sel_registerName.restype, objc.sel_registerName.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    ask = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)(("objc_msgSend", objc))
    device = metal.MTLCreateSystemDefaultDevice()
    print(ask(device, objc.sel_registerName(b"recommendedMaxWorkingSetSize")) if device else 0)
except (OSError, AttributeError):
    import mlx.core
    print(mlx.core.device_info()["max_recommended_working_set_size"])
"""


@dataclass(frozen=True, slots=True)
class Chip:
    """What sysctl tells of a Mac; None: it does not."""

    name: str | None = None
    memory_bytes: int | None = None
    physical_cores: int | None = None
    performance_cores: int | None = None
    wired_limit_bytes: int | None = None
    """The limit that the user set for the GPU; None: the system's default."""
    is_apple_silicon: bool = False
    is_translated: bool = False
    """Whether this process runs under Rosetta."""


def chip(timeout_seconds: float = 1.0) -> Chip:
    """Ask sysctl once for all that we want; keys that it does not know stay None."""
    command = [_SYSCTL, *_KEYS]
    try:
        answered = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_seconds, stdin=subprocess.DEVNULL, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        answered = ""
    said = {key: value.strip() for key, _, value in (line.partition(":") for line in answered.splitlines())}
    limit_mib = _number(said.get("iogpu.wired_limit_mb"))
    is_translated = said.get("sysctl.proc_translated") == "1"
    return Chip(
        name=said.get("machdep.cpu.brand_string") or None,
        memory_bytes=_number(said.get("hw.memsize")) or None,
        physical_cores=_number(said.get("hw.physicalcpu")) or None,
        performance_cores=_number(said.get("hw.perflevel0.physicalcpu")) or None,
        wired_limit_bytes=limit_mib * _MIB if limit_mib else None,
        is_apple_silicon=platform.machine() == "arm64" or is_translated or said.get("hw.optional.arm64") == "1",
        is_translated=is_translated,
    )


def probe(timeout_seconds: float = 2.0) -> tuple[tuple[Accelerator, ...], tuple[str, ...]]:
    """The GPU of this Mac, and what is to be said about it. free_bytes is left to who knows the host's memory."""
    found = chip(timeout_seconds * 0.4)
    if not found.is_apple_silicon:
        return (), (INTEL_MAC,)
    asked = working_set(timeout_seconds * 0.5) if found.memory_bytes else None
    limit_bytes = gpu_limit(found.memory_bytes, found.wired_limit_bytes, asked)
    name = found.name or "Apple GPU"
    gpu = Accelerator(
        index=0,
        kind="metal",
        name=name,
        total_bytes=limit_bytes,
        unified=True,
        bandwidth_bytes_per_second=bandwidth_of(name, memory_bytes=found.memory_bytes),
    )
    return (gpu,), (ROSETTA,) if found.is_translated else ()


def gpu_limit(memory_bytes: int | None, wired_limit_bytes: int | None, working_set_bytes: int | None) -> int | None:
    """Memory that the GPU may use.

    The recommended working set where Metal told it, else the user's limit, else the least that any macOS
    gives by default: two thirds below 16 GB, 74 % up to 32 GB, 75 % above (newer ones give up to 91 %).
    A raised limit comes back from Metal unclamped. Source: recommendedMaxWorkingSetSize as llama.cpp logs it.
    """
    if memory_bytes is None:
        return working_set_bytes or wired_limit_bytes
    if working_set_bytes:
        return min(working_set_bytes, memory_bytes)
    if wired_limit_bytes:
        return min(wired_limit_bytes, memory_bytes)
    return default_limit(memory_bytes)


def default_limit(memory_bytes: int) -> int:
    """The least that any macOS lets the GPU of a machine with so much memory use."""
    if memory_bytes < 16 * _GIB:
        return memory_bytes * 2 // 3
    if memory_bytes <= 32 * _GIB:
        return memory_bytes * 74 // 100
    return memory_bytes * 3 // 4


def working_set(timeout_seconds: float = 1.0) -> int | None:
    """Metal's recommended working set in bytes, asked in a child process; None: it did not say."""
    try:
        answered = subprocess.run(
            [sys.executable, "-P", "-c", _WORKING_SET_QUESTION],  # -P: no module of the folder we happen to be in
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _number(answered.strip()) or None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
