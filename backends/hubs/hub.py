"""The contract of a hub, and the values that it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file of a repository."""

    name: str
    """Path inside the repository, with forward slashes."""
    file_bytes: int | None
    """None: the hub does not tell."""
    sha256: str | None = None
    """None: the hub gives no sum, as for small files that are not in large-file storage."""
    etag: str | None = None
    """The name of its blob in the shared cache: a git object ID or the sha256."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at one commit."""

    hub: str
    model_id: str
    revision: str
    """The commit, so that later questions meet the same files."""
    files: tuple[RepoFile, ...]
    gated: str | None = None
    """"auto" or "manual" where the licence must be accepted first."""
    private: bool = False


@dataclass(frozen=True, slots=True)
class RepoSummary:
    """One hit of a search."""

    hub: str
    model_id: str
    downloads: int | None
    likes: int | None
    tags: tuple[str, ...] = ()
    gated: str | None = None


class Hub(Protocol):
    """What modeldeck asks of a hub. Every method may raise HubError and its kinds, and blocks: call it in a thread."""

    name: str

    def listing(self, model_id: str, revision: str | None = None, *, timeout_seconds: float = 10.0) -> Listing:
        """Files, sizes and sums at the revision's commit."""
        ...

    def read_range(
        self, model_id: str, revision: str, name: str, start: int, stop: int, *, timeout_seconds: float = 10.0
    ) -> bytes:
        """Bytes start to stop (exclusive) of one file; fewer when it ends before."""
        ...

    def search(self, query: str, *, limit: int = 50) -> tuple[RepoSummary, ...]:
        """Repositories that match, the most downloaded first."""
        ...
