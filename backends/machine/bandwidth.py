"""Memory bandwidth of devices and hosts: published figures by name, measured where nothing is published."""

from __future__ import annotations

import re
import threading
import time
from functools import cache

from backends.machine.devices import find_device, slice_of, slice_share
from backends.machine.model import Machine

_HOSTS = (
    # LPDDR4X-4267 and LPDDR4-3200 on 32 bits. Source: Raspberry Pi's product briefs.
    (r"raspberry pi 5|raspberry pi compute module 5", 17.1e9),
    (r"raspberry pi 4|raspberry pi compute module 4", 12.8e9),
    # LPDDR5X-8000 on 256 bits. Source: AMD's product page of Ryzen AI Max.
    (r"ryzen ai max", 256e9),
    # Source: NVIDIA's data sheets of DGX Spark and of Jetson AGX Orin.
    (r"dgx spark|gb10", 273e9),
    (r"jetson agx orin", 204.8e9),
)
_COPY_BYTES = 32 << 20
"""Bytes that each thread copies at a time: beyond what a core's share of the last cache holds."""


def bandwidth_of(name: str, *, gpu_cores: int | None = None, memory_bytes: int | None = None) -> int | None:
    """Published memory bandwidth of a device in bytes a second; None: none that we know of.

    A MIG slice has its share of the card's, which is its share of the card's memory.

    Args:
        name: As NVML, sysctl or the amdgpu driver gives it.
        gpu_cores: Cores of an Apple GPU, where one chip is sold with two memory buses.
        memory_bytes: Memory of the card, or of the whole Mac, where one name is sold with several.
    """
    part = slice_of(name)
    if part is not None:
        card = find_device(part[0])
        return round(card.bandwidth_bytes_per_second * slice_share(card, part[1])) if card else None
    device = find_device(name, gpu_cores=gpu_cores, memory_bytes=memory_bytes)
    return device.bandwidth_bytes_per_second if device else None


def compute_capability_of(name: str) -> str | None:
    """CUDA's compute capability of a card or slice, such as "8.9"; None: not known, or not CUDA."""
    part = slice_of(name)
    device = find_device(part[0] if part else name)
    return device.compute_capability if device else None


def host_bandwidth(cpu_name: str | None, machine: Machine) -> int | None:
    """Published bandwidth of the host's memory in bytes a second; None unless it is really known.

    Known are systems with soldered memory. A socketed processor's depends on the modules that somebody put in.
    """
    if cpu_name is None:
        return None
    if cpu_name.startswith("Apple "):
        return bandwidth_of(cpu_name, memory_bytes=machine.memory.total_bytes)
    for pattern, bytes_per_second in _HOSTS:
        if re.search(pattern, cpu_name, re.IGNORECASE):
            return round(bytes_per_second)
    return None


@cache
def measure_host_bandwidth(threads: int = 2, seconds: float = 0.05) -> int | None:
    """Bandwidth of this host's memory in bytes a second, from copying with so many threads; None: not measurable.

    Takes about twice the seconds and 64 MiB a thread, so ask in a thread of your own and never at the start. A copied
    byte is read once and written once. The C library's copy releases Python's lock, so the threads really run together.
    """
    import ctypes

    copied = [0] * threads
    ready, go = threading.Barrier(threads + 1), threading.Event()

    def copy(number: int) -> None:
        # Filled, not merely allocated: untouched pages are all one page of zeros, which sits in the cache.
        source, target = bytearray(b"\1") * _COPY_BYTES, bytearray(b"\2") * _COPY_BYTES
        here = (ctypes.c_char * _COPY_BYTES).from_buffer(source)
        there = (ctypes.c_char * _COPY_BYTES).from_buffer(target)
        ready.wait()
        while not go.is_set():
            ctypes.memmove(there, here, _COPY_BYTES)
            copied[number] += _COPY_BYTES

    workers = [threading.Thread(target=copy, args=(number,), daemon=True) for number in range(threads)]
    try:
        for worker in workers:
            worker.start()
        ready.wait(timeout=30)
    except (RuntimeError, threading.BrokenBarrierError):
        go.set()
        ready.abort()
        return None
    began = time.perf_counter()
    go.wait(seconds)
    go.set()
    for worker in workers:
        worker.join()
    spent = time.perf_counter() - began
    return round(2 * sum(copied) / spent) if spent > 0 and all(copied) else None
