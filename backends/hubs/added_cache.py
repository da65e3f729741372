"""The weights of hubs that other packages add: real files by hub, repository and revision, unfinished ones apart."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends import home


def base_folder() -> Path:
    """The folder with one folder for each hub."""
    return home.hubs_folder()


@dataclass(frozen=True, slots=True)
class AddedCache:
    """What one added hub keeps on this disk."""

    hub: str

    def repository_folder(self, model_id: str) -> Path:
        """Everything about one repository."""
        return base_folder() / self.hub / model_id.replace("/", "--")

    def files_folder(self, model_id: str, revision: str) -> Path:
        """Where the whole files of a repository lie."""
        return self.repository_folder(model_id) / "revisions" / revision

    def part(self, model_id: str, revision: str, name: str) -> Path:
        """Where the bytes of an unfinished file lie."""
        return self._beside(model_id, revision, name, "part")

    def lock(self, model_id: str, revision: str, name: str) -> Path:
        """What one program holds while it transfers a file."""
        return self._beside(model_id, revision, name, "lock")

    def present_bytes(self, model_id: str, revision: str, name: str, file_bytes: int) -> int:
        """Bytes of a file that lie here, whole or not; files get their name only when they are whole."""
        with contextlib.suppress(OSError):
            if (self.files_folder(model_id, revision) / name).stat().st_size == file_bytes:
                return file_bytes
        with contextlib.suppress(OSError):
            held = self.part(model_id, revision, name).stat().st_size
            return held if held <= file_bytes else 0
        return 0

    def _beside(self, model_id: str, revision: str, name: str, ending: str) -> Path:
        digest = hashlib.sha256(f"{revision}/{name}".encode()).hexdigest()[:32]
        return self.repository_folder(model_id) / "unfinished" / f"{digest}.{ending}"


def stored() -> Iterator[tuple[str, str, Path]]:
    """Every hub and repository with files here, and the folder that they lie in."""
    for hub in _folders(base_folder()):
        for repository in _folders(hub):
            for revision in _folders(repository / "revisions"):
                yield hub.name, repository.name.replace("--", "/", 1), revision


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return []
