"""Where weights lie on this disk: the folders of each program that keeps some, read without changing anything."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from backends import records
from backends.errors import BackendError
from backends.hubs import added_cache, environment, ms_cache
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.repository import quantization_of
from backends.hubs.selection import gguf_groups, needed_repository_files
from backends.lengths import length_problem
from backends.local_index import lm_studio_folders, repository_whole
from specs.model import HUGGINGFACE, MODELSCOPE

HUGGINGFACE_CACHE = "Hugging Face cache"
MODELSCOPE_CACHE = "ModelScope cache"
ADDED_HUBS = "modeldeck's hubs"
"""Folders of hubs that other packages add."""
LM_STUDIO = "LM Studio"
LLAMA_CPP_CACHE = "llama.cpp cache"
OLLAMA = "Ollama"
FOLDER = "your folder"
ADOPTED = "adopted"

_DEEPEST = 6
_MOST_FILES = 20_000
"""Of a plain folder: somebody may name the root of a disk."""
_SUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of stored weights."""

    name: str
    """Relative to the entry's root."""
    path: Path
    file_bytes: int
    sha256: str | None = None
    """As its place or a record tells it; None: not told."""
    git_sha1: str | None = None
    """Git's object ID, for small files of Hugging Face's cache."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that an engine could load: a GGUF file with its parts, or a folder of safetensors."""

    owner: str
    """The program or person whose folder it lies in."""
    name: str
    """What to call it."""
    path: Path
    """The GGUF file (the first part), or the folder."""
    root: Path
    files: tuple[StoredFile, ...]
    format: str
    """"ggufv2" or "safetensors"."""
    quantization: str | None = None
    hub: str | None = None
    model_id: str | None = None
    revision: str | None = None
    problem: str | None = None
    """Why it is not whole; None: nothing is missing that its place can tell."""
    variants: tuple[str, ...] = ()
    """Keys of the catalog's variants that it is."""
    matched_by: str | None = None
    """"sum", "size" or "name"; None: no variant of the catalog."""

    @property
    def total_bytes(self) -> int:
        return sum(file.file_bytes for file in self.files)

    @property
    def whole(self) -> bool:
        return self.problem is None


def all_entries(folders: Sequence[Path] = ()) -> Iterator[Entry]:
    """Everything that lies on this disk; a folder that cannot be read is passed over."""
    owned: set[Path] = set()
    for entry in chain(
        huggingface_entries(),
        modelscope_entries(),
        added_hub_entries(),
        lm_studio_entries(),
        llama_cpp_entries(),
        ollama_entries(),
    ):
        owned.add(_place(entry.path))
        yield entry
    for folder in folders:
        for entry in folder_entries(folder.expanduser(), FOLDER):
            # A user may name a program's own folder, or one twice: what lies in it stays that program's.
            if (place := _place(entry.path)) not in owned:
                owned.add(place)
                yield entry
    yield from adopted_entries()


def _place(path: Path) -> Path:
    """Where a name of a file or folder stands, links on the way followed and its own not."""
    return path.parent.resolve() / path.name


def huggingface_entries() -> Iterator[Entry]:
    """Hugging Face's cache: each snapshot's loadable things."""
    for repository in _folders(environment.cache_folder()):
        if repository.name.startswith("models--"):
            model_id = repository.name.removeprefix("models--").replace("--", "/", 1)
            for snapshot in _folders(repository / "snapshots"):
                files = list(_files(snapshot, by_blob=True))
                yield from _loadable(HUGGINGFACE_CACHE, snapshot, files, HUGGINGFACE, model_id, snapshot.name)


def modelscope_entries() -> Iterator[Entry]:
    """ModelScope's cache, of today's client and of older ones."""
    for model_id, folder in ms_cache.stored():
        revision = folder.name if folder.parent.name == "snapshots" else "master"
        yield from _loadable(MODELSCOPE_CACHE, folder, list(_files(folder)), MODELSCOPE, model_id, revision)


def added_hub_entries() -> Iterator[Entry]:
    """What was downloaded from hubs that other packages add, whether the package is still there or not."""
    for hub, model_id, folder in added_cache.stored():
        yield from _loadable(ADDED_HUBS, folder, list(_files(folder)), hub, model_id, folder.name)


def lm_studio_entries() -> Iterator[Entry]:
    """LM Studio's models, which keep the names of their repositories on Hugging Face."""
    seen: set[Path] = set()
    for base in lm_studio_folders():
        for owner in _folders(base):
            for repository in _folders(owner):
                if (real := repository.resolve()) in seen:
                    continue
                seen.add(real)
                model_id = f"{owner.name}/{repository.name}"
                yield from _loadable(LM_STUDIO, repository, list(_files(repository)), HUGGINGFACE, model_id, None)


def llama_cpp_folder() -> Path:
    """Where llama.cpp's own tools keep what `-hf` downloaded."""
    if named := os.environ.get("LLAMA_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Caches/llama.cpp").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "llama.cpp"


def llama_cpp_entries() -> Iterator[Entry]:
    """llama.cpp's cache: one flat folder."""
    folder = llama_cpp_folder()
    files = [file for file in _files(folder, deepest=1) if file.name.endswith(".gguf")]
    yield from _loadable(LLAMA_CPP_CACHE, folder, files, None, None, None)


def ollama_folders() -> tuple[Path, ...]:
    """Where Ollama keeps models: the user's, and the system service's on Linux."""
    if named := os.environ.get("OLLAMA_MODELS"):
        return (Path(named).expanduser(),)
    return (Path("~/.ollama/models").expanduser(), Path("/usr/share/ollama/.ollama/models"))


def ollama_entries() -> Iterator[Entry]:
    """Ollama's models: GGUF blobs that manifests give names to."""
    for base in ollama_folders():
        for manifest in ollama_manifests(base):
            for layer in manifest_layers(manifest) or ():
                if layer.get("mediaType") != "application/vnd.ollama.image.model":
                    continue
                blob = blob_of(base, str(layer.get("digest", "")))
                if blob is None:
                    continue
                name = ollama_name(base, manifest)
                size, problem = _size_of(blob), None
                announced = layer.get("size")
                if size is None:
                    size, problem = 0, "its blob is missing"
                elif isinstance(announced, int) and announced != size:
                    problem = f"{announced - size:,} of {announced:,} bytes are missing"
                stored = StoredFile(blob.name, blob, size, blob.name.removeprefix("sha256-"))
                tag = manifest.name
                quantization = quantization_of(f"-{tag}.gguf")
                yield Entry(OLLAMA, name, blob, base, (stored,), "ggufv2", quantization, problem=problem)


def ollama_manifests(base: Path) -> Iterator[Path]:
    """Manifest files: registry/namespace/model/tag."""
    root = base / "manifests"
    for place, folders, names in os.walk(root):
        depth = len(Path(place).relative_to(root).parts)
        if depth >= 4:
            folders.clear()
        for name in sorted(names):
            if depth == 3 and not name.startswith("."):
                yield Path(place) / name


def manifest_layers(manifest: Path) -> list[dict[str, Any]] | None:
    """The layers that a manifest names; None when it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(manifest.read_text(encoding="utf-8"))
        if isinstance(found, dict) and isinstance(found.get("layers"), list):
            layers = [*found["layers"], found.get("config")]
            return [layer for layer in layers if isinstance(layer, dict)]
    return None


def blob_of(base: Path, digest: str) -> Path | None:
    """Where a layer's bytes lie; None for what is no digest."""
    algorithm, _, sum_ = digest.partition(":")
    if algorithm != "sha256" or not _SUM.fullmatch(sum_):
        return None
    return base / "blobs" / f"sha256-{sum_}"


def folder_entries(folder: Path, owner: str) -> Iterator[Entry]:
    """A plain folder: each folder below it on its own."""
    by_folder: dict[Path, list[StoredFile]] = {}
    for file in _files(folder):
        by_folder.setdefault(file.path.parent, []).append(file)
    for place in sorted(by_folder):
        files = [
            StoredFile(file.path.relative_to(place).as_posix(), file.path, file.file_bytes) for file in by_folder[place]
        ]
        yield from _loadable(owner, place, files, None, None, None)


def adopted_entries() -> Iterator[Entry]:
    """Files that the user told us of; they stay where they are."""
    for record in records.all_records():
        if record.hub is not None:
            continue
        files = tuple(
            StoredFile(file.name, record.root / file.name, file.file_bytes, file.sha256) for file in record.files
        )
        problem = None if record.whole() else "a file has gone or has changed its size"
        form = "ggufv2" if record.path != record.root else "safetensors"  # Ollama's blobs have no ending
        yield Entry(
            ADOPTED,
            record.path.name,
            record.path,
            record.root,
            files,
            form,
            quantization_of(record.path.name),
            problem=problem,
            variants=(record.key,),
            matched_by="sum",
        )


def _loadable(
    owner: str, root: Path, files: list[StoredFile], hub: str | None, model_id: str | None, revision: str | None
) -> Iterator[Entry]:
    by_name = {file.name: file for file in files}
    listed = tuple(RepoFile(file.name, file.file_bytes) for file in files)
    groups = gguf_groups(listed)
    for key, parts in groups.items():
        stored = tuple(by_name[part.name] for part in parts)
        yield Entry(
            owner, key.rpartition("/")[2], stored[0].path, root, stored, "ggufv2", quantization_of(key),
            hub, model_id, revision, problem=_cut_off(owner, stored),
        )  # fmt: skip
    for key, held in _cut_groups(listed, groups).items():
        stored = tuple(by_name[name] for name in held)
        yield Entry(
            owner, key, stored[0].path, root, stored, "ggufv2", quantization_of(key), hub, model_id, revision,
            problem=f"only {len(stored)} of {held[0].rpartition('-of-')[2][:5].lstrip('0')} parts are here",
        )  # fmt: skip
    with contextlib.suppress(BackendError):
        needed = needed_repository_files(Listing(hub or "", model_id or root.name, "", listed))
        stored = tuple(by_name[file.name] for file in needed)
        name = (model_id or root.name).rpartition("/")[2]
        yield Entry(
            owner, name, root, root, stored, "safetensors", None, hub, model_id, revision,
            problem=_repository_problem(root, [file.name for file in stored]) or _cut_off(owner, stored),
        )  # fmt: skip


def _cut_off(owner: str, files: Iterable[StoredFile]) -> str | None:
    """What is cut off where nobody else sees to it: the hubs' own clients put only whole files into their caches."""
    if owner not in {LM_STUDIO, LLAMA_CPP_CACHE, FOLDER}:
        return None
    return next((problem for file in files if (problem := length_problem(file.path)) is not None), None)


def _cut_groups(listed: Iterable[RepoFile], whole: Iterable[str]) -> dict[str, list[str]]:
    """Parts of GGUF files of which others are missing, by the name without part numbers."""
    found: dict[str, list[str]] = {}
    known = set(whole)
    for file in listed:
        part = re.match(r"^(.+)-\d{5}-of-\d{5}\.gguf$", file.name)
        if part and f"{part[1]}.gguf" not in known:
            found.setdefault(f"{part[1]}.gguf", []).append(file.name)
    return found


def _repository_problem(root: Path, names: Sequence[str]) -> str | None:
    if "config.json" not in names:
        return "config.json is missing"
    return None if repository_whole(root, names) else "shards that the index names are missing"


def _files(folder: Path, *, by_blob: bool = False, deepest: int = _DEEPEST) -> Iterator[StoredFile]:
    """Files below a folder; by_blob reads sums off the names of Hugging Face's blobs."""
    count = 0
    for place, folders, names in os.walk(folder):
        if len(Path(place).relative_to(folder).parts) >= deepest - 1:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            size = _size_of(path)
            count += 1
            if size is None or count > _MOST_FILES:
                continue
            blob = path.resolve().name if by_blob else ""
            yield StoredFile(
                path.relative_to(folder).as_posix(),
                path,
                size,
                blob if _SUM.fullmatch(blob) else None,
                blob if re.fullmatch(r"[0-9a-f]{40}", blob) else None,
            )


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return []


def ollama_name(base: Path, manifest: Path) -> str:
    """As Ollama itself writes it: the registry and the namespace "library" are left out."""
    registry, namespace, model, tag = manifest.relative_to(base / "manifests").parts
    place = [] if registry == "registry.ollama.ai" else [registry]
    place += [] if namespace == "library" else [namespace]
    return f"{'/'.join([*place, model])}:{tag}"
