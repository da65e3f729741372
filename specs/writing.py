"""Writing families as TOML spec files."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from specs.model import Architecture, HubSource, ModelFamily, ModelSpec, Number, SpecError
from specs.readers.values import numbered_parts
from specs.reading import check_spec_file

_WIDTH: Final = 120
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Imported:
    """One spec file that was added to the user's catalog."""

    source: Path
    target: Path
    names: tuple[str, ...]
    """Families that it holds."""


def family_to_toml(family: ModelFamily) -> str:
    """The family as a spec file that reads back equal, but for its source."""
    lines = [f"name = {_text(family.name)}"]
    _put(lines, "description", family.description or None)
    _put(lines, "context_length", family.context_length)
    _put(lines, "languages", family.languages)
    _put(lines, "abilities", family.abilities)
    _put(lines, "license", family.license)
    _put(lines, "chat_template", family.chat_template)
    _put(lines, "stop", family.stop or None)
    _put(lines, "reasoning_start_tag", family.reasoning_start_tag)
    _put(lines, "reasoning_end_tag", family.reasoning_end_tag)
    known: dict[tuple[Number, Number | None], tuple[int | None, Architecture | None]] = {}
    for run in _runs(family.specs):
        _model(lines, run, known)
    return "\n".join(lines) + "\n"


def import_files(paths: Sequence[Path], folder: Path) -> tuple[Imported, ...]:
    """Copy spec files into a folder of spec files; none is copied unless all of them read.

    A file that holds the same family as one that is there replaces it only under the same name.

    Raises:
        SpecError: a file cannot be read as a spec file, or the folder cannot be written.
    """
    checked = []
    taken: set[str] = set()
    for path in paths:
        reading = check_spec_file(path)
        name = _safe_name(path, [family.name for family in reading.families], taken)
        taken.add(name)
        checked.append((path, folder / name, reading))
    done = []
    for path, target, reading in checked:
        try:
            write_whole(target, path.read_bytes())
        except OSError as error:
            raise SpecError(str(target), None, f"cannot be written: {error.strerror or error}") from error
        done.append(Imported(path, target, tuple(family.name for family in reading.families)))
    return tuple(done)


def keep_family(family: ModelFamily, folder: Path) -> Path:
    """Write the family as a spec file of its own into the folder, and return the file.

    It replaces the file of a family of the same name, and no other.

    Raises:
        SpecError: the folder cannot be written.
    """
    stem, number = safe_file_stem(family.name), 2
    target = folder / f"{stem}.toml"
    while _is_others(target, family.name):
        target, number = folder / f"{stem}-{number}.toml", number + 1
    try:
        write_whole(target, family_to_toml(family).encode())
    except OSError as error:
        raise SpecError(str(target), None, f"cannot be written: {error.strerror or error}") from error
    return target


def _is_others(path: Path, name: str) -> bool:
    """Whether a file is there that holds anything but the family of this name."""
    if not path.exists():
        return False
    try:
        return {family.name.lower() for family in check_spec_file(path).families} != {name.lower()}
    except (SpecError, OSError):
        return True


def write_whole(target: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that no reader ever meets half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=".", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def safe_file_stem(name: str) -> str:
    """A file name without its ending, of letters, digits, dot, dash and underscore only."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:100]
    return stem or "family"


def _safe_name(path: Path, names: Sequence[str], taken: Iterable[str]) -> str:
    """The file's own name made safe, or the family's where it says nothing; never one that this import has used."""
    ending = path.suffix.lower()
    ending = ending if ending in {".toml", ".rst", ".json"} else _ending(path)
    stem = safe_file_stem(names[0] if path.stem.lower() in {"", "model", "spec", "family"} and names else path.stem)
    name, number = f"{stem}{ending}", 2
    while name in taken:
        name, number = f"{stem}-{number}{ending}", number + 1
    return name


def _ending(path: Path) -> str:
    """The ending that a file of another ending should have, since folders are read by ending."""
    from specs.readers import json, pages

    text = path.read_text("utf-8-sig")
    if json.looks_like_json(text):
        return ".json"
    return ".rst" if pages.looks_like_page(text) else ".toml"


def _runs(specs: Sequence[ModelSpec]) -> list[list[ModelSpec]]:
    """Neighbours that belong into one [[models]] table."""
    runs: list[list[ModelSpec]] = []
    for spec in specs:
        if runs and _facts(runs[-1][0]) == _facts(spec):
            runs[-1].append(spec)
        else:
            runs.append([spec])
    return runs


def _facts(spec: ModelSpec) -> tuple[Number, Number | None, int | None, Architecture | None]:
    return (spec.size_in_billions, spec.active_size_in_billions, spec.parameters, spec.architecture)


def _model(
    lines: list[str],
    run: Sequence[ModelSpec],
    known: dict[tuple[Number, Number | None], tuple[int | None, Architecture | None]],
) -> None:
    first = run[0]
    key = (first.size_in_billions, first.active_size_in_billions)
    facts = (first.parameters, first.architecture)
    lines += ["", "[[models]]", f"size_in_billions = {_value(first.size_in_billions)}"]
    _put(lines, "active_size_in_billions", first.active_size_in_billions)
    if facts == (None, None):
        if key in known:
            lines += ["", "[models.architecture]"]  # says that the facts of the size's first table do not hold here
    elif known.get(key) != facts:
        known.setdefault(key, facts)
        _put(lines, "parameters", first.parameters)
        if first.architecture is not None:
            _architecture(lines, first.architecture)
    for spec in run:
        _spec(lines, spec)


def _architecture(lines: list[str], architecture: Architecture) -> None:
    lines += ["", "[models.architecture]"]
    for item in fields(architecture):
        if item.name != "extra":
            _put(lines, item.name, getattr(architecture, item.name))
    for name, value in architecture.extra.items():
        _put(lines, _key(name), value)


def _spec(lines: list[str], spec: ModelSpec) -> None:
    lines += ["", "[[models.specs]]", f"format = {_text(spec.format)}"]
    _put(lines, "quantizations", spec.quantizations)
    _put(lines, "path", spec.path)
    if spec.engines:
        if all(names == spec.quantizations for names in spec.engines.values()):
            _put(lines, "engines", tuple(spec.engines))
        else:
            entries = ", ".join(f"{_key(engine)} = {_value(names)}" for engine, names in spec.engines.items())
            lines.append(f"engines = {{ {entries} }}")
    for source in spec.hubs:
        _hub(lines, source)


def _hub(lines: list[str], source: HubSource) -> None:
    lines += ["", f"[models.specs.hubs.{_key(source.hub)}]"]
    _put(lines, "id", source.id)
    _put(lines, "file", source.file)
    _put(lines, "split_file", source.split_file)
    _put(lines, "revision", source.revision)
    _put(lines, "quantizations", source.quantizations)
    _put(lines, "projectors", source.projectors or None)
    if source.parts:
        lines += ["", f"[models.specs.hubs.{_key(source.hub)}.parts]"]
        for quantization, names in source.parts.items():
            regular = names == numbered_parts(len(names))
            _put(lines, _key(quantization), len(names) if regular else names)


def _put(lines: list[str], key: str, value: Any) -> None:
    """A line for a value that is known; long lists go over several lines."""
    if value is None:
        return
    line = f"{key} = {_value(value)}"
    if len(line) > _WIDTH and isinstance(value, tuple):
        lines.append(f"{key} = [")
        row = "   "
        for entry in map(_value, value):
            if len(row) + len(entry) + 2 > _WIDTH:
                lines.append(row)
                row = "   "
            row += f" {entry},"
        lines += [row, "]"]
        return
    lines.append(line)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(entry)}" for name, entry in value.items()) + " }"
    return "[" + ", ".join(_value(entry) for entry in value) + "]"


def _text(text: str) -> str:
    """A basic string, with everything escaped that TOML does not take as it is."""
    escaped = "".join(
        _ESCAPES.get(letter) or (letter if letter.isprintable() else f"\\U{ord(letter):08x}") for letter in text
    )
    return f'"{escaped}"'


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _text(name)
