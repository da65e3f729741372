"""ModelScope's cache on the disk: real files by repository and revision, unfinished ones beside them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """The cache that all of ModelScope's tools share."""
    named = os.environ.get("MODELSCOPE_CACHE")
    return Path(named or "~/.cache/modelscope").expanduser()


def older_folders(model_id: str) -> tuple[Path, ...]:
    """Where clients before 1.38 kept a repository: their files have no revision, and dots became three underscores."""
    owner, _, name = model_id.partition("/")
    safe = name.replace(".", "___")
    return tuple(cache_folder().joinpath(*above, owner, safe) for above in (("models",), ("hub", "models")))


def files_folder(model_id: str, revision: str) -> Path:
    """Where the files of a repository lie, as its client decides it: an older folder goes on being used."""
    for older in older_folders(model_id):
        with contextlib.suppress(OSError):
            if any(older.iterdir()):
                return older
    return cache_folder() / "models" / model_id.replace("/", "--") / "snapshots" / revision


def part(model_id: str, revision: str, name: str) -> Path:
    """Where the bytes of an unfinished file lie: the client's own name, from whose end it goes on."""
    file = files_folder(model_id, revision) / name
    return file.with_name(f"{file.name}.incomplete")


def present_bytes(model_id: str, revision: str, name: str, file_bytes: int) -> int:
    """Bytes of a file that lie here, whole or not; files get their name only when they are whole."""
    with contextlib.suppress(OSError):
        if (files_folder(model_id, revision) / name).stat().st_size == file_bytes:
            return file_bytes
    with contextlib.suppress(OSError):
        held = part(model_id, revision, name).stat().st_size
        return held if held <= file_bytes else 0
    return 0
