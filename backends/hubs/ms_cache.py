"""ModelScope's cache on the disk: real files by repository and revision, unfinished ones beside them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
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


def lock(model_id: str, revision: str, name: str) -> Path:
    """What one modeldeck holds while it transfers a file: ModelScope's client would write one part file from two."""
    digest = hashlib.sha256(f"{revision}/{name}".encode()).hexdigest()[:32]
    return cache_folder() / ".locks" / f"models--{model_id.replace('/', '--')}" / f"{digest}.lock"


def present_bytes(model_id: str, revision: str, name: str, file_bytes: int) -> int:
    """Bytes of a file that lie here, whole or not; files get their name only when they are whole."""
    with contextlib.suppress(OSError):
        if (files_folder(model_id, revision) / name).stat().st_size == file_bytes:
            return file_bytes
    with contextlib.suppress(OSError):
        held = part(model_id, revision, name).stat().st_size
        return held if held <= file_bytes else 0
    return 0


def stored() -> Iterator[tuple[str, Path]]:
    """Every repository with files here and the folder that they lie in, of today's client and of older ones."""
    base = cache_folder()
    for repository in _folders(base / "models"):
        if "--" in repository.name:
            for snapshot in _folders(repository / "snapshots"):
                yield repository.name.replace("--", "/", 1), snapshot
    for above in (base / "models", base / "hub" / "models"):
        for owner in _folders(above):
            if "--" not in owner.name and not owner.name.startswith("."):
                for repository in _folders(owner):
                    if not repository.is_symlink():
                        yield f"{owner.name}/{repository.name.replace('___', '.')}", repository


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return []
