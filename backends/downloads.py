"""Downloads, in the names that screens and commands use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.local_index import LocalIndex, local_index, local_weights
from backends.plans import Downloaded, FileOutcome, Job, Patience, Plan, PlannedFile, Progress, State
from backends.queue import Queue

if TYPE_CHECKING:
    from backends.fetching import fetch, plan

__all__ = [
    "Downloaded",
    "FileOutcome",
    "Job",
    "LocalIndex",
    "Patience",
    "Plan",
    "PlannedFile",
    "Progress",
    "Queue",
    "State",
    "fetch",
    "local_index",
    "local_weights",
    "plan",
]


def __getattr__(name: str) -> object:
    """plan() and fetch(), imported when first asked for: the first frame need not wait 40 ms for HTTP and TLS."""
    if name in ("fetch", "plan"):
        from backends import fetching

        return getattr(fetching, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
