"""How far a load is, told to whoever waits for it and may end it."""

from __future__ import annotations

from backends.engines.engine import Progress
from backends.engines.model_thread import Job
from backends.errors import Cancelled

STEP: float = 0.005
"""The least share that is worth telling."""


class Teller:
    """Tells a load's progress, and ends the load by an exception when that is wished."""

    def __init__(self, job: Job, on_progress: Progress | None, cancelled: str) -> None:
        """
        Args:
            cancelled: What the exception says.
        """
        self._job = job
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._share = -1.0

    def __call__(self, share: float, note: str) -> None:
        if self._job.cancelled:
            raise Cancelled(self._cancelled)
        if self._on_progress is not None and (share >= self._share + STEP or share >= 1.0):
            self._share = share
            self._on_progress(share, note)
