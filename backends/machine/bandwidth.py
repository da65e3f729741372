"""Memory bandwidth of devices and hosts: published figures by name, measured where nothing is published."""

from __future__ import annotations

import re
import threading
import time

from backends.machine.devices import find_device, slice_of, slice_share
from backends.machine.model import Cpu, Machine

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
_CHANNELS = (
    # Memory channels x 8 bytes x transfers a second, all populated. Source: AMD's and Intel's product specifications.
    (r"epyc 7\w\w1", 170.6e9),
    (r"epyc 7\w\w[23]", 204.8e9),
    (r"epyc 8\w\w4", 230.4e9),
    (r"epyc 9\w\w4", 460.8e9),
    (r"epyc 9\w\w5", 576e9),
    (r"threadripper pro (3|5)\d\d5wx", 204.8e9),
    (r"threadripper pro 7\d\d5wx", 332.8e9),
    (r"threadripper pro 9\d\d5wx", 409.6e9),
    (r"threadripper 1\d\d0x", 85.3e9),
    (r"threadripper 2\d\d0w?x", 93.9e9),
    (r"threadripper 3\d\d0x", 102.4e9),
    (r"threadripper [79]\d\d0x", 166.4e9),
    (r"xeon e5-\d{4}\w* v2", 59.7e9),
    (r"xeon e5-\d{4}\w* v3", 68.3e9),
    (r"xeon e5-\d{4}\w* v4", 76.8e9),
    (r"xeon (platinum|gold|silver|bronze) \d1\d\d", 128e9),
    (r"xeon (platinum|gold|silver|bronze) \d2\d\d", 140.8e9),
    (r"xeon (platinum|gold|silver|bronze) \d3\d\d", 204.8e9),
    (r"xeon (platinum|gold|silver|bronze) \d4\d\d", 307.2e9),
    (r"xeon (platinum|gold|silver|bronze) \d5\d\d", 358.4e9),
    (r"xeon 69\d\d", 614.4e9),
    (r"xeon 6[57]\d\d", 409.6e9),
    # Altra and Graviton2; Graviton3. Source: Ampere's and AWS's descriptions.
    (r"neoverse-n1|ampere altra", 204.8e9),
    (r"neoverse-v1", 307.2e9),
)
_CORE_BYTES_PER_SECOND = 25_000_000_000
"""What one core of a server can take in, so that a share of its cores has no more than that of its memory.

EPYC 9004: 20 to 30 GB/s a core in published runs of STREAM with one thread.
"""
_TOTAL_BYTES = 128 << 20
"""Bytes that all threads together read in a turn: beyond what most processors' last cache holds."""
_LEAST_BYTES = 32 << 20
_MOST_THREADS = 16
_PATIENCE_SECONDS = 10.0


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


def channels_bandwidth(cpu: Cpu) -> int | None:
    """Bandwidth of a server's memory by its processor's channels, as if all were populated; None: no server's name.

    A virtual machine with few cores gets what these can take in.
    """
    name = re.sub(r"\((r|tm)\)|\bcpu\b", "", (cpu.name or "").lower())
    for pattern, bytes_per_second in _CHANNELS:
        if re.search(pattern, " ".join(name.split())):
            cores = cpu.physical_cores
            return round(min(bytes_per_second, _CORE_BYTES_PER_SECOND * cores) if cores else bytes_per_second)
    return None


def measure_host_bandwidth(
    threads: int, available_bytes: int | None = None, *, rounds: int = 5, seconds: float = 0.015
) -> int | None:
    """Bandwidth of this host's memory in bytes a second, from reading it with so many threads; None: not measurable.

    The best of some short rounds: what else the machine does can only make it slower. Takes some tenths of a second,
    so ask in a thread of your own and never at the start. What fills and searches the memory is the C library's, which
    needs no lock of Python's, so that the threads run together and the screen beside them.

    Args:
        threads: Cores to read with; more than 16 add nothing.
        available_bytes: Free memory, of which at most a sixteenth is taken; None: not known.
        rounds: How often.
        seconds: Of each round.
    """
    import ctypes
    import mmap

    threads = max(1, min(threads, _MOST_THREADS))
    each = max(_LEAST_BYTES, _TOTAL_BYTES // threads)
    if available_bytes is not None:
        threads = min(threads, available_bytes // 16 // each)
        if threads < 1:
            return None
    try:
        library = ctypes.CDLL(None)
        fill, search = library.memset, library.memchr
    except (OSError, AttributeError):
        return None
    fill.argtypes = search.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    fill.restype = search.restype = ctypes.c_void_p
    read = [0] * threads
    barrier = threading.Barrier(threads + 1)
    ended = [threading.Event() for _ in range(rounds)]

    def look(number: int) -> None:
        try:
            with mmap.mmap(-1, each) as memory:
                view = (ctypes.c_char * each).from_buffer(memory)
                try:
                    address = ctypes.addressof(view)
                    # Filled: untouched pages are all one page of zeros, which sits in the cache.
                    fill(address, 1, each)
                    for end in ended:
                        barrier.wait(_PATIENCE_SECONDS)
                        while not end.is_set():
                            search(address, 2, each)
                            read[number] += each
                        barrier.wait(_PATIENCE_SECONDS)
                finally:
                    del view
        except (OSError, ValueError, threading.BrokenBarrierError):
            barrier.abort()

    best = 0.0
    try:
        for number in range(threads):
            threading.Thread(target=look, args=(number,), daemon=True, name="modeldeck-bandwidth").start()
        for end in ended:
            before = sum(read)
            barrier.wait(_PATIENCE_SECONDS)
            began = time.perf_counter()
            end.wait(seconds)
            end.set()
            barrier.wait(_PATIENCE_SECONDS)
            best = max(best, (sum(read) - before) / (time.perf_counter() - began))
    except (RuntimeError, threading.BrokenBarrierError):
        barrier.abort()
    return round(best) or None
