"""Which models are in this process's memory, noted on the disk so that the next start knows after a native abort."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from backends.home import private_folder


@dataclass(frozen=True, slots=True)
class Crashed:
    """A model that was in the memory of a process which ended without giving it back."""

    key: str
    """The variant's key."""
    engine: str
    name: str
    """Model, size and quantization, for the eye."""


class AtWork:
    """This process's note; it is there as long as a model is."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{os.getpid()}.json"
        self._guard = threading.Lock()
        self._models: list[Crashed] = []
        self._ended = False

    def add(self, model: Crashed) -> None:
        """Before its load begins: native code may abort in there."""
        with self._guard:
            if not self._ended:
                self._models.append(model)
                self._write()

    def remove(self, model: Crashed) -> None:
        """After it was freed, or could not be loaded."""
        with self._guard:
            if model in self._models:
                self._models.remove(model)
                self._write()

    def end(self) -> None:
        """The process ends as it should: nothing is noted any more, not even a load that only now begins."""
        with self._guard:
            self._ended = True
            self._models.clear()
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # no note is no reason not to load
            if not self._models:
                self._file.unlink(missing_ok=True)
                return
            private_folder(self._file.parent)
            part = self._file.with_suffix(".part")
            part.write_text(json.dumps([[one.key, one.engine, one.name] for one in self._models]), encoding="utf-8")
            part.replace(self._file)


def crashed(folder: Path) -> tuple[Crashed, ...]:
    """What processes that are gone have left noted; their notes are taken away by it."""
    found: list[Crashed] = []
    for path in sorted(folder.glob("*.json")):
        if not path.stem.isdecimal() or _runs(int(path.stem)):
            continue
        with contextlib.suppress(OSError, ValueError, TypeError):
            told = json.loads(path.read_text(encoding="utf-8"))
            path.unlink(missing_ok=True)
            found += [Crashed(str(key), str(engine), str(name)) for key, engine, name in told]
    return tuple(dict.fromkeys(found))


def _runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's: it is there
    return True
