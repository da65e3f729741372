"""Reading a spec file of any of the three kinds, told apart by ending and content."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from specs import extensions
from specs.model import ModelFamily, SpecError
from specs.readers import json, pages, toml
from specs.readers.values import Note, Reading
from specs.text import one_line, printable

__all__ = ["ENDINGS", "MAX_FILE_BYTES", "Note", "Reading", "check_spec_file", "endings", "read_spec_file"]

ENDINGS: Final = (".toml", ".rst", ".json")
"""Endings of spec files that modeldeck reads by itself."""
MAX_FILE_BYTES: Final = 8_000_000
"""A hundred times the largest page; a bigger file is something else."""
MAX_LETTERS: Final = {".rst": 200_000, ".toml": 1_000_000}
"""Pages and TOML are read slowly enough to look closer; the longest real ones have 60,000 and 30,000 letters."""


def endings() -> tuple[str, ...]:
    """Endings of spec files, those of added readers too; in folders only these are looked at."""
    return (*ENDINGS, *extensions.endings())


def read_spec_file(path: Path) -> tuple[ModelFamily, ...]:
    """The families of one spec file.

    Raises:
        SpecError: it cannot be read; the message names file, line and what was expected.
    """
    return check_spec_file(path).families


def check_spec_file(path: Path, source: str | None = None) -> Reading:
    """The families of one spec file with what is worth saying about it: keys and hubs that are left aside.

    Args:
        path: the file.
        source: what the families say about their origin; None: the path.

    Raises:
        SpecError: it cannot be read; the message names file, line and what was expected.
    """
    file = printable(str(path))
    text = _text(path, file)
    return read_text(text, file, file if source is None else source, path.suffix.lower())


def read_text(text: str, file: str, source: str, ending: str) -> Reading:
    """The families of a text; unknown endings are told apart by how it begins.

    Raises:
        SpecError: as check_spec_file().
    """
    most = MAX_LETTERS.get(ending)
    if most is not None and len(text) > most:
        raise SpecError(file, None, f"this has {len(text):,} letters, and no {ending} spec file has over {most:,}")
    if ending == ".toml":
        return toml.read(text, file, source)
    if ending == ".json":
        return json.read(text, file, source)
    if ending == ".rst":
        return pages.read(text, file, source)
    added = extensions.extension("spec_readers", ending.removeprefix(".")) if ending else None
    if added is not None:
        return _read_by(added, text, file, source)
    if json.looks_like_json(text):
        return json.read(text, file, source)
    return read_text(text, file, source, ".rst" if pages.looks_like_page(text) else ".toml")


def _read_by(added: extensions.Extension, text: str, file: str, source: str) -> Reading:
    """The reading of another package's reader; whatever goes wrong inside it becomes a line about this file."""
    try:
        found = added.load()(text, file, source)
    except SpecError:
        raise
    except extensions.ExtensionError as error:
        raise SpecError(file, None, str(error)) from error
    except Exception as error:
        said = one_line(f"{type(error).__name__}: {error}")[:300]
        raise SpecError(file, None, f"the reader of .{added.name} files in {added.package} failed: {said}") from error
    if not isinstance(found, Reading) or not all(isinstance(one, ModelFamily) for one in found.families):
        raise SpecError(file, None, f"the reader of .{added.name} files in {added.package} gives back no Reading")
    if not found.families:
        raise SpecError(file, None, "this holds no family")
    return Reading(tuple(_checked(family, file, source) for family in found.families), tuple(found.notes))


def _checked(family: ModelFamily, file: str, source: str) -> ModelFamily:
    """What another package's reader gives back, through the same checks of names, IDs and paths as our own files."""
    from specs.writing import family_to_toml

    try:
        (family,) = toml.read(family_to_toml(family), file, source).families
    except SpecError as error:
        raise SpecError(file, None, f"{printable(str(family.name))}: {error.what}") from error
    except Exception as error:  # values of other types than the fields promise
        raise SpecError(file, None, f"{printable(str(family.name))}: {one_line(str(error))[:200]}") from error
    return family


def _text(path: Path, file: str) -> str:
    """The file's content, its size looked at first."""
    try:
        with open(path, "rb", opener=_without_waiting) as handle:  # pathlib takes no opener
            state = os.fstat(handle.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise SpecError(file, None, "this is no file: expected a spec file in TOML, reStructuredText or JSON")
            if state.st_size > MAX_FILE_BYTES:
                raise SpecError(
                    file, None, f"this has {state.st_size:,} bytes, and no spec file has over {MAX_FILE_BYTES:,}"
                )
            content = handle.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise SpecError(file, None, "there is no such file") from error
    except IsADirectoryError as error:
        raise SpecError(file, None, "this is a folder: expected a spec file") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError(file, None, f"cannot be read: {printable(why)}") from error
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"this is not UTF-8: byte {error.start:,} is 0x{content[error.start]:02x}"
        raise SpecError(file, line, what) from error


def _without_waiting(name: str, flags: int) -> int:
    """Open without waiting for a writer, should the file be a named pipe."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
