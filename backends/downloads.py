"""Downloads, in the names that screens and commands use."""

from __future__ import annotations

import threading
from collections.abc import Callable

from backends.local_index import LocalIndex, local_index, local_weights
from backends.plans import Downloaded, FileOutcome, Job, Patience, Plan, PlannedFile, Progress, State
from backends.queue import Queue
from specs.model import Variant

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


def plan(variant: Variant, hub: str | None = None, *, timeout_seconds: float = 30.0) -> Plan:
    """What downloading a variant would fetch: asked of the hub, or told from what is known here.

    Args:
        variant: What to download.
        hub: "huggingface" or "modelscope"; None: the first hub that lists the variant.
        timeout_seconds: How long the whole listing may take; a hub that is silent is given up on after ten.

    Raises:
        NotFound: no hub lists it, or the repository lacks its files.
        HubError: what the hub said.
    """
    from backends.fetching import plan as made  # HTTP and TLS: 40 ms that the first frame need not wait for

    return made(variant, hub, timeout_seconds=timeout_seconds)


def fetch(
    plan: Plan,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    *,
    patience: Patience | None = None,
) -> Downloaded:
    """Download what a plan lacks. Blocks until all files are whole and their sums right, or raises.

    What has arrived stays in place on every failure, and the next call goes on from there.

    Args:
        plan: From plan().
        on_progress: Called at most ten times a second and at every change of state, by one thread at a time.
        cancel: Set it from any thread; the call ends with Cancelled within 0.2 s.
        patience: How long and how often to try.

    Raises:
        Cancelled, DiskFull, DownloadError, HubError and its kinds, NotFound.
    """
    from backends.fetching import fetch as fetched

    return fetched(plan, on_progress, cancel, patience=patience)
