"""Hyper-parameters of repositories, read from a hub by ranges and kept by commit."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final

from backends import home
from backends.errors import BackendError
from backends.hubs.hub import Listing, RepoFile
from backends.memory import gguf, hf_config
from specs.model import Architecture

CONFIG_BYTES: Final = 512 << 10
_LATER_PART: Final = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")


def architecture_of(listing: Listing, *, timeout_seconds: float) -> Architecture | None:
    """The hyper-parameters of a repository's model; None: the hub did not tell, or nothing here reads them.

    All quantizations of a repository are of one model, so its smallest GGUF file is asked, with three ranges and 512 KB
    at most; without one config.json is.
    """
    file = _telling(listing)
    if file is None:
        return None
    kept = _kept(listing, file)
    found = _read(kept)
    if found is not None:
        return found
    from backends.hubs.registry import hub

    source = hub(listing.hub)

    def read(start: int, stop: int) -> bytes:
        return source.read_range(
            listing.model_id, listing.revision, file.name, start, stop, timeout_seconds=timeout_seconds
        )

    try:
        if file.name.endswith(".gguf"):
            found = gguf.read_header(read, file_bytes=file.file_bytes, whole=False).architecture
        else:
            found = hf_config.read_config(read(0, CONFIG_BYTES)).architecture
    except BackendError:
        return None
    _write(kept, found)
    return found


def _telling(listing: Listing) -> RepoFile | None:
    files = [
        one
        for one in listing.files
        if one.name.endswith(".gguf") and "mmproj" not in one.name.lower() and not _LATER_PART.search(one.name)
    ]
    if files:
        return min(files, key=lambda one: (one.file_bytes is None, one.file_bytes or 0, one.name))
    return next((one for one in listing.files if one.name == "config.json"), None)


def _kept(listing: Listing, file: RepoFile) -> Path:
    name = "\n".join((listing.hub, listing.model_id, listing.revision, file.name))
    return home.cache_folder() / "headers" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> Architecture | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Architecture(**{key: _tuple(value) for key, value in document.items()})
    except (OSError, ValueError, TypeError):
        return None


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _write(path: Path, architecture: Architecture) -> None:
    """Keep it for the next question; a cache that takes no file is no reason to fail."""
    document = {
        field.name: getattr(architecture, field.name)
        for field in dataclasses.fields(architecture)
        if getattr(architecture, field.name) is not None
    }
    document["extra"] = {
        key: value
        for key, value in architecture.extra.items()
        if isinstance(value, (bool, int, float, str, tuple, list))
    }
    with contextlib.suppress(OSError, ValueError):
        home.private_folder(path.parent)
        beside = path.with_suffix(f".{os.getpid()}.part")
        beside.write_text(json.dumps(document), encoding="utf-8")
        beside.replace(path)
