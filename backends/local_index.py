"""Which variants lie whole on this disk, known without a network and quickly enough to ask for all of them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path

from backends import records
from backends.errors import BackendError
from backends.hubs import added_cache, environment, hf_cache, ms_cache
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.selection import needed_files
from backends.lengths import length_problem
from specs.model import HUGGINGFACE, MODELSCOPE, HubSource, Variant


class LocalIndex:
    """What lies on this disk at one moment. Building it lists folders; asking it is a look into a dictionary."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        from backends.loose import LooseWeights  # it reads folders by what stands here

        self._loose = LooseWeights(folders)
        self._records = {record.key: record for record in records.all_records()}
        self._snapshots = _snapshots()
        self._untended = frozenset(chain.from_iterable(_lm_studio_repositories().values()))
        """Folders of a program that leaves files standing that are not whole yet."""
        self._whole: dict[str, Path | None] = {}
        self._listings: dict[Path, Listing] = {}

    def path(self, variant: Variant) -> Path | None:
        """The GGUF file (the first part) or the folder of a variant's whole weights; None: not here, or not whole."""
        local = variant.spec.path
        if local:
            path = Path(local).expanduser()
            return path if path.exists() else None
        if not self._records and not self._snapshots and not self._loose:
            return None
        key: str | None = None
        for source in variant.spec.hubs:
            if not source.carries(variant.quantization):
                continue
            place = (source.hub, source.model_id(variant.quantization))
            if place in self._snapshots:
                key = key or f"{source.hub}:{variant.key}"
                if key not in self._whole:
                    self._whole[key] = self._in_snapshots(variant, source, place)
                if (found := self._whole[key]) is not None:
                    return found
                key = None
        record = self._records.get(variant.key) if self._records else None
        if record is not None and record.whole():
            return record.path
        return self._loose.path(variant) if self._loose else None

    def checked(self, variant: Variant) -> str | None:
        """How it is known that the weights are whole.

        "sum": every file's sum was compared; "size": a file's size alone, because the hub gives no sum or another
        program downloaded it; None: they are not here.
        """
        path = self.path(variant)
        if path is None:
            return None
        # Another family may list the same file: whose download compared its sum does not matter.
        return "sum" if _place(path) in self._summed_places else "size"

    @cached_property
    def _summed_places(self) -> frozenset[Path]:
        """Where weights lie of which a download compared every sum, and which still have their lengths."""
        return frozenset(_place(record.path) for record in self._records.values() if _summed(record) and record.whole())

    def _in_snapshots(self, variant: Variant, source: HubSource, place: tuple[str, str]) -> Path | None:
        for folder in self._snapshots[place]:
            with contextlib.suppress(BackendError, OSError):
                listing = self._listings.get(folder)
                if listing is None:  # a repository's quantizations all ask for the same folder
                    listing = self._listings[folder] = _listing_of(folder, *place)
                files = needed_files(listing, variant, source)
                if folder in self._untended and any(length_problem(folder / file.name) for file in files):
                    continue
                if variant.spec.format == "ggufv2":
                    return folder / files[0].name
                if repository_whole(folder, [file.name for file in files]):
                    return folder
        return None


def local_index(folders: Sequence[Path] = ()) -> LocalIndex:
    """A look at the disk as it is now; folders: further ones of the user's."""
    return LocalIndex(folders)


def local_weights(variant: Variant) -> Path | None:
    """Where a variant's whole weights lie on this disk; None: not here. For many variants use local_index()."""
    return LocalIndex().path(variant)


def _summed(record: records.Record) -> bool:
    weights = [file for file in record.files if file.name.endswith((".gguf", ".safetensors"))]
    return bool(weights) and all(file.sha256 for file in weights)


def _place(path: Path) -> Path:
    """The same for all links to a file that is whole by itself; one of several parts tells nothing of the others."""
    return path if "-of-" in path.name else path.resolve()


def _snapshots() -> dict[tuple[str, str], list[Path]]:
    """Folders by hub and repository: the branch's current snapshot first, then the newest, then LM Studio's."""
    found: dict[tuple[str, str], list[Path]] = {}
    for folder in _folders(environment.cache_folder()):
        if folder.name.startswith("models--"):
            model_id = folder.name.removeprefix("models--").replace("--", "/", 1)
            snapshots = _folders(folder / "snapshots")
            if snapshots:
                current = hf_cache.commit_of(model_id, None)
                snapshots.sort(key=lambda path: (path.name != current, -path.stat().st_mtime))
                found[HUGGINGFACE, model_id] = snapshots
    for model_id, folder in ms_cache.stored():
        found.setdefault((MODELSCOPE, model_id), []).append(folder)
    for hub, model_id, folder in added_cache.stored():
        found.setdefault((hub, model_id), []).append(folder)
    for model_id, folders in _lm_studio_repositories().items():
        found.setdefault((HUGGINGFACE, model_id), []).extend(folders)
    return found


def _lm_studio_repositories() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for base in lm_studio_folders():
        for owner in _folders(base):
            for folder in _folders(owner):
                found.setdefault(f"{owner.name}/{folder.name}", []).append(folder)
    return found


def lm_studio_folders() -> tuple[Path, ...]:
    """Where LM Studio keeps models, by owner and name on Hugging Face."""
    return (Path("~/.lmstudio/models").expanduser(), Path("~/.cache/lm-studio/models").expanduser())


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _listing_of(folder: Path, hub: str, model_id: str) -> Listing:
    """A snapshot as a listing: links whose blob is missing are left out."""
    files = []
    for place, _, names in os.walk(folder):
        below = "" if place == str(folder) else f"{os.path.relpath(place, folder)}/"
        for name in names:
            with contextlib.suppress(OSError):
                files.append(RepoFile(f"{below}{name}", os.stat(f"{place}/{name}").st_size))  # noqa: PTH116 — of thousands
    return Listing(hub, model_id, folder.name, tuple(files))


def repository_whole(folder: Path, names: Iterable[str]) -> bool:
    """Whether configuration and every shard that the index names are there."""
    present = set(names)
    if "config.json" not in present:
        return False
    for index in (name for name in present if name.endswith(".safetensors.index.json")):
        stat = (folder / index).stat()
        if not _shards(str(folder / index), stat.st_mtime_ns) <= present:
            return False
    sharded = [name for name in present if "-of-" in name and name.endswith(".safetensors")]
    if sharded and not any(name.endswith(".index.json") for name in present):
        counts = {name.rpartition("-of-")[2].removesuffix(".safetensors") for name in sharded}
        return len(counts) == 1 and next(iter(counts)).isdecimal() and len(sharded) == int(next(iter(counts)))
    return True


@lru_cache(maxsize=256)
def _shards(index: str, _modified: int) -> frozenset[str]:
    try:
        found = json.loads(Path(index).read_text(encoding="utf-8"))
        return frozenset(str(name) for name in found["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return frozenset(("unreadable index",))
