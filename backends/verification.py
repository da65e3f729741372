"""Verifying stored weights: reading every byte and comparing sums."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends import records
from backends.errors import BadWeights, Cancelled
from backends.hubs import listings
from backends.lengths import check_length
from backends.shelves import Entry, StoredFile


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying an entry found."""

    entry: Entry
    right: tuple[str, ...]
    """Files whose sums are right."""
    wrong: tuple[str, ...]
    """One line for each file that is damaged or cut off."""
    unknown: tuple[str, ...]
    """Files of which nobody here knows a sum; their own lengths are consistent."""

    @property
    def sound(self) -> bool:
        return not self.wrong and self.entry.whole


def verify(
    entry: Entry, on_bytes: Callable[[int], None] | None = None, cancel: threading.Event | None = None
) -> Verification:
    """Read all files of an entry.

    Args:
        entry: From a scan.
        on_bytes: Called with the count of bytes read since the last call.
        cancel: Ends with Cancelled when set.
    """
    known = _known_sums(entry)
    right, wrong, unknown = [], [], []
    for file in entry.files:
        expected = file.sha256 or known.get(file.name)
        try:
            if expected is not None or file.git_sha1 is not None:
                good = _sum(file, expected, on_bytes, cancel)
                if good:
                    right.append(file.name)
                else:
                    wrong.append(f"{file.name}: its sum is wrong; remove it and download it again")
            elif (problem := _length_problem(file.path)) is not None:
                wrong.append(f"{file.name}: {problem}")
            else:
                unknown.append(file.name)
        except OSError as error:
            wrong.append(f"{file.name}: cannot be read ({(error.strerror or str(error)).lower()})")
    if entry.problem:
        wrong.append(entry.problem)
    return Verification(entry, tuple(right), tuple(wrong), tuple(unknown))


def _known_sums(entry: Entry) -> dict[str, str]:
    """Sums from the download's record or from a listing that was read before."""
    sums: dict[str, str] = {}
    if entry.hub and entry.model_id:
        kept = listings.kept_listing(entry.hub, entry.model_id)
        if kept is not None:
            sizes = {file.name: file.file_bytes for file in entry.files}
            sums.update({f.name: f.sha256 for f in kept.files if f.sha256 and sizes.get(f.name) == f.file_bytes})
    for key in entry.variants:
        record = records.read(key)
        if record is not None and record.root == entry.root:
            sums.update({file.name: file.sha256 for file in record.files if file.sha256})
    return sums


def _sum(
    file: StoredFile,
    sha256: str | None,
    on_bytes: Callable[[int], None] | None,
    cancel: threading.Event | None,
) -> bool:
    digest: Any = hashlib.sha256()
    if sha256 is None:
        digest = hashlib.sha1(b"blob %d\0" % file.file_bytes, usedforsecurity=False)
    view = memoryview(bytearray(4 << 20))
    with file.path.open("rb", buffering=0) as content:
        while count := content.readinto(view):
            if cancel is not None and cancel.is_set():
                raise Cancelled("stopped")
            digest.update(view[:count])
            if on_bytes is not None:
                on_bytes(count)
    return bool(digest.hexdigest() == (sha256 or file.git_sha1))


def _length_problem(path: Path) -> str | None:
    """What a weights file's own header says about its length."""
    try:
        check_length(path)
    except BadWeights as error:
        return str(error)
    return None
