"""Downloads, in the names that screens and commands use."""

from __future__ import annotations

from backends.fetching import fetch, plan
from backends.local_index import LocalIndex, local_index, local_weights
from backends.plans import Downloaded, FileOutcome, Job, Plan, PlannedFile, Progress, State
from backends.queue import Queue
from backends.transfer import Patience

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
