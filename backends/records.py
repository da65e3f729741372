"""What was downloaded here, written down when it was whole: files, sums and where they lie."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends import home
from backends.plans import FileOutcome


@dataclass(frozen=True, slots=True)
class Record:
    """One finished download, or a local file that the user adopted."""

    key: str
    """The variant's key."""
    hub: str | None
    """None: adopted from this disk."""
    model_id: str
    revision: str
    path: Path
    """The GGUF file (the first part), or the folder."""
    files: tuple[FileOutcome, ...]
    """Names relative to root."""
    root: Path
    """The folder that the files' names start from."""

    @property
    def total_bytes(self) -> int:
        return sum(file.file_bytes for file in self.files)

    def whole(self) -> bool:
        """Whether every file is still there with its size; sums were compared when the record was made."""
        if not self.files:
            return False
        for file in self.files:
            try:
                if (self.root / file.name).stat().st_size != file.file_bytes:
                    return False
            except OSError:
                return False
        return True


def folder() -> Path:
    """Where records lie, one file a variant."""
    return home.downloads_folder() / "records"


def keep(record: Record) -> None:
    """Write a record beside and rename it."""
    file = _file(record.key)
    home.private_folder(file.parent)
    content = {
        "key": record.key,
        "hub": record.hub,
        "model_id": record.model_id,
        "revision": record.revision,
        "path": str(record.path),
        "root": str(record.root),
        "files": [{"name": f.name, "bytes": f.file_bytes, "sha256": f.sha256} for f in record.files],
    }
    beside = file.with_suffix(".tmp")
    beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
    beside.replace(file)


def forget(key: str) -> None:
    """Remove the record of a variant, if there is one."""
    _file(key).unlink(missing_ok=True)


def read(key: str) -> Record | None:
    """The record of a variant; None: there is none that can be read."""
    return _parse(_file(key))


def all_records() -> Iterator[Record]:
    """Every record that can be read."""
    with contextlib.suppress(OSError):
        for file in sorted(folder().glob("*.json")):
            if (record := _parse(file)) is not None:
                yield record


def _file(key: str) -> Path:
    return folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _parse(file: Path) -> Record | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        files = tuple(FileOutcome(str(f["name"]), int(f["bytes"]), f["sha256"]) for f in found["files"])
        return Record(
            str(found["key"]),
            found["hub"],
            str(found["model_id"]),
            str(found["revision"]),
            Path(found["path"]),
            files,
            Path(found["root"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
