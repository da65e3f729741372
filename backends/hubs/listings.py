"""Listings that were read before, kept so that plans work without a network."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends import home
from backends.errors import HubUnreachable
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.registry import hub


def listing(
    hub_name: str, model_id: str, revision: str | None = None, *, timeout_seconds: float = 10.0
) -> tuple[Listing, bool]:
    """A repository's listing, and whether it is today's: without an answer from the hub the last one kept is given.

    Raises HubUnreachable when the hub does not answer and nothing was kept, else what the hub says.
    """
    try:
        fresh = hub(hub_name).listing(model_id, revision, timeout_seconds=timeout_seconds)
    except HubUnreachable:
        kept = kept_listing(hub_name, model_id, revision)
        if kept is None:
            raise
        return kept, False
    keep(fresh, revision)
    return fresh, True


def kept_listing(hub_name: str, model_id: str, revision: str | None = None) -> Listing | None:
    """The last listing of a repository; None: it was never read here."""
    try:
        return _parse(hub_name, json.loads(_file(hub_name, model_id, revision).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kept_listings(hub_name: str) -> Iterator[Listing]:
    """Every listing of a hub that was read before."""
    with contextlib.suppress(OSError):
        for file in sorted((home.cache_folder() / "listings" / hub_name).glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                yield _parse(hub_name, json.loads(file.read_text(encoding="utf-8")))


def keep(fresh: Listing, revision: str | None) -> None:
    """Keep a listing for later; a cache that takes no file is no reason to fail."""
    file = _file(fresh.hub, fresh.model_id, revision)
    content = {
        "model_id": fresh.model_id,
        "revision": fresh.revision,
        "gated": fresh.gated,
        "private": fresh.private,
        "files": [(f.name, f.file_bytes, f.sha256, f.etag) for f in fresh.files],
    }
    with contextlib.suppress(OSError):
        home.private_folder(file.parent)
        beside = file.with_suffix(".tmp")
        beside.write_text(json.dumps(content), encoding="utf-8")
        beside.replace(file)


def _parse(hub_name: str, found: dict[str, Any]) -> Listing:
    files = tuple(RepoFile(name, size, sha256, etag) for name, size, sha256, etag in found["files"])
    return Listing(hub_name, found["model_id"], found["revision"], files, found["gated"], found["private"])


def _file(hub_name: str, model_id: str, revision: str | None) -> Path:
    """A name that no repository can lead astray."""
    asked = hashlib.sha256(f"{model_id}\n{revision or ''}".encode()).hexdigest()[:12]
    readable = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in model_id)[:80]
    return home.cache_folder() / "listings" / hub_name / f"{readable}.{asked}.json"
