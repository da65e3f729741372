"""What is known of variants beyond their spec files: from this disk, and from the hubs without a download."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from backends.errors import BackendError, BadWeights
from backends.fit import Knowledge
from backends.hubs.hub import Listing, RepoFile
from specs.model import Architecture, HubSource, Variant

WEIGHTS: Final = (".gguf", ".safetensors")
MOST_AT_ONCE: Final = 8
"""Repositories asked at a time; more make hubs answer "too many requests"."""

LARGEST_CONFIG_BYTES: Final = 1 << 20
Place = tuple[str, str, str | None]
"""Hub, repository and revision."""
Key = TypeVar("Key")
Answer = TypeVar("Answer")


def known_of(variants: Sequence[Variant], *, deadline_seconds: float | None) -> dict[str, Knowledge]:
    """Knowledge by variant key: exact bytes of the files, from the disk or from the hubs' listings.

    A hub that does not answer in time, or at all, leaves its variants out; this never raises for a hub's sake.

    Args:
        variants: Those to ask for.
        deadline_seconds: How long to wait for all hubs together; None: ask nobody, only look at this disk.
    """
    known = on_disk(variants)
    if deadline_seconds is not None:
        known |= from_hubs([one for one in variants if one.key not in known], deadline_seconds)
    return known


def on_disk(variants: Iterable[Variant]) -> dict[str, Knowledge]:
    """What the files say of variants whose weights lie here whole."""
    from backends.downloads import local_index
    from backends.memory.weights_file import knowledge_of

    index = local_index()
    known: dict[str, Knowledge] = {}
    for variant in variants:
        path = index.path(variant)
        if path is None:
            continue
        try:
            known[variant.key] = knowledge_of(path)
        except (BadWeights, OSError):  # loading will say what is wrong; their size still counts
            file_bytes = weights_bytes(path)
            known[variant.key] = Knowledge(file_bytes=file_bytes, download_bytes=file_bytes, on_disk=True)
    return known


def weights_bytes(path: Path) -> int | None:
    """Bytes of all weights files of a folder, or of a GGUF file with its further parts; None: there are none."""
    if path.is_dir():
        return sum(one.stat().st_size for one in path.iterdir() if one.name.endswith(WEIGHTS)) or None
    stem, mark, rest = path.name.rpartition("-00001-of-")
    files = path.parent.glob(f"{glob.escape(stem)}-*-of-{glob.escape(rest)}") if mark else [path]
    return sum(one.stat().st_size for one in files) or None


def from_hubs(variants: Sequence[Variant], deadline_seconds: float) -> dict[str, Knowledge]:
    """What the repositories say without a download: sizes from one listing each, and one header a spec.

    A header is 512 KB of a GGUF file at most, or a config.json; a listing alone is used where it comes too late.
    """
    deadline = time.monotonic() + deadline_seconds
    pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="modeldeck-hub")
    try:
        return _ask(pool, variants, deadline)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ask(pool: ThreadPoolExecutor, variants: Sequence[Variant], deadline: float) -> dict[str, Knowledge]:
    places = {one.key: _place(one, source) for one in variants if (source := one.source()) is not None}
    answered = _gather(pool, {place: partial(_listing, place, deadline) for place in places.values()}, deadline)
    listings = {place: listing for place, listing in answered.items() if listing is not None}
    known: dict[str, Knowledge] = {}
    readers: dict[int, Callable[[], Architecture | None]] = {}
    for variant in variants:
        listing = listings.get(places[variant.key]) if variant.key in places else None
        files = _files(listing, variant) if listing is not None else ()
        if listing is None or not files or any(one.file_bytes is None for one in files):
            continue
        weights = sum(one.file_bytes or 0 for one in files if one.name.endswith(WEIGHTS))
        known[variant.key] = Knowledge(weights or None, sum(one.file_bytes or 0 for one in files))
        readers.setdefault(id(variant.spec), partial(_architecture, listing, files, deadline))
    architectures = _gather(pool, readers, deadline)
    for variant in variants:
        found = architectures.get(id(variant.spec))
        if found is not None and variant.key in known:
            known[variant.key] = replace(known[variant.key], architecture=found)
    return known


def _gather(
    pool: ThreadPoolExecutor, questions: Mapping[Key, Callable[[], Answer]], deadline: float
) -> dict[Key, Answer]:
    """Answers that came before the deadline."""
    asked = {key: pool.submit(question) for key, question in questions.items()}
    wait(asked.values(), timeout=max(0.0, deadline - time.monotonic()))
    return {key: future.result() for key, future in asked.items() if future.done() and not future.cancelled()}


def _place(variant: Variant, source: HubSource) -> Place:
    return source.hub, source.model_id(variant.quantization), source.revision


def _listing(place: Place, deadline: float) -> Listing | None:
    from backends.hubs import listings

    name, model_id, revision = place
    try:
        return listings.listing(name, model_id, revision, timeout_seconds=max(0.1, deadline - time.monotonic()))[0]
    except BackendError:
        return None


def _files(listing: Listing, variant: Variant) -> tuple[RepoFile, ...]:
    from backends.hubs.selection import needed_files

    source = variant.source()
    try:
        return needed_files(listing, variant, source) if source is not None else ()
    except BackendError:
        return ()


def _architecture(listing: Listing, files: tuple[RepoFile, ...], deadline: float) -> Architecture | None:
    """Hyper-parameters from the header of the weights, or from the configuration beside them."""
    from backends.hubs.registry import hub
    from backends.memory.weights_file import knowledge_of_config, knowledge_of_gguf

    client = hub(listing.hub)

    def read(name: str, start: int, stop: int) -> bytes:
        left = max(0.1, deadline - time.monotonic())
        return client.read_range(listing.model_id, listing.revision, name, start, stop, timeout_seconds=left)

    first = files[0]
    try:
        if first.name.endswith(".gguf"):
            return knowledge_of_gguf(partial(read, first.name), file_bytes=first.file_bytes).architecture
        config = next((one for one in files if one.name == "config.json"), None)
        if config is None or not config.file_bytes or config.file_bytes > LARGEST_CONFIG_BYTES:
            return None
        return knowledge_of_config(read(config.name, 0, config.file_bytes)).architecture
    except (BackendError, ValueError):
        return None
