"""Finding out what this machine is."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from backends.machine import amd, apple, host, nvidia
from backends.machine.deadline import Late, Question
from backends.machine.model import Accelerator, Cpu, Machine, Memory

_Found = tuple[tuple[Accelerator, ...], tuple[str, ...]]


def detect(
    *, deadline_seconds: float = 2.0, root: Path = Path("/"), environment: Mapping[str, str] | None = None
) -> Machine:
    """This machine as its drivers tell it, within the deadline.

    Never raises and never hangs: what does not answer, or answers with an error, becomes a warning that says what
    to do, and hides nothing else.

    Args:
        deadline_seconds: How long to wait for the slowest driver.
        root: Where / is for /proc and /sys; tests pass a folder with a few files.
        environment: Where CUDA_VISIBLE_DEVICES and its like are looked up; None: this process's.
    """
    environment = dict(os.environ if environment is None else environment)
    until = time.monotonic() + deadline_seconds
    asked_host = Question(lambda: host.probe(root), "host")
    if sys.platform == "darwin":
        asked_apple = Question(lambda: apple.probe(deadline_seconds), "apple")
        accelerators, said = _found(asked_apple, until, "the Mac's GPU", deadline_seconds)
    else:
        asked_amd = Question(lambda: amd.probe(environment, root), "amd")
        asked_intel = Question(lambda: amd.intel(root), "intel")
        try:
            nvidias = nvidia.probe(until, seconds=deadline_seconds, environment=environment, root=root)
        except Exception as error:  # noqa: BLE001 - told to the user
            nvidias = (), (f"the NVIDIA driver could not be asked ({type(error).__name__}: {error})",)
        amds = _found(asked_amd, until, "the AMD driver", deadline_seconds)
        try:
            intels = asked_intel.answer(until)
        except Exception:  # noqa: BLE001 - they could not be used anyway
            intels = ()
        accelerators, said = _together(nvidias, amds, intels)
    warnings = list(said)
    cpu, memory = Cpu(None, None, None), Memory(None, None)
    try:
        answered = asked_host.answer(until)
        cpu, memory, warnings = answered.cpu, answered.memory, [*answered.warnings, *said]
    except Late:
        warnings.append(f"the system did not tell its memory and processor within {deadline_seconds:g} s; ask again")
    except Exception as error:  # noqa: BLE001 - told to the user
        warnings.append(f"memory and processor could not be asked for ({type(error).__name__}: {error})")
    return Machine(
        os="darwin" if sys.platform == "darwin" else "linux" if sys.platform.startswith("linux") else sys.platform,
        arch=platform.machine().lower(),
        cpu=cpu,
        memory=memory,
        accelerators=tuple(with_host_memory(one, memory) for one in accelerators),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def with_host_memory(one: Accelerator, memory: Memory) -> Accelerator:
    """An accelerator on the host's memory, with what the host has to give; others as they are.

    GB10 and Grace report no memory of their own: the host's is theirs. A Mac's GPU, or an APU, has a limit, and what is
    free to it is what is free of the host below that limit.
    """
    if not one.unified:
        return one
    total_bytes = one.total_bytes if one.total_bytes is not None else memory.total_bytes
    known = [free for free in (one.free_bytes, total_bytes, memory.available_bytes) if free is not None]
    free_bytes = min(known) if memory.available_bytes is not None or one.free_bytes is not None else None
    return replace(one, total_bytes=total_bytes, free_bytes=free_bytes)


def _together(nvidias: _Found, amds: _Found, intels: tuple[str, ...]) -> _Found:
    """All vendors' GPUs, without those built into a processor where there are cards.

    A processor's GPU beside a card is there for the screen: it is far slower, and ROCm supports few of them.
    """
    accelerators = nvidias[0] + amds[0]
    warnings = nvidias[1] + amds[1]
    built_in = [one for one in amds[0] if one.unified]
    if built_in and len(built_in) < len(accelerators):
        accelerators = tuple(one for one in accelerators if one not in built_in)
        warnings += tuple(f"{one.name}, which is built into the processor, is left to the screen" for one in built_in)
    if not accelerators:
        warnings += tuple(f"{name} is not used: the engines here have no backend for Intel GPUs" for name in intels)
    return accelerators, warnings


def _found(asked: Question[_Found], until: float, what: str, seconds: float) -> _Found:
    """What one probe found, or nothing with a warning."""
    try:
        return asked.answer(until)
    except Late:
        return (), (f"{what} did not answer within {seconds:g} s and is left out: look for its errors in `dmesg`",)
    except Exception as error:  # noqa: BLE001 - told to the user
        return (), (f"{what} could not be asked ({type(error).__name__}: {error}) and is left out",)
