"""Progress of a download as a person can follow it: smoothed speed, time left, ten reports a second."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from backends.plans import Progress, State

_REPORT_SECONDS = 0.1
_SMOOTHING_SECONDS = 5.0
_SETTLING_SECONDS = 0.5
"""Before this much time has passed a speed would be noise."""


class Meter:
    """Counts bytes and publishes Progress. May be called from several threads."""

    def __init__(
        self,
        total_bytes: int,
        done_bytes: int,
        publish: Callable[[Progress], None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_bytes = total_bytes
        self.done_bytes = done_bytes
        self.transferred_bytes = 0
        """Bytes that came over the network, counted again when they had to come again."""
        self.state: State = "running"
        self.file: str | None = None
        self.note: str | None = None
        self._publish = publish
        self._clock = clock
        self._lock = threading.Lock()
        self._rate: float | None = None
        self._began = self._sampled = clock()
        self._unsampled = 0
        self._last_report = -math.inf

    def moved(self, count: int) -> None:
        """Bytes arrived; a negative count takes back bytes that turned out wrong."""
        with self._lock:
            self.done_bytes += count
            if count > 0:
                self.transferred_bytes += count
                self._unsampled += count
            now = self._clock()
            if now - self._last_report < _REPORT_SECONDS and count > 0:
                return
        self.report()

    def say(self, note: str | None) -> None:
        """What is waited for, shown until the next note."""
        if note != self.note:
            self.note = note
            self.report()

    def enter(self, state: State, file: str | None = None) -> None:
        """Change the state, or the file being worked on."""
        self.state = state
        self.file = file if file is not None else self.file
        self.report()

    def report(self) -> None:
        """Publish where things stand now."""
        with self._lock:
            now = self._clock()
            self._last_report = now
            self._sample(now)
            progress = self.progress()
        if self._publish is not None:
            self._publish(progress)

    def progress(self) -> Progress:
        """Where things stand."""
        running = self.state == "running"
        rate = self._rate if running else None
        left = self.total_bytes - self.done_bytes
        seconds = left / rate if rate and rate > 1 and left >= 0 else None
        return Progress(self.state, self.done_bytes, self.total_bytes, rate, seconds, self.note, self.file)

    def _sample(self, now: float) -> None:
        span = now - self._sampled
        if span < _REPORT_SECONDS:
            return
        if self.state != "running":
            self._sampled, self._unsampled = now, 0
            return
        current = self._unsampled / span
        if self._rate is None:
            if now - self._began < _SETTLING_SECONDS or not self._unsampled:
                return
            self._rate = current
        else:
            share = 1 - math.exp(-span / _SMOOTHING_SECONDS)
            self._rate += share * (current - self._rate)
        self._sampled, self._unsampled = now, 0
