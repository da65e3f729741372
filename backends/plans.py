"""Values of a download: its plan, its progress, its outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backends.errors import Cancelled
from specs.model import Variant

State = Literal["queued", "running", "verifying", "paused", "done", "failed", "cancelled"]


def _pause(seconds: float, cancel: threading.Event | None) -> None:
    if (cancel or threading.Event()).wait(seconds):
        raise Cancelled("stopped")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often to try."""

    tries: int = 6
    """Attempts in a row that bring no byte before giving up."""
    back_off_seconds: float = 1.0
    """Wait after the first failure; doubles up to most_back_off_seconds."""
    most_back_off_seconds: float = 30.0
    most_retry_after_seconds: float = 900.0
    """A hub that asks for more than this is given up on, with its answer."""
    stall_seconds: float = 10.0
    """Silence after which the connection is made anew."""
    connect_seconds: float = 10.0
    pause: Callable[[float, threading.Event | None], None] = _pause
    """Waits, or raises Cancelled; tests inject one that does not wait."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file of a download."""

    name: str
    file_bytes: int
    sha256: str | None
    """None: the hub gives no sum; the size is all that can be checked."""
    present_bytes: int
    """Bytes that lie here already, whole file or part."""
    etag: str | None = None
    """The name of its blob in Hugging Face's cache."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one download will fetch, and where the weights will be."""

    variant: Variant
    hub: str
    model_id: str
    revision: str
    """The commit."""
    files: tuple[PlannedFile, ...]
    path: Path
    """The GGUF file (the first part), or the folder, once all files are whole."""
    branch: str | None = None
    """The branch or tag that was asked for; None: the hub's default."""
    fresh: bool = True
    """Whether the hub was asked just now; False: from what was known here, since it does not answer."""
    gated: str | None = None
    """"auto" or "manual" where the licence must be accepted first."""

    @property
    def total_bytes(self) -> int:
        return sum(file.file_bytes for file in self.files)

    @property
    def missing_bytes(self) -> int:
        return sum(file.file_bytes - file.present_bytes for file in self.files)

    @property
    def has_sums(self) -> bool:
        """Whether the hub gives a sum of every file; else sizes are all that can be checked."""
        return all(file.sha256 or file.etag for file in self.files)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a download stands. Published as often as something changes, at most ten times a second."""

    state: State
    done_bytes: int
    total_bytes: int
    bytes_per_second: float | None = None
    """Smoothed over some seconds; None: not known yet."""
    seconds_left: float | None = None
    note: str | None = None
    """What it waits for, or why it failed, in one line."""
    file: str | None = None
    refused: str | None = None
    """"gated", "private" or "token" where the hub did not give it to this user; None otherwise."""
    page: str | None = None
    """Where access is asked for, if the hub refused and has such a page."""
    next_try_seconds: float | None = None
    """Seconds until it tries again; None: it waits for no next try."""


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """One file that is whole."""

    name: str
    file_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A finished download."""

    path: Path
    hub: str
    model_id: str
    revision: str
    total_bytes: int
    transferred_bytes: int
    files: tuple[FileOutcome, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One entry of the queue, as it stands."""

    id: str
    plan: Plan
    progress: Progress
