"""Progress of a download as a person can follow it: smoothed speed, time left, silences, ten reports a second."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

from backends.plans import Progress, State

_REPORT_SECONDS = 0.1
_SMOOTHING_SECONDS = 5.0
_SETTLING_SECONDS = 0.5
"""Before this much time has passed a speed would be noise."""
_SILENT_SECONDS = 3.0
"""A silence that is worth a word."""
_PULSE_SECONDS = 0.5
"""Twice a second: a wait that is counted down in seconds skips none."""


def _span(seconds: float) -> str:
    """How long until the next try, in whole seconds, and in minutes where a person would count those."""
    whole = max(1, math.ceil(seconds))
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


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
        # Held while publishing too: two threads' reports in the wrong order would make bytes go backwards.
        self._lock = threading.RLock()
        self._next_try: float | None = None
        self._moved_at = clock()
        self._last_report = -math.inf
        self._sampled: float | None = None
        self._unsampled = 0
        # Bytes and seconds that count for the speed, both fading: their quotient is right from the first second on.
        self._bytes = self._seconds = 0.0

    def moved(self, count: int) -> None:
        """Bytes arrived; a negative count takes back bytes that turned out wrong."""
        with self._lock:
            now = self._clock()
            self.done_bytes += count
            if count > 0:
                self.transferred_bytes += count
                if self._sampled is None:
                    self._sampled = now  # how long the first bytes took is not known
                else:
                    self._unsampled += count
                self._moved_at = now
            if now - self._last_report >= _REPORT_SECONDS or count < 0:
                self.report()

    def say(self, note: str | None) -> None:
        """What is waited for, shown until the next note."""
        with self._lock:
            self._moved_at = self._clock()
            if note != self.note or self._next_try is not None:
                self.note, self._next_try = note, None
                self.report()

    def wait(self, note: str, seconds: float) -> None:
        """Why nothing comes for so many seconds; they are counted down. After 0 seconds it is being tried."""
        with self._lock:
            self.note, self._next_try = note, self._clock() + seconds
            self._forget_speed()
            self.report()

    def enter(self, state: State, file: str | None = None) -> None:
        """Change the state, or the file being worked on."""
        with self._lock:
            self.state = state
            self.file = file if file is not None else self.file
            self._moved_at = self._clock()
            self.report()

    def report(self) -> None:
        """Publish where things stand now."""
        with self._lock:
            self._last_report = self._clock()
            self._sample(self._last_report)
            if self._publish is not None:
                self._publish(self.progress())

    @contextlib.contextmanager
    def beating(self, every_seconds: float = _PULSE_SECONDS) -> Iterator[None]:
        """Report now and then while nothing else does: a silence is told instead of the speed before it."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(every_seconds):
                with self._lock:
                    if self.state == "running" and self._clock() - self._last_report >= every_seconds / 2:
                        self.report()

        thread = threading.Thread(target=beat, daemon=True, name="pulse")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def progress(self) -> Progress:
        """Where things stand."""
        now = self._clock()
        note, rate = self.note, None
        silent = now - self._moved_at
        next_try = self._next_try - now if self._next_try is not None else None
        if next_try is not None and next_try > 0:
            note = f"next try in {_span(next_try)}: {note}"
        elif next_try is not None:
            note, next_try = f"trying again: {note}", None
        elif self.state == "running" and silent >= _SILENT_SECONDS:
            note = note or f"no byte for {silent:.0f} s"
        elif self.state == "running" and self._seconds >= _SETTLING_SECONDS:
            rate = self._bytes / self._seconds
        left = self.total_bytes - self.done_bytes
        seconds = left / rate if rate and rate > 1 and left >= 0 else None
        return Progress(
            self.state,
            self.done_bytes,
            self.total_bytes,
            rate,
            seconds,
            note,
            self.file,
            next_try_seconds=next_try,
        )

    def _sample(self, now: float) -> None:
        """Let what came since the last sample count whole, and what came before it less and less."""
        if self._sampled is None or now - self._sampled < _REPORT_SECONDS:
            return
        if self.state == "running":
            span = now - self._sampled
            fade = math.exp(-span / _SMOOTHING_SECONDS)
            self._bytes = self._bytes * fade + self._unsampled
            self._seconds = self._seconds * fade + span
        self._sampled, self._unsampled = now, 0

    def _forget_speed(self) -> None:
        self._sampled, self._unsampled = None, 0
        self._bytes = self._seconds = 0.0
