"""Where modeldeck keeps its own files; MODELDECK_HOME moves them all under one folder."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import IO, Final

_ON_LINUX: bool = sys.platform == "linux"
_LINUX: Final = {
    "config": ("XDG_CONFIG_HOME", "~/.config"),
    "data": ("XDG_DATA_HOME", "~/.local/share"),
    "cache": ("XDG_CACHE_HOME", "~/.cache"),
    "log": ("XDG_STATE_HOME", "~/.local/state"),
}
"""What platformdirs says for Linux, without the 10 ms that it takes before the first frame."""


def _folder(kind: str) -> Path:
    moved = os.environ.get("MODELDECK_HOME")
    if moved:
        return Path(moved).expanduser()
    if _ON_LINUX:
        variable, usual = _LINUX[kind]
        folder = Path(os.environ.get(variable, "").strip() or Path(usual).expanduser()) / "modeldeck"
        return folder / "log" if kind == "log" else folder
    import platformdirs

    folder = getattr(platformdirs, f"user_{kind}_path")("modeldeck", appauthor=False)
    return Path(folder)


def config_file() -> Path:
    """The user's configuration in TOML."""
    return _folder("config") / "config.toml"


def specs_folder() -> Path:
    """Spec files that the user added."""
    return _folder("data") / "specs"


def database_file() -> Path:
    """Conversations and measurements."""
    return _folder("data") / "modeldeck.sqlite3"


def tour_file() -> Path:
    """There once the tour was shown."""
    return _folder("data") / "tour-was-shown"


def at_work_folder() -> Path:
    """Notes of which models are in the memory of running processes."""
    return _folder("data") / "at-work"


def downloads_folder() -> Path:
    """The download queue's own state, not the weights."""
    return _folder("data") / "downloads"


def hubs_folder() -> Path:
    """Weights from hubs that other packages add; the other hubs have caches of their own."""
    return _folder("data") / "hubs"


def cache_folder() -> Path:
    """What can be fetched or computed again."""
    return _folder("cache") / "cache" if os.environ.get("MODELDECK_HOME") else _folder("cache")


def log_file() -> Path:
    """Everything that libraries and native code print."""
    return _folder("log") / "modeldeck.log"


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may read, with those above it that are missing, and return it."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):  # mkdir(parents=True) would leave those above to the umask
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def open_privately(path: Path, mode: str) -> IO[str]:
    """Open a file for writing text; from then on only its owner may read it."""
    return open(path, mode, encoding="utf-8", errors="replace", opener=_for_the_owner)


def _for_the_owner(name: str, flags: int) -> int:
    opened = os.open(name, flags, 0o600)
    with contextlib.suppress(OSError):  # of another owner, or on a file system without modes
        os.fchmod(opened, 0o600)
    return opened
