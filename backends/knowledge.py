"""What is known of variants beyond their spec files: from this disk, and from the hubs without a download."""

from __future__ import annotations

import glob
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from pathlib import Path
from typing import Final

from backends.errors import BackendError
from backends.fit import Knowledge
from backends.hubs.hub import Listing, RepoFile
from specs.model import Architecture, HubSource, Variant

WEIGHTS: Final = (".gguf", ".safetensors")
MOST_AT_ONCE: Final = 8
"""Repositories asked at a time; more make hubs answer "too many requests"."""


def known_of(
    variants: Sequence[Variant], *, deadline_seconds: float | None, folders: Sequence[Path] = ()
) -> dict[str, Knowledge]:
    """Knowledge by variant key: exact bytes of the files, from the disk or from the hubs' listings.

    A hub that does not answer in time, or at all, leaves its variants out; this never raises for a hub's sake.

    Args:
        variants: Those to ask for.
        deadline_seconds: How long to wait for all hubs together; None: ask nobody, only look at this disk.
        folders: Further ones of the user's with weights.
    """
    known = on_disk(variants, folders)
    if deadline_seconds is not None:
        known |= from_hubs([one for one in variants if one.key not in known], deadline_seconds)
    return known


def on_disk(variants: Iterable[Variant], folders: Sequence[Path] = ()) -> dict[str, Knowledge]:
    """What the files say of variants whose weights lie here whole."""
    from backends.downloads import local_index

    index = local_index(folders)
    known: dict[str, Knowledge] = {}
    for variant in variants:
        path = index.path(variant)
        if path is None:
            continue
        known[variant.key] = _of_path(path, _state(path))
    return known


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=512)
def _of_path(path: Path, _as_of: tuple[int, int]) -> Knowledge:
    """What weights on this disk say of themselves; of those that nothing here reads only the bytes."""
    from backends.memory.weights_file import knowledge_of

    try:
        return knowledge_of(path)
    except (BackendError, OSError):
        file_bytes = weights_bytes(path)
        whole = sum(one.stat().st_size for one in path.rglob("*") if one.is_file()) if path.is_dir() else file_bytes
        return Knowledge(file_bytes=file_bytes, download_bytes=whole, on_disk=True)


def weights_bytes(path: Path) -> int | None:
    """Bytes of all weights files of a folder, or of a GGUF file with its further parts; None: there are none."""
    if path.is_dir():
        return sum(one.stat().st_size for one in path.iterdir() if one.name.endswith(WEIGHTS)) or None
    stem, mark, rest = path.name.rpartition("-00001-of-")
    files = path.parent.glob(f"{glob.escape(stem)}-*-of-{glob.escape(rest)}") if mark else [path]
    return sum(one.stat().st_size for one in files) or None


def from_hubs(variants: Sequence[Variant], deadline_seconds: float) -> dict[str, Knowledge]:
    """What the listings of the repositories say, and their models' headers, each repository asked once."""
    from backends.hub_headers import architecture_of
    from backends.hubs import listings

    deadline = time.monotonic() + deadline_seconds
    sources = {one.key: source for one in variants if (source := one.source()) is not None}
    repositories = {_repository(one, sources[one.key]) for one in variants if one.key in sources}

    heads: dict[tuple[str, str, str | None], Architecture | None] = {}

    def listing(place: tuple[str, str, str | None]) -> Listing | None:
        name, model_id, revision = place
        try:
            return listings.listing(name, model_id, revision, timeout_seconds=deadline_seconds)[0]
        except BackendError:
            return None

    def head(place: tuple[str, str, str | None], found: Listing) -> None:
        left = deadline - time.monotonic()
        if left > 0:
            heads[place] = architecture_of(found, timeout_seconds=left)

    pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="modeldeck-listing")
    asked: dict[tuple[str, str, str | None], Future[Listing | None]] = {
        place: pool.submit(listing, place) for place in sorted(repositories, key=str)
    }
    wait(asked.values(), timeout=max(0.0, deadline - time.monotonic()))
    # Only once every listing is in: bytes matter more than hyper-parameters where the time is short.
    told = {place: future.result() for place, future in asked.items() if future.done() and not future.cancelled()}
    reads = [pool.submit(head, place, found) for place, found in told.items() if found is not None]
    wait(reads, timeout=max(0.0, deadline - time.monotonic()))
    pool.shutdown(wait=False, cancel_futures=True)
    known: dict[str, Knowledge] = {}
    for variant in variants:
        source = sources.get(variant.key)
        future = asked.get(_repository(variant, source)) if source else None
        found = future.result() if future is not None and future.done() and not future.cancelled() else None
        files = _files(found, variant, source) if found and source else ()
        if source and files and all(one.file_bytes is not None for one in files):
            weights = sum(one.file_bytes or 0 for one in files if one.name.endswith(WEIGHTS))
            total = sum(one.file_bytes or 0 for one in files)
            known[variant.key] = Knowledge(
                file_bytes=weights or None, download_bytes=total, architecture=heads.get(_repository(variant, source))
            )
    return known


def _repository(variant: Variant, source: HubSource) -> tuple[str, str, str | None]:
    return source.hub, source.model_id(variant.quantization), source.revision


def _files(listing: Listing, variant: Variant, source: HubSource) -> tuple[RepoFile, ...]:
    from backends.hubs.selection import needed_files

    try:
        return needed_files(listing, variant, source)
    except BackendError:
        return ()
