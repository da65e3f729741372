"""Removing stored weights: exactly what goes, whose it is, and how much that frees."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backends import home, records
from backends.errors import BackendError
from backends.hubs import environment
from backends.shelves import (
    ADDED_HUBS,
    ADOPTED,
    FOLDER,
    HUGGINGFACE_CACHE,
    MODELSCOPE_CACHE,
    OLLAMA,
    Entry,
    blob_of,
    manifest_layers,
    ollama_manifests,
    ollama_name,
)
from specs.model import ModelFamily


@dataclass(frozen=True, slots=True)
class RemovalPlan:
    """What removing an entry would do. Nothing has been touched yet."""

    entry: Entry
    owner: str
    """Whose folder the files lie in."""
    foreign: bool
    """Whether another program keeps them for itself: ask before."""
    paths: tuple[Path, ...]
    """Files and links that go."""
    freed_bytes: int
    """Bytes that this gives back; names of files that something else needs give nothing."""
    kept: tuple[str, ...] = ()
    """One line for each file that stays, with the reason."""
    others: tuple[Entry, ...] = ()
    """What else lies on this disk: bytes that one of these is a link to stay."""


def plan_removal(entry: Entry, others: Iterable[Entry] = ()) -> RemovalPlan:
    """Find out what removing an entry would free, without removing anything.

    Args:
        entry: What to remove.
        others: What else a look at the disk found. A link from another program's folder, or from one of the user's,
            needs the bytes as much as a snapshot does.

    Raises BackendError where nothing can go, or where it is not known what another program still needs.
    """
    others = tuple(others)
    plan = _plan(entry, _linked_from(entry, others))
    if not plan.paths and entry.owner != ADOPTED:
        raise BackendError("; ".join(plan.kept) or f"nothing of {entry.name} is left at {entry.path}")
    return replace(plan, others=others)


def _linked_from(entry: Entry, others: Iterable[Entry]) -> Mapping[Path, Entry]:
    """Files that links of other folders lead to."""
    return {
        file.path.resolve(): other
        for other in others
        if other.root != entry.root and other.owner != HUGGINGFACE_CACHE  # whose own links are counted one by one
        for file in other.files
        if file.path.is_symlink()
    }


def _plan(entry: Entry, linked: Mapping[Path, Entry]) -> RemovalPlan:
    if entry.owner == ADOPTED:
        line = f"{entry.path} stays: it was adopted, not downloaded; only modeldeck's note of it goes"
        return RemovalPlan(entry, entry.owner, False, (), 0, (line,))
    if entry.owner == HUGGINGFACE_CACHE:
        return _from_huggingface(entry, linked)
    if entry.owner == OLLAMA:
        return _from_ollama(entry)
    foreign = entry.owner not in (MODELSCOPE_CACHE, ADDED_HUBS, FOLDER)
    paths, kept, freed = [], [], 0
    for file in entry.files:
        stat = file.path.lstat()
        if (other := linked.get(file.path)) is not None:
            kept.append(_needed_by(other, file.name))
            continue
        paths.append(file.path)
        if file.path.is_symlink():
            kept.append(f"{file.path.resolve()} stays: {file.name} is only a link to it")
        elif stat.st_nlink > 1:
            kept.append(f"{file.name} has another name on this disk, so that its bytes stay")
        else:
            freed += stat.st_size
    return RemovalPlan(entry, entry.owner, foreign, tuple(paths), freed, tuple(kept))


def remove(plan: RemovalPlan) -> int:
    """Carry out a plan; returns the bytes that it freed.

    Raises BackendError when the disk has changed since the plan, or takes no change.
    """
    now = plan_removal(plan.entry, plan.others)
    if set(now.paths) - set(plan.paths) or now.freed_bytes > plan.freed_bytes:
        raise BackendError(f"what lies at {plan.entry.path} has changed meanwhile; look at it again before removing it")
    freed = 0
    manifests = plan.entry.root / "manifests" if plan.owner == OLLAMA else None  # some lines, which no plan counts
    for path in now.paths:
        try:
            stat = path.lstat()
            path.unlink()
            if manifests not in path.parents and stat.st_nlink == 1 and not _is_link(stat.st_mode):
                freed += stat.st_size
        except FileNotFoundError:
            continue
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise BackendError(f"cannot remove {path} ({why}); {freed:,} bytes were freed before") from error
    for key in plan.entry.variants:
        record = records.read(key)
        if record is not None and (record.root == plan.entry.root or plan.owner == ADOPTED):
            records.forget(key)
    _tidy(plan.entry, now.paths)
    return freed


def spec_files_of(plan: RemovalPlan, families: Iterable[ModelFamily]) -> tuple[Path, ...]:
    """Spec files that adopting this entry made: without them nothing would know of it."""
    if plan.owner != ADOPTED:
        return ()
    own = home.specs_folder()
    return tuple(
        Path(family.source)
        for family in families
        if own in Path(family.source).parents and {spec.path for spec in family.specs} == {str(plan.entry.path)}
    )


def _is_link(mode: int) -> bool:
    import stat

    return stat.S_ISLNK(mode)


def _needed_by(other: Entry, name: str) -> str:
    return f"the bytes of {name} stay: {other.name} in {other.owner} at {other.path} is a link to them"


def _from_huggingface(entry: Entry, linked: Mapping[Path, Entry]) -> RemovalPlan:
    """Links go, and blobs that no other link of the cache needs: commits share them, and so do repositories."""
    ours = {file.path for file in entry.files}
    repository = entry.root.parent.parent
    wanted_elsewhere = _targets(link for link in _links(repository / "snapshots") if link not in ours)
    paths: list[Path] = []
    kept: list[str] = []
    freed = 0
    for file in entry.files:
        if (other := linked.get(file.path.resolve())) is not None:
            kept.append(_needed_by(other, file.name))
            continue  # the link of the snapshot too: the other may lead through it
        paths.append(file.path)
        if not file.path.is_symlink():
            freed += file.path.lstat().st_size if file.path.lstat().st_nlink == 1 else 0
            continue
        blob = _next(file.path)
        if blob is None or blob in paths:
            continue
        if blob in wanted_elsewhere:
            kept.append(f"the bytes of {file.name} stay: another revision of {entry.model_id} needs them")
            continue
        if not _inside(blob, environment.cache_folder()):
            kept.append(f"the bytes of {file.name} stay: they lie outside the cache at {blob}")
            continue
        paths.append(blob)
        if blob.is_symlink():
            shared = _next(blob)
            others = _targets(link for link in _links(environment.cache_folder(), "blobs") if link != blob)
            if shared is None or not _inside(shared, environment.cache_folder()):
                continue
            if shared in others:
                kept.append(f"the bytes of {file.name} stay: another repository shares them")
                continue
            paths.append(shared)
            freed += shared.stat().st_size
        elif blob.exists():
            stat = blob.stat()
            freed += stat.st_size if stat.st_nlink == 1 else 0
    return RemovalPlan(entry, entry.owner, False, tuple(paths), freed, tuple(kept))


def _next(link: Path) -> Path | None:
    """Where a link points to, one step, as an absolute path."""
    try:
        return Path(os.path.normpath(link.parent / link.readlink()))
    except OSError:
        return None


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.normpath(folder)) in path.parents


def _links(folder: Path, below: str | None = None) -> Iterable[Path]:
    """Every symbolic link under a folder; below: only in folders of this name one level down."""
    roots = [folder] if below is None else [child / below for child in folder.glob("models--*")]
    for root in roots:
        for place, _, names in os.walk(root):
            for name in names:
                path = Path(place) / name
                if path.is_symlink():
                    yield path


def _targets(links: Iterable[Path]) -> set[Path]:
    return {target for link in links if (target := _next(link)) is not None}


def _from_ollama(entry: Entry) -> RemovalPlan:
    """The manifest goes, and blobs that no other manifest names."""
    base = entry.root
    unread = next((path for path in ollama_manifests(base) if manifest_layers(path) is None), None)
    if unread is not None:
        raise BackendError(
            f"{unread} cannot be read, so which bytes other models of Ollama's need is not known; "
            f"remove it with: ollama rm {entry.name}"
        )
    ours: list[tuple[Path, set[str]]] = []
    others: list[tuple[Path, set[str]]] = []
    for manifest in ollama_manifests(base):
        digests = {str(layer.get("digest", "")) for layer in manifest_layers(manifest) or ()}
        # By its whole name: a copy of a model has the same blobs, and its name may end alike.
        (ours if ollama_name(base, manifest) == entry.name else others).append((manifest, digests))
    needed = {digest for _, digests in others for digest in digests}
    paths, kept, freed = [manifest for manifest, _ in ours], [], 0
    for digest in sorted({digest for _, digests in ours for digest in digests}):
        blob = blob_of(base, digest)
        if blob is None or not blob.exists():
            continue
        if digest in needed:
            kept.append(f"{blob.name[:19]}… stays: another model of Ollama's needs it")
            continue
        paths.append(blob)
        freed += blob.stat().st_size
    return RemovalPlan(entry, entry.owner, True, tuple(paths), freed, tuple(kept))


def _tidy(entry: Entry, paths: Iterable[Path]) -> None:
    """Remove folders that have become empty, and of a repository without snapshots also what is about them."""
    top = environment.cache_folder() if entry.owner == HUGGINGFACE_CACHE else entry.root
    for path in paths:
        for folder in path.parents:
            if folder == top or top not in folder.parents:
                break
            try:
                folder.rmdir()
            except OSError:
                break
    if entry.owner == HUGGINGFACE_CACHE:
        repository = entry.root.parent.parent
        unfinished = any((repository / "blobs").glob("*.part")) if repository.exists() else False
        if not any(_links(repository / "snapshots")) and not unfinished and _inside(repository, top):
            left = [path for path in repository.rglob("*") if path.is_file() and path.parent.name == "blobs"]
            if not left:
                with contextlib.suppress(OSError):
                    shutil.rmtree(repository)
