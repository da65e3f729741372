"""What other packages add: engines, hubs and spec readers, found by their entry points and imported only when used."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from specs.model import ENGINES, FORMATS, HUBS
from specs.text import one_line

Kind = Literal["engines", "hubs", "spec_readers"]

_GROUP: Final = "modeldeck."
_NOUNS: Final[dict[Kind, str]] = {"engines": "engine", "hubs": "hub", "spec_readers": "spec reader"}
_NAMES: Final[dict[Kind, re.Pattern[str]]] = {
    "engines": re.compile(r"[A-Za-z][A-Za-z0-9.+-]{0,31}"),
    "hubs": re.compile(r"[a-z][a-z0-9-]{0,31}"),
    "spec_readers": re.compile(r"[a-z][a-z0-9]{0,11}"),
}
"""Names become words of a command line, names of folders and endings of files: nothing in them may need quoting."""
_TAKEN: Final[dict[Kind, frozenset[str]]] = {
    "engines": frozenset(
        {*(name.lower() for name in ENGINES), "remote", "llama-cpp", "llamacpp", "llama-cpp-python", "mlx-lm"}
        | {"lmdeploy"}
    ),
    "hubs": frozenset({*HUBS, "hf", "ms"}),
    "spec_readers": frozenset({"toml", "rst", "json"}),
}
_MOST_BYTES: Final = 1 << 20


class ExtensionError(Exception):
    """An extension that cannot be used; one line that names the package."""


@dataclass(frozen=True, slots=True)
class Extension:
    """One engine, hub or spec reader that an installed package declares."""

    kind: Kind
    name: str
    """The engine's or hub's name, or the ending of the reader's files without its dot."""
    target: str
    """Where it is, as "module:attribute"."""
    package: str
    """Name and version of the distribution."""
    formats: tuple[str, ...] = ()
    """Engines: weight formats that it takes wherever a spec file does not name engines itself."""

    def load(self) -> Any:
        """Import it.

        Raises:
            ExtensionError: its module cannot be imported, whatever that raised, or lacks the attribute.
        """
        import importlib

        module, _, attribute = self.target.partition(":")
        what = f"the {_NOUNS[self.kind]} {self.name} of {self.package}"
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a foreign module may raise anything, SystemExit too
            said = one_line(f"{type(error).__name__}: {error}")[:300]
            raise ExtensionError(f"{what} cannot be used: importing {self.target} ends with {said}") from error
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """All extensions of this environment. One is equal to itself only, so that it is a cheap key of caches."""

    extensions: tuple[Extension, ...]
    problems: tuple[str, ...]
    """One line for each that is refused."""
    engines: tuple[str, ...]
    """Every engine by name, modeldeck's own first."""


class _Entry(NamedTuple):
    """A line of an entry_points.txt."""

    package: str
    group: str
    name: str
    target: str


def found() -> Found:
    """The extensions of the packages that Python's path reaches, and those that were refused."""
    global _latest  # noqa: PLW0603 - asked for each variant of a catalog, where hashing the path would be felt
    if _latest is None or _latest[0] != sys.path:
        _latest = (list(sys.path), find(sys.path))
    return _latest[1]


def of_kind(kind: Kind) -> tuple[Extension, ...]:
    """The extensions of one kind, in the order in which they were found."""
    return tuple(one for one in found().extensions if one.kind == kind)


def extension(kind: Kind, name: str) -> Extension | None:
    """The extension of this name, in whatever case; None: no package adds one."""
    wanted = name.strip().lower()
    return next((one for one in of_kind(kind) if one.name.lower() == wanted), None)


def engines() -> tuple[str, ...]:
    """Every engine by name, modeldeck's own first."""
    return found().engines


def hubs() -> tuple[str, ...]:
    """Every hub by name, modeldeck's own first."""
    return (*HUBS, *(one.name for one in of_kind("hubs")))


def endings() -> tuple[str, ...]:
    """The endings of spec files that packages add, with their dots."""
    return tuple(f".{one.name}" for one in of_kind("spec_readers"))


_latest: tuple[list[str], Found] | None = None
"""The path that was looked through last, and what was found."""


def find(path: Iterable[str]) -> Found:
    """Look through the folders of a path."""
    problems: list[str] = []
    kept: dict[tuple[Kind, str], Extension] = {}
    formats: dict[tuple[str, str], list[str]] = {}
    for entry in _entries(path):
        group = entry.group.removeprefix(_GROUP)
        kind: Kind
        if group in ("engines", "hubs", "spec_readers"):
            kind = group  # type: ignore[assignment]  # mypy narrows no tuple of literals
        elif group.startswith("engines."):
            model_format = group.removeprefix("engines.")
            if model_format in FORMATS:
                formats.setdefault((entry.package, entry.name), []).append(model_format)
            else:
                problems.append(
                    f"{entry.package}: there is no weight format {model_format!r}; the formats are {', '.join(FORMATS)}"
                )
            continue
        else:
            problems.append(f"{entry.package}: {entry.group!r} is no group that modeldeck reads")
            continue
        refused = _refusal(kind, entry, kept)
        if refused is not None:
            problems.append(refused)
            continue
        kept[kind, entry.name.lower()] = Extension(kind, entry.name, entry.target, entry.package)
    extensions = []
    for (kind, _), one in kept.items():
        if kind == "engines":
            extensions.append(replace(one, formats=tuple(formats.get((one.package, one.name), ()))))
        else:
            extensions.append(one)
    added = (one.name for one in extensions if one.kind == "engines")
    return Found(tuple(extensions), tuple(problems), (*ENGINES, *added))


def _refusal(kind: Kind, entry: _Entry, kept: dict[tuple[Kind, str], Extension]) -> str | None:
    """Why an entry is left aside, in one line; None: it is taken."""
    what = f"{entry.package}: the {_NOUNS[kind]} {one_line(entry.name)[:40]}"
    name = entry.name.lower()
    if not _NAMES[kind].fullmatch(entry.name):
        return f"{what} is left aside: its name must be letters, digits and dashes, and begin with a letter"
    if name in _TAKEN[kind]:
        return f"{what} is left aside: modeldeck has one of that name itself"
    if (kind, name) in kept:
        return f"{what} is left aside: {kept[kind, name].package} adds one of that name already"
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", entry.target):
        return f"{what} is left aside: {one_line(entry.target)[:80]!r} is not of the form module:attribute"
    return None


def _entries(path: Iterable[str]) -> Iterator[_Entry]:
    """Every entry of our groups, with the first folder of the path winning, as Python itself does it.

    importlib.metadata would give the same, and importing it takes ten times as long as looking at the files of a
    hundred packages oneself: 50 ms before the first line of any command, against 2 to 6.
    """
    seen: set[str] = set()
    for place in dict.fromkeys(path):
        try:
            with os.scandir(place or ".") as entries:
                folders = sorted(entry.path for entry in entries if entry.name.endswith((".dist-info", ".egg-info")))
        except OSError:
            continue
        for folder in folders:
            stem = os.path.basename(folder).rpartition(".")[0]  # noqa: PTH119 - some hundred of them at each start
            name = stem.partition("-")[0].replace("_", "-").replace(".", "-").lower()
            if name in seen:
                continue
            seen.add(name)
            try:
                opened = os.open(f"{folder}/entry_points.txt", os.O_RDONLY)  # a third of what open() takes
            except OSError:
                continue
            try:
                content = os.read(opened, _MOST_BYTES)
            except OSError:
                continue
            finally:
                os.close(opened)
            if b"[modeldeck." in content:
                yield from _parsed(stem, Path(folder), content)


def _parsed(stem: str, folder: Path, content: bytes) -> Iterator[_Entry]:
    group = ""
    for raw in content.decode("utf-8", "replace").splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group.startswith(_GROUP) and "=" in line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            target = target.partition("[")[0]  # extras stand behind it in brackets, and say nothing to us
            yield _Entry(_package(stem, folder), group, name.strip(), "".join(target.split()))


def _package(stem: str, folder: Path) -> str:
    """Name and version, as the distribution itself spells them."""
    for file in ("METADATA", "PKG-INFO"):
        try:
            head = (folder / file).read_text(encoding="utf-8", errors="replace")[:4096]
        except OSError:
            continue
        name = re.search(r"^Name: *(\S+)", head, re.MULTILINE)
        version = re.search(r"^Version: *(\S+)", head, re.MULTILINE)
        if name and version:
            return one_line(f"{name[1]} {version[1]}")
    return one_line(stem.replace("-", " ", 1))
