"""ModelScope: what its repositories hold, ranges of their files, its search, and downloads by its own client."""

from __future__ import annotations

import threading
from pathlib import Path

from backends.errors import HubError
from backends.hubs.hub import Listing, RepoSummary
from backends.meter import Meter
from backends.plans import FileOutcome, Plan
from backends.transfer import Patience
from specs.model import MODELSCOPE


class ModelScopeHub:
    """The ModelScope hub, at the address that MODELSCOPE_ENDPOINT names."""

    name = MODELSCOPE

    def listing(self, model_id: str, revision: str | None = None, *, timeout_seconds: float = 10.0) -> Listing:
        """Files, sizes and sums at the revision's commit."""
        raise HubError("ModelScope cannot be asked yet; use --hub huggingface")

    def read_range(
        self, model_id: str, revision: str, name: str, start: int, stop: int, *, timeout_seconds: float = 10.0
    ) -> bytes:
        """Bytes start to stop (exclusive) of one file; fewer when it ends before."""
        raise HubError("ModelScope cannot be asked yet; use --hub huggingface")

    def search(self, query: str, *, limit: int = 50) -> tuple[RepoSummary, ...]:
        """Repositories that match, the most downloaded first."""
        raise HubError("ModelScope cannot be asked yet; use --hub huggingface")


def files_folder(model_id: str, revision: str) -> Path:
    """Where the files of a repository lie."""
    raise HubError("ModelScope cannot be asked yet; use --hub huggingface")


def present_bytes(model_id: str, revision: str, name: str, file_bytes: int) -> int:
    """Bytes of a file that lie here."""
    raise HubError("ModelScope cannot be asked yet; use --hub huggingface")


def part(model_id: str, revision: str, name: str) -> Path:
    """Where the bytes of an unfinished file lie."""
    raise HubError("ModelScope cannot be asked yet; use --hub huggingface")


def fetch_files(
    plan: Plan, meter: Meter, cancel: threading.Event | None, patience: Patience
) -> tuple[FileOutcome, ...]:
    """Download what a plan lacks."""
    raise HubError("ModelScope cannot be asked yet; use --hub huggingface")
