"""How long a thread that only wants to run now and then is kept from it: the app's event loop beside an engine."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

STEP_SECONDS = 0.005
BUDGET_MS = 50.0
"""What a user does not notice."""


class Ticker:
    """Sleeps 5 ms at a time in a thread of its own, as long as the block lasts."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        """The longest time between two ticks, beyond what it slept itself."""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._ends.is_set():
            time.sleep(STEP_SECONDS)
            now = time.perf_counter()
            self.worst_ms = max(self.worst_ms, 1000 * (now - last - STEP_SECONDS))
            last = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ends.set()
        self._thread.join()
