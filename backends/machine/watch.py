"""Watching the machine for the live strip: what changes from second to second, cheaply."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from backends.machine import amd, host, nvidia
from backends.machine.deadline import Late, Question
from backends.machine.detect import detect, with_host_memory
from backends.machine.model import Accelerator, Machine, Memory

_Sampled = tuple[Accelerator | None, str | None]
"""An accelerator as it is now, None while it is lost; and a sentence when something is wrong with it."""


class Watch:
    """Samples of one machine, with its drivers' handles kept between them.

    Safe to use from any thread; samples take turns. Ask from a worker thread: a sample waits for slow drivers up to the
    deadline, and costs nothing while nobody asks.
    """

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        deadline_seconds: float = 1.0,
        root: Path = Path("/"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Watch this machine.

        Args:
            machine: What detect() found; None: it is asked at the first sample. One with a label is a machine
                that we do not run on, and stays as it is.
            deadline_seconds: How long a sample waits for the slowest card.
            root: Where / is for /proc and /sys.
            environment: Where ROCR_VISIBLE_DEVICES and its like are looked up; None: this process's.
        """
        self._machine = machine
        self._seconds = deadline_seconds
        self._root = root
        self._environment = dict(os.environ if environment is None else environment)
        self._lock = threading.Lock()
        self._reader = nvidia.Reader()
        self._is_closed = False

    def sample(self) -> Machine:
        """The machine now: memory of host and accelerators, load and holders. Never raises and never hangs.

        A card that does not answer keeps its place with unknown figures; one that is lost is left out until it
        comes back; both with a warning.
        """
        with self._lock:
            if self._machine is None:
                self._machine = detect(root=self._root, environment=self._environment)
            if self._machine.label is not None or self._is_closed:
                return self._machine
            return self._now(self._machine)

    def close(self) -> None:
        """Give the drivers' handles back; samples after this are what was detected."""
        with self._lock:
            self._is_closed = True
            self._reader.close(time.monotonic() + self._seconds)

    def _now(self, machine: Machine) -> Machine:
        until = time.monotonic() + self._seconds
        kinds = {one.kind for one in machine.accelerators}
        asked_amd = Question(lambda: amd.probe(self._environment, self._root), "amd") if "rocm" in kinds else None
        uuids = [one.uuid for one in machine.accelerators if one.kind == "cuda" and one.uuid is not None]
        readings = self._reader.read(uuids, until) if uuids else {}
        memory = self._host_memory()
        amds: dict[int, Accelerator] = {}
        if asked_amd is not None:
            with suppress(Exception):  # its cards then show unknown figures below
                amds = {one.index: one for one in asked_amd.answer(until)[0]}
        warnings = list(machine.warnings)
        accelerators = []
        for one in machine.accelerators:
            sampled: _Sampled
            if one.kind == "cuda":
                sampled = self._cuda(one, readings.get(one.uuid or ""))
            elif one.kind == "rocm":
                sampled = amds.get(one.index, replace(one, free_bytes=None, load_percent=None)), None
            else:
                sampled = replace(one, free_bytes=None), None
            now, warning = sampled
            if now is not None:
                accelerators.append(with_host_memory(now, memory))
            if warning is not None:
                warnings.append(warning)
        return replace(
            machine,
            memory=memory,
            accelerators=tuple(accelerators),
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _cuda(self, one: Accelerator, reading: nvidia.Reading | Exception | None) -> _Sampled:
        title = f"NVIDIA GPU {one.index} ({one.name})"
        unknown = replace(one, free_bytes=None, load_percent=None, holders=())
        if reading is None:
            return unknown, None
        if isinstance(reading, Late):
            return unknown, f"{title} has not answered for {self._seconds:g} s: try `nvidia-smi`"
        if isinstance(reading, Exception):
            if nvidia.is_lost(reading):
                return None, nvidia.lost_sentence(title)
            return unknown, f"{title} cannot be asked now ({reading or type(reading).__name__}): try `nvidia-smi`"
        return replace(
            one,
            total_bytes=reading.total_bytes,
            free_bytes=reading.free_bytes,
            load_percent=reading.load_percent,
            holders=reading.holders,
            unified=reading.is_unified,
        ), None

    def _host_memory(self) -> Memory:
        try:
            return host.memory(self._root)
        except Exception:  # noqa: BLE001 - unknown is shown as unknown
            return Memory(self._machine.memory.total_bytes if self._machine else None, None)


def refresh_memory(machine: Machine, *, deadline_seconds: float = 1.0) -> Machine:
    """The machine with its memory as it is now, for a verdict just before a load; once, so prefer Watch for more."""
    with closing(Watch(machine, deadline_seconds=deadline_seconds)) as watch:
        return watch.sample()
