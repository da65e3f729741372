"""The library: everything on this disk that can be run, whoever downloaded it, matched to the catalog."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from backends import records
from backends.adoption import adopt, adopt_as, local_family
from backends.disk import free_bytes
from backends.errors import BackendError, NotFound
from backends.hubs import listings
from backends.hubs.hub import RepoFile
from backends.hubs.selection import needed_files
from backends.loose import matched_by, names_of
from backends.plans import FileOutcome
from backends.removal import RemovalPlan, plan_removal, remove, spec_files_of
from backends.shelves import LLAMA_CPP_CACHE, Entry, StoredFile, all_entries
from backends.verification import Verification, verify
from specs import extensions
from specs.model import ModelFamily, Variant

__all__ = [
    "Adopted",
    "Duplicate",
    "Entry",
    "Library",
    "RemovalPlan",
    "StoredFile",
    "Verification",
    "adopt",
    "adopt_as",
    "adopt_into",
    "find",
    "library_to_json",
    "local_family",
    "plan_removal",
    "remove",
    "scan",
    "spec_files_of",
    "verify",
]

_SMALLEST_DUPLICATE = 1_000_000


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same bytes twice on this disk."""

    paths: tuple[Path, ...]
    file_bytes: int
    """Of one copy."""
    certain: bool
    """Whether their sums are known to be equal; else name and size are."""

    @property
    def wasted_bytes(self) -> int:
        return self.file_bytes * (len(self.paths) - 1)


@dataclass(frozen=True, slots=True)
class Library:
    """What one look at the disk found."""

    entries: tuple[Entry, ...]
    duplicates: tuple[Duplicate, ...]
    total_bytes: int
    """Each file once, however many names it has."""
    free_bytes: int | None
    """Room on the disk of Hugging Face's cache."""

    def of(self, variant_key: str) -> tuple[Entry, ...]:
        """Entries that are this variant of the catalog."""
        return tuple(entry for entry in self.entries if variant_key in entry.variants)


def scan(variants: Iterable[Variant] = (), folders: Sequence[Path] = ()) -> Library:
    """Look through every place where weights are kept.

    Args:
        variants: The catalog's, to match what is found with.
        folders: Further folders of the user.
    """
    from backends.hubs import environment

    catalog = _Catalog(variants)
    told = {
        (record.root, file.name): (file.file_bytes, file.sha256)
        for record in records.all_records()
        for file in record.files
        if file.sha256
    }
    entries = tuple(catalog.matched(_with_sums(entry, told)) for entry in all_entries(folders))
    files: dict[tuple[int, int], int] = {}
    for entry in entries:
        for file in entry.files:
            if (inode := _inode(file.path)) is not None:
                files[inode] = file.file_bytes
    return Library(entries, _duplicates(entries), sum(files.values()), free_bytes(environment.cache_folder()))


def _with_sums(entry: Entry, told: Mapping[tuple[Path, str], tuple[int, str | None]]) -> Entry:
    """The entry with the sums that were compared when its files were downloaded, where their place tells none."""
    if not any(file.sha256 is None and (entry.root, file.name) in told for file in entry.files):
        return entry
    files = []
    for file in entry.files:
        file_bytes, sha256 = told.get((entry.root, file.name), (None, None))
        files.append(replace(file, sha256=sha256) if not file.sha256 and file_bytes == file.file_bytes else file)
    return replace(entry, files=tuple(files))


@dataclass(frozen=True, slots=True)
class Adopted:
    """Weights that the library knows from now on, where they lie."""

    path: Path
    """What to load."""
    variant: Variant
    spec_file: Path | None
    """The one that was written for them; None: the catalog had the variant."""


def adopt_into(families: Sequence[ModelFamily], path: Path, *, name: str | None = None) -> Adopted:
    """Adopt a local file or folder as the variant of the catalog that it surely is, else as a family of its own.

    Args:
        families: The catalog's; the new family takes no other's name.
        path: The GGUF file, or the folder.
        name: A name for a family of its own, even where the catalog has the variant.

    Raises:
        NotFound, BadWeights: it does not hold whole weights.
        SpecError: the spec file cannot be written.
    """
    full = path.expanduser().absolute()
    variants = [variant for family in families for variant in family.variants()]
    if name is None:
        found = next((one for one in scan(variants, (full.parent,)).entries if one.path == full), None)
        if found is not None and found.matched_by in {"sum", "size"}:
            variant = next(one for one in variants if one.key == found.variants[0])
            return Adopted(adopt_as(full, variant), variant, None)
    taken = {family.name.lower(): family for family in families}
    family, spec_file = adopt(full, name=name or _free_name(full, taken))
    variant = next(family.variants())
    return Adopted(adopt_as(full, variant), variant, spec_file)  # noted, so that the library lists it wherever it lies


def _free_name(path: Path, taken: Mapping[str, ModelFamily]) -> str:
    """A name that takes no other family's place; the same path keeps its own."""
    stem = name = path.stem.lower() if path.suffix.lower() == ".gguf" else path.name.lower()
    number = 1
    while name in taken and {spec.path for spec in taken[name].specs} != {str(path)}:
        number += 1
        name = f"{stem}-{number}"
    return name


def find(library: Library, words: str) -> Entry:
    """The entry that a user means: a path, a variant's key, or a name. Raises NotFound with what is near."""
    wanted = words.strip().lower()
    exact = [
        entry
        for entry in library.entries
        if wanted in (str(entry.path).lower(), entry.name.lower(), *(key.lower() for key in entry.variants))
    ]
    if not exact:
        exact = [
            entry
            for entry in library.entries
            if wanted in entry.name.lower() or any(wanted in key.lower() for key in entry.variants)
        ]
    paths = {entry.path for entry in exact}
    if len(paths) == 1:
        return exact[0]
    if not exact:
        raise NotFound(f"nothing on this disk is called {words!r}; modeldeck library shows what there is")
    some = ", ".join(str(path) for path in sorted(paths)[:4])
    raise NotFound(f"{words!r} may mean {len(paths)} things; name one by its path: {some}")


def library_to_json(library: Library) -> dict[str, Any]:
    """The library as `library --json` prints it."""
    return {
        "entries": [_entry_to_json(entry) for entry in library.entries],
        "duplicates": [
            {
                "paths": [str(path) for path in found.paths],
                "file_bytes": found.file_bytes,
                "wasted_bytes": found.wasted_bytes,
                "certain": found.certain,
            }
            for found in library.duplicates
        ],
        "total_bytes": library.total_bytes,
        "free_bytes": library.free_bytes,
    }


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "owner": entry.owner,
        "variants": list(entry.variants),
        "matched_by": entry.matched_by,
        "format": entry.format,
        "quantization": entry.quantization,
        "hub": entry.hub,
        "model_id": entry.model_id,
        "revision": entry.revision,
        "path": str(entry.path),
        "whole": entry.whole,
        "problem": entry.problem,
        "total_bytes": entry.total_bytes,
        "files": [
            {"name": file.name, "path": str(file.path), "bytes": file.file_bytes, "sha256": file.sha256}
            for file in entry.files
        ],
    }


class _Catalog:
    """The catalog turned round: which variants a repository's name, a sum or a size may be."""

    def __init__(self, variants: Iterable[Variant]) -> None:
        self._by_id: dict[str, list[Variant]] = {}
        for variant in variants:
            for source in variant.spec.hubs:
                if source.carries(variant.quantization):
                    self._by_id.setdefault(source.model_id(variant.quantization).lower(), []).append(variant)
        self._by_sum: dict[frozenset[str], list[str]] = {}
        """By the sums of all files with weights: a shard or a configuration alone is shared by tuned models."""
        self._by_size: dict[tuple[str, int], list[str]] = {}
        self._lengths: dict[str, set[tuple[int, ...]]] = {}
        """Lengths of all files with weights, in order of length, by variant."""
        self._by_name: dict[str, list[str]] = {}
        self._tensors: list[tuple[Variant, str, tuple[RepoFile, ...]]] = []
        """Variants in safetensors of repositories whose listing was read before, with the files that they need."""
        self._listed: set[str] = set()
        self._learn()

    def matched(self, entry: Entry) -> Entry:
        """The entry with the variants that it is, and what that was concluded from."""
        if entry.variants or not entry.files:
            return entry
        first = entry.files[0]
        weights = _weights(entry.files)
        found = self._by_sum.get(_sums(weights))
        if found:
            return replace(entry, variants=tuple(dict.fromkeys(found)), matched_by="sum")
        if entry.model_id and (ours := self._by_id.get(entry.model_id.lower())):
            keys = self._of_repository(entry, ours)
            if keys:
                known = any(self._as_long(key, weights) for key in keys)
                return replace(entry, variants=keys, matched_by="size" if known else "name")
        if entry.format != "ggufv2":
            return self._folder(entry) if entry.model_id is None else entry
        names = tuple(names_of(first.path.name, prefixed=entry.owner == LLAMA_CPP_CACHE))
        for name in names:
            found = [key for key in self._by_size.get((name, first.file_bytes), ()) if self._as_long(key, weights)]
            if found:
                return replace(entry, variants=tuple(dict.fromkeys(found)), matched_by="size")
        for name in names:
            if found := self._by_name.get(name):
                return replace(entry, variants=tuple(dict.fromkeys(found)), matched_by="name")
        return entry

    def _folder(self, entry: Entry) -> Entry:
        """A folder of safetensors that no hub's name is known of."""
        sizes = {file.name: file.file_bytes for file in entry.files}
        fitting = [
            (variant.key, model_id)
            for variant, model_id, needed in self._tensors
            if matched_by(entry.path, sizes, variant, model_id, needed) == "size"
        ]
        called = [(key, model_id) for key, model_id in fitting if _last(model_id) == entry.path.name.lower()]
        if keys := tuple(dict.fromkeys(key for key, _ in called or fitting)):
            return replace(entry, variants=keys, matched_by="size")
        keys = tuple(
            dict.fromkeys(
                variant.key
                for model_id, variants in self._by_id.items()
                if model_id not in self._listed
                for variant in variants
                if variant.spec.format != "ggufv2" and matched_by(entry.path, sizes, variant, model_id, ()) == "name"
            )
        )
        return replace(entry, variants=keys, matched_by="name") if keys else entry

    def _of_repository(self, entry: Entry, ours: Sequence[Variant]) -> tuple[str, ...]:
        listed = tuple(RepoFile(file.name, file.file_bytes) for file in entry.files)
        keys = []
        for variant in ours:
            if (variant.spec.format == "ggufv2") != (entry.format == "ggufv2"):
                continue
            if entry.format != "ggufv2" or self._holds(variant, entry, listed):
                keys.append(variant.key)
        return tuple(dict.fromkeys(keys))

    @staticmethod
    def _holds(variant: Variant, entry: Entry, listed: tuple[RepoFile, ...]) -> bool:
        from backends.hubs.hub import Listing

        for source in variant.spec.hubs:
            try:
                chosen = needed_files(Listing(source.hub, entry.model_id or "", "", listed), variant, source)
            except BackendError:
                continue
            if {file.name for file in chosen} == {file.name for file in listed}:
                return True
        return False

    def _as_long(self, key: str, weights: Sequence[StoredFile]) -> bool:
        """Whether all files with weights are as long as a hub, or a download, said of this variant."""
        return _lengths(file.file_bytes for file in weights) in self._lengths.get(key, ())

    def _learn(self) -> None:
        """Sums and sizes from what was downloaded and from listings that were read before; names from templates."""
        for record in records.all_records():
            if record.files and record.hub is not None:
                self._note(record.key, record.files)
        for variants in self._by_id.values():
            for variant in variants:
                for source in variant.spec.hubs:
                    names = source.file_names(variant.quantization)
                    if names and variant.spec.format == "ggufv2":
                        self._by_name.setdefault(names[0].rpartition("/")[2].lower(), []).append(variant.key)
        for hub in extensions.hubs():
            for kept in listings.kept_listings(hub):
                self._listed.add(kept.model_id.lower())
                for variant in self._by_id.get(kept.model_id.lower(), ()):
                    source_here = variant.source(hub)
                    if source_here is None:
                        continue
                    try:
                        chosen = needed_files(kept, variant, source_here)
                    except BackendError:
                        continue
                    self._note(variant.key, chosen)
                    if variant.spec.format != "ggufv2":
                        self._tensors.append((variant, kept.model_id, chosen))

    def _note(self, key: str, files: Sequence[RepoFile | FileOutcome]) -> None:
        weights = _weights(files)
        if sums := _sums(weights):
            self._by_sum.setdefault(sums, []).append(key)
        lengths = [file.file_bytes for file in weights if file.file_bytes is not None]
        if lengths and len(lengths) == len(weights):
            self._lengths.setdefault(key, set()).add(_lengths(lengths))
            self._by_size.setdefault((_last(weights[0].name), lengths[0]), []).append(key)


Described = TypeVar("Described", StoredFile, RepoFile | FileOutcome)


def _weights(files: Sequence[Described]) -> list[Described]:
    """The files that hold weights; of a blob without an ending, itself."""
    return [file for file in files if file.name.lower().endswith((".gguf", ".safetensors"))] or list(files[:1])


def _sums(files: Iterable[StoredFile | RepoFile | FileOutcome]) -> frozenset[str]:
    """The sums of these files; none where one is not told."""
    sums = [file.sha256 for file in files]
    told = frozenset(one for one in sums if one)
    return told if len(told) == len(sums) else frozenset()


def _lengths(lengths: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(lengths))


def _last(model_id: str) -> str:
    return model_id.rpartition("/")[2].lower()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 — follows links on purpose
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _duplicates(entries: Iterable[Entry]) -> tuple[Duplicate, ...]:
    """Files that lie here more than once: the same sum, or the same name and size where a sum is not told."""
    by_inode: dict[tuple[int, int], StoredFile] = {}
    for entry in entries:
        for file in entry.files:
            inode = _inode(file.path)
            if file.file_bytes >= _SMALLEST_DUPLICATE and inode is not None:
                by_inode.setdefault(inode, file)
    groups: dict[tuple[int, str], list[StoredFile]] = {}
    by_size: dict[int, list[StoredFile]] = {}
    for file in by_inode.values():
        by_size.setdefault(file.file_bytes, []).append(file)
    for size, same in by_size.items():
        if len(same) < 2:
            continue
        for file in same:
            groups.setdefault((size, file.sha256 or "?"), []).append(file)
    found = []
    for (size, sha256), same in groups.items():
        known = [file for file in same if sha256 != "?"]
        if len(known) > 1:
            found.append(Duplicate(tuple(file.path for file in known), size, certain=True))
        elif sha256 == "?":
            likely = _by_likely_name(same, by_size[size])
            found.extend(Duplicate(tuple(file.path for file in group), size, certain=False) for group in likely)
    return tuple(sorted(found, key=lambda one: -one.wasted_bytes))


def _by_likely_name(unknown: Sequence[StoredFile], all_of_size: Sequence[StoredFile]) -> list[list[StoredFile]]:
    """Equal to the byte in length is already unlikely by chance; a like name on top makes it a duplicate to look at."""
    groups: dict[str, list[StoredFile]] = {}
    for file in all_of_size:
        groups.setdefault(file.path.name.lower(), []).append(file)
    ours = {file.path for file in unknown}
    return [group for group in groups.values() if len(group) > 1 and any(file.path in ours for file in group)]
