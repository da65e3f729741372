"""Whole weights that lie outside of the hubs' caches, matched to the catalog's variants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

from backends import shelves
from backends.errors import BackendError
from backends.hubs import listings
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.selection import needed_files
from specs import extensions
from specs.model import HubSource, Variant

_TENSORS = ".safetensors"


class LooseWeights:
    """Ollama's blobs, llama.cpp's cache and the user's folders, as they are at one moment."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._by_sum: dict[str, Path] = {}
        self._by_name: dict[str, list[tuple[Path, list[int]]]] = {}
        """GGUF files by the first part's name, with the lengths of all parts."""
        self._folders: list[tuple[Path, Mapping[str, int]]] = []
        for entry in chain(
            *(shelves.folder_entries(folder.expanduser(), shelves.FOLDER) for folder in folders),
            shelves.llama_cpp_entries(),
            shelves.ollama_entries(),
        ):
            if not entry.whole:
                continue
            first = entry.files[0]
            if entry.format != "ggufv2":
                self._folders.append((entry.path, {file.name: file.file_bytes for file in entry.files}))
            elif first.sha256 is not None and len(entry.files) == 1:
                self._by_sum.setdefault(first.sha256, entry.path)
            else:
                for name in names_of(first.path.name, prefixed=entry.owner == shelves.LLAMA_CPP_CACHE):
                    self._by_name.setdefault(name, []).append((entry.path, [file.file_bytes for file in entry.files]))
        self._listings: dict[tuple[str, str], Listing] = {}
        if self:
            self._listings = {
                (hub, kept.model_id): kept for hub in extensions.hubs() for kept in listings.kept_listings(hub)
            }

    def __bool__(self) -> bool:
        return bool(self._by_sum or self._by_name or self._folders)

    def path(self, variant: Variant) -> Path | None:
        """The GGUF file (the first part) or the folder of a variant's whole weights; None: not among these."""
        for source in variant.spec.hubs:
            if source.carries(variant.quantization):
                model_id = source.model_id(variant.quantization)
                needed = needed_of(self._listings.get((source.hub, model_id)), variant, source)
                if variant.spec.format == "ggufv2":
                    found = self._gguf(variant, source, needed)
                else:
                    found = self._folder(variant, model_id, needed)
                if found is not None:
                    return found
        return None

    def _gguf(self, variant: Variant, source: HubSource, needed: Sequence[RepoFile]) -> Path | None:
        """By its sum; else by its name, where what is known of its size does not speak against it."""
        if len(needed) == 1 and (found := self._by_sum.get(needed[0].sha256 or "")):
            return found
        names = source.file_names(variant.quantization) or tuple(file.name for file in needed)
        told = sorted(file.file_bytes for file in needed if file.file_bytes is not None)
        for path, lengths in self._by_name.get(names[0].rpartition("/")[2].lower(), ()) if names else ():
            if not told or len(told) < len(needed) or told == sorted(lengths):
                return path
        return None

    def _folder(self, variant: Variant, model_id: str, needed: Sequence[RepoFile]) -> Path | None:
        for path, sizes in self._folders:
            if matched_by(path, sizes, variant, model_id, needed) is not None and self._only(path, sizes, model_id):
                return path
        return None

    def _only(self, path: Path, sizes: Mapping[str, int], model_id: str) -> bool:
        """Whether no other repository fits as well: a base model and its tuned one may be alike in every size."""
        if path.name.lower() == _last(model_id):
            return True
        tensors = {(name, size) for name, size in sizes.items() if name.endswith(_TENSORS)}
        fitting = {
            _last(known)
            for (_, known), listing in self._listings.items()
            if tensors <= {(file.name, file.file_bytes) for file in listing.files}
        }
        return fitting <= {_last(model_id)}


def needed_of(listing: Listing | None, variant: Variant, source: HubSource) -> tuple[RepoFile, ...]:
    """The files that a variant needs of a listing that was read before; none where nothing is known."""
    if listing is not None:
        try:
            return needed_files(listing, variant, source)
        except BackendError:
            pass
    return ()


def matched_by(
    folder: Path, sizes: Mapping[str, int], variant: Variant, model_id: str, needed: Iterable[RepoFile]
) -> str | None:
    """How it is known that a folder of safetensors holds a variant.

    "size": every tensor file, and whatever else is in both, is as long as the hub's; "name": the hub was not asked, the
    folder is called as the repository, and its config.json describes the same model; None: it is something else.
    """
    wanted = {file.name: file.file_bytes for file in needed}
    if wanted:
        tensors = {name for name in wanted if name.endswith(_TENSORS)}
        alike = tensors == {name for name in sizes if name.endswith(_TENSORS)} and all(
            wanted[name] in {None, sizes[name]} for name in wanted.keys() & sizes.keys()
        )
        return "size" if alike and tensors else None
    if folder.name.lower() not in {_last(model_id), model_id.lower().replace("/", "_")}:
        return None
    return "name" if _describes(str(folder / "config.json"), variant) else None


def names_of(name: str, *, prefixed: bool) -> Iterable[str]:
    """What a file may be called on a hub: llama.cpp's cache puts owner_repository_ before it."""
    lower = name.lower()
    yield lower
    pieces = lower.split("_") if prefixed else ()
    yield from ("_".join(pieces[start:]) for start in range(1, min(len(pieces), 12)))


def _describes(config: str, variant: Variant) -> bool:
    """Whether a config.json tells the layers and widths that the catalog knows of a variant; unknown ones agree."""
    architecture = variant.spec.architecture
    found = _shape(config)
    if found is None:
        return False
    if architecture is None:
        return True
    ours = (architecture.block_count, architecture.embedding_length, architecture.vocab_size)
    return all(one in {None, other} or other is None for one, other in zip(ours, found, strict=True))


@lru_cache(maxsize=256)
def _shape(config: str) -> tuple[int | None, int | None, int | None] | None:
    from backends.memory.hf_config import read_config  # only where such a folder is: the index is read at every start

    try:
        told = read_config(Path(config).read_bytes()).architecture
    except (BackendError, OSError, ValueError, TypeError, AttributeError, KeyError):
        return None
    return told.block_count, told.embedding_length, told.vocab_size


def _last(model_id: str) -> str:
    return model_id.rpartition("/")[2].lower()
