"""The catalog: every family that modeldeck knows, with search and look-up."""

from __future__ import annotations

import difflib
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from specs import extensions
from specs.engines import engine_name, engines_for
from specs.model import ModelFamily, ModelSpec, Number, SpecError, Variant
from specs.readers.values import billions
from specs.reading import Reading, check_spec_file, endings, read_spec_file
from specs.text import one_line, printable

__all__ = ["Catalog", "UnknownFamily", "UnknownVariant", "load_catalog", "read_spec_file"]

BUNDLED: Final = Path(__file__).parent / "families"
MAX_FILES: Final = 20_000
"""Spec files that one folder may hold; a larger one is not a folder of spec files."""


class UnknownFamily(KeyError):
    """A family that the catalog does not hold; names that are near it."""

    def __init__(self, name: str, near: tuple[str, ...]) -> None:
        super().__init__(name)
        self.name = name
        self.near = near

    def __str__(self) -> str:
        hint = f"; near it: {', '.join(self.near)}" if self.near else "; `modeldeck list` shows what there is"
        return f'no family is called "{one_line(self.name)}"{hint}'


class UnknownVariant(LookupError):
    """A variant that the family does not have; the text lists what it has."""


class _Indexed(NamedTuple):
    """A family with what a search looks at, all in lower case."""

    family: ModelFamily
    haystack: str
    name: str
    formats: frozenset[str]
    abilities: frozenset[str]
    smallest: Number


@dataclass(frozen=True)
class Catalog:
    """Families in order, and what could not be read or was replaced."""

    families: tuple[ModelFamily, ...]
    problems: tuple[str, ...] = ()
    """One line each, beginning with the file: "file:line: what"."""

    def family(self, name: str) -> ModelFamily:
        """The family of that name, in whatever case.

        Raises:
            UnknownFamily: there is none; it names those that are near.
        """
        found = self._by_name.get(name.strip().lower())
        if found is not None:
            return found
        near = difflib.get_close_matches(name.lower()[:100], self._by_name, n=4, cutoff=0.5)
        return self._missing(name, tuple(self._by_name[lower].name for lower in near))

    def search(
        self,
        query: str = "",
        *,
        format: str | None = None,  # noqa: A002  # the word of the spec files
        engine: str | None = None,
        ability: str | None = None,
        max_size: float | None = None,
    ) -> tuple[ModelFamily, ...]:
        """Families that match every word of the query and every filter.

        Words are sought in name, abilities, formats, languages and IDs. Families whose name holds all the words come
        first; otherwise the catalog's order stays.

        Args:
            query: words in any case.
            format: a format that one of the specs has.
            engine: an engine that could run one of the specs somewhere.
            ability: an ability of the family.
            max_size: billions of parameters that the smallest size may have.
        """
        words = query.lower().split()
        rows: Sequence[_Indexed] = self._index
        if format:
            wanted = format.strip().lower()
            rows = [row for row in rows if wanted in row.formats]
        if ability:
            wanted = ability.strip().lower()
            rows = [row for row in rows if wanted in row.abilities]
        if max_size is not None:
            rows = [row for row in rows if row.smallest <= max_size]
        if engine:
            wanted = engine_name(engine).lower()
            rows = [row for row in rows if wanted in self._engines[row.name]]
        for word in words:
            rows = [row for row in rows if word in row.haystack]
        if not words:
            return tuple([row.family for row in rows])
        by_name = [row.family for row in rows if all(word in row.name for word in words)]
        if len(by_name) in {0, len(rows)}:
            return tuple([row.family for row in rows])
        return tuple(by_name + [row.family for row in rows if not all(word in row.name for word in words)])

    def variants(self) -> Iterator[Variant]:
        """Every downloadable thing, family by family."""
        for family in self.families:
            yield from family.variants()

    def variant(
        self,
        name: str,
        size_in_billions: float | str | None = None,
        format: str | None = None,  # noqa: A002  # the word of the spec files
        quantization: str | None = None,
        *,
        model_id: str | None = None,
    ) -> Variant:
        """The one variant that is meant; the first where several differ only in their model ID.

        Args:
            name: the family, in any case.
            size_in_billions: 8, "8" or "1_8"; None: any, when there is only one to choose from.
            format: such as "ggufv2"; None: any, likewise.
            quantization: in any case; None: any, likewise.
            model_id: the repository, where the others do not decide.

        Raises:
            UnknownFamily: no family has the name.
            UnknownVariant: no variant, or several, match; the text lists what there is.
        """
        family = self.family(name)
        size = billions(size_in_billions) if size_in_billions is not None else None
        specs = [
            spec
            for spec in family.specs
            if (size_in_billions is None or spec.size_in_billions == size)
            and (format is None or spec.format == format.strip().lower())
        ]
        wanted = quantization.strip().lower() if quantization is not None else None
        found = [
            Variant(family, spec, entry)
            for spec in specs
            for entry in spec.quantizations
            if wanted is None or entry.lower() == wanted
        ]
        if model_id is not None:
            found = [variant for variant in found if _has_id(variant, model_id)]
        kinds = {(v.spec.size_in_billions, v.spec.format, v.quantization.lower()) for v in found}
        if len(kinds) == 1:
            return found[0]
        asked = " ".join(
            part
            for part in (
                f"{size_in_billions}B" if size_in_billions is not None else "",
                printable(format or ""),
                printable(quantization or ""),
                printable(model_id or ""),
            )
            if part
        )
        if found:
            whole = f"{family.name} {asked}".rstrip()
            raise UnknownVariant(f"{whole}: say which one; there is {_choices(specs)}")
        there = _choices(specs or list(family.specs))
        raise UnknownVariant(f"{family.name} has no {asked}; there is {there}")

    @cached_property
    def _by_name(self) -> dict[str, ModelFamily]:
        return {family.name.lower(): family for family in self.families}

    @cached_property
    def _index(self) -> tuple[_Indexed, ...]:
        return tuple([_indexed(family) for family in self.families])

    @cached_property
    def _engines(self) -> dict[str, frozenset[str]]:
        """Engines that could run one of the family's specs, in lower case, by the family's name."""
        return {
            family.name.lower(): frozenset(engine.lower() for spec in family.specs for engine in engines_for(spec))
            for family in self.families
        }

    def _missing(self, name: str, near: tuple[str, ...]) -> ModelFamily:
        raise UnknownFamily(name, near)


def load_catalog(user_folder: Path | None = None, extra: Sequence[Path] = ()) -> Catalog:
    """Bundled families, then the user's, then those of extra files and folders.

    A later family replaces an earlier one of the same name, in its place, and the problems say so. A file that cannot
    be read costs a line in the problems and nothing else.
    """
    families: dict[str, ModelFamily] = {}
    problems: list[str] = [*extensions.found().problems]
    collecting = gc.isenabled()
    gc.disable()  # thousands of values are made and none dies: collecting between them took a quarter of the time
    try:
        _read_all(_spec_files(BUNDLED, problems), families, problems, source="bundled")
        if user_folder is not None and user_folder.is_dir():
            _read_all(_spec_files(user_folder, problems), families, problems)
        for path in extra:
            files = _spec_files(path, problems) if path.is_dir() else [path]
            _read_all(files, families, problems)
    finally:
        if collecting:
            gc.enable()
    return Catalog(tuple(families.values()), tuple(problems))


def _read_all(
    files: Sequence[Path], families: dict[str, ModelFamily], problems: list[str], source: str | None = None
) -> None:
    for path in files:
        try:
            reading = check_spec_file(path, source)
        except SpecError as error:
            problems.append(str(error))
            continue
        _add(reading, printable(str(path)), families, problems)


def _add(reading: Reading, file: str, families: dict[str, ModelFamily], problems: list[str]) -> None:
    problems.extend(str(SpecError(file, note.line, note.what)) for note in reading.notes)
    here: set[str] = set()
    for family in reading.families:
        key = family.name.lower()
        earlier = families.get(key)
        if key in here:
            problems.append(f"{file}: {family.name} stands here twice; the later one counts")
        elif earlier is not None:
            where = "the bundled family" if earlier.source == "bundled" else f"the one of {earlier.source}"
            problems.append(f"{file}: {family.name} replaces {where}")
        here.add(key)
        families[key] = family


def _spec_files(folder: Path, problems: list[str]) -> list[Path]:
    """Spec files of a folder and its sub-folders, by name; hidden ones are left alone."""

    def failed(error: OSError) -> None:
        problems.append(f"{printable(str(error.filename))}: cannot be read: {error.strerror}")

    found: list[str] = []
    wanted = endings()
    for place, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=str.lower)
        found.extend(
            f"{place}/{name}"
            for name in sorted(names, key=_stem)
            if name.lower().endswith(wanted) and not name.startswith(".")
        )
        if len(found) > MAX_FILES:
            problems.append(f"{printable(str(folder))}: only its first {MAX_FILES:,} spec files are read")
            break
    return [Path(name) for name in found[:MAX_FILES]]


def _stem(name: str) -> tuple[str, str]:
    """Sorts files as the families in them are called: "qwen3" before "qwen3-coder", in whatever case."""
    return (name.lower().rpartition(".")[0], name)


def _indexed(family: ModelFamily) -> _Indexed:
    ids = dict.fromkeys(source.id for spec in family.specs for source in spec.hubs)
    formats = family.formats
    words = (family.name, *family.abilities, *formats, *family.languages, *ids)
    return _Indexed(
        family=family,
        haystack="\n".join(words).lower(),
        name=family.name.lower(),
        formats=frozenset(formats),
        abilities=frozenset(ability.lower() for ability in family.abilities),
        smallest=min(spec.size_in_billions for spec in family.specs),
    )


def _has_id(variant: Variant, model_id: str) -> bool:
    wanted = model_id.strip().lower()
    return any(
        source.model_id(variant.quantization).lower() == wanted or source.id.lower() == wanted
        for source in variant.spec.hubs
    )


def _choices(specs: Sequence[ModelSpec]) -> str:
    """What there is to choose from, in one line: "8B ggufv2 Q4_K_M, Q8_0; 8B pytorch none"."""
    merged: dict[tuple[Number, str], dict[str, None]] = {}
    for spec in specs:
        merged.setdefault((spec.size_in_billions, spec.format), {}).update(dict.fromkeys(spec.quantizations))
    return "; ".join(f"{size}B {name} {', '.join(names)}" for (size, name), names in merged.items())
