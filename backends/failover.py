"""Going on from another hub: whether it has the same files, and taking along what has arrived."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from backends.fetching import part_file
from backends.plans import Plan, PlannedFile


def same_files(one: Plan, other: Plan) -> bool:
    """Whether two hubs hold the same weights: every file by sum, or by size where a hub gives no sum.

    Files under a megabyte (configuration, tokenizer) may differ: hubs keep their own copies of them.
    """
    theirs = {file.name.rpartition("/")[2]: file for file in other.files}
    weights = [file for file in one.files if file.file_bytes >= 1_000_000] or list(one.files)
    return all(_agree(file, theirs.get(file.name.rpartition("/")[2])) for file in weights)


def _agree(one: PlannedFile, other: PlannedFile | None) -> bool:
    if other is None or one.file_bytes != other.file_bytes:
        return False
    return one.sha256 is None or other.sha256 is None or one.sha256 == other.sha256


def hand_over(one: Plan, other: Plan) -> None:
    """Move what has arrived of unfinished files to where the other hub's download goes on from."""
    theirs = {file.name.rpartition("/")[2]: file for file in other.files}
    for file in one.files:
        match = theirs.get(file.name.rpartition("/")[2])
        if match is None or match.present_bytes or match.sha256 is None or match.sha256 != file.sha256:
            continue
        source, target = part_file(one, file), part_file(other, match)
        with contextlib.suppress(OSError):
            if source.stat().st_size:
                _move(source, target)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
        source.unlink()
    except OSError:
        beside = target.with_name(f"{target.name}.tmp")
        shutil.copyfile(source, beside)
        beside.replace(target)
        source.unlink()
