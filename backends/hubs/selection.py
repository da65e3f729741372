"""Which files of a repository a variant needs, and which of their names are safe to write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from backends.errors import HubError, NotFound
from backends.hubs.hub import Listing, RepoFile
from specs.model import HubSource, Variant
from specs.text import one_line

_LONGEST_PART = 255
"""Bytes of one name that Linux and macOS file systems take."""
_LONGEST_NAME = 300
_PART = re.compile(r"^(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
_RAW_SPLIT = re.compile(r"^(?P<stem>.+\.gguf)[.-](?:part|split)-?(?P<index>[a-z]|\d+)(?:of\d+)?$", re.IGNORECASE)
_SHARD = re.compile(r"^(?P<stem>.+)-\d{5}-of-\d{5}\.safetensors$")
_NOT_WEIGHTS = re.compile(r"(^|[/._-])(mmproj|imatrix|mtp-draft)([/._-]|$)", re.IGNORECASE)
_CONFIGURATION = re.compile(
    r"^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|merges|chat_template"
    r"|preprocessor_config|processor_config|video_preprocessor_config|quantize_config|quant_config|hf_quant_config"
    r"|params|tekken|adapter_config|configuration)\.(json|txt|jinja)$"
    r"|^(tokenizer|spiece|sentencepiece(\.bpe)?|spm)\.model(\.v\d+)?$|\.tiktoken$|^merges\.txt$|^chat_template\.jinja$"
)
_LICENSE = re.compile(r"^(licen[sc]e|notice|use_policy)(\.(md|txt))?$", re.IGNORECASE)


def needed_files(listing: Listing, variant: Variant, source: HubSource) -> tuple[RepoFile, ...]:
    """Files of the listing that make the variant run, the weights' first part first.

    Raises NotFound with what there is instead, or HubError when a name is not safe to write.
    """
    if variant.spec.format == "ggufv2":
        files = _gguf_files(listing, variant.quantization, source)
    else:
        files = needed_repository_files(listing)
    for file in files:
        check_name(file.name)
    return files


def check_name(name: str) -> None:
    """Refuse a file name that would leave its folder or that no file system takes."""
    shown = one_line(name if len(name) <= 60 else f"{name[:57]}...")
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or re.match(r"^[A-Za-z]:", name):
        raise HubError(f"the repository lists {shown!r}, which is no relative path; nothing of it was written")
    if any(part in ("", ".", "..") for part in parts) or any(ord(letter) < 32 or letter == "\x7f" for letter in name):
        raise HubError(f"the repository lists {shown!r}, which leads out of its folder; nothing of it was written")
    if len(name) > _LONGEST_NAME or any(len(part.encode()) > _LONGEST_PART for part in parts):
        raise HubError(
            f"the repository lists a name of {len(name)} letters ({shown}), longer than a file may be called"
        )


def gguf_groups(files: Iterable[RepoFile]) -> Mapping[str, tuple[RepoFile, ...]]:
    """GGUF weights by their name without part numbers: each group is one loadable model, parts in order.

    Groups that lack a part are left out.
    """
    groups: dict[str, dict[int, RepoFile]] = {}
    wanted: dict[str, int] = {}
    for file in files:
        if _NOT_WEIGHTS.search(file.name):
            continue
        if part := _PART.match(file.name):
            key = f"{part['stem']}.gguf"
            groups.setdefault(key, {})[int(part["index"])] = file
            wanted[key] = int(part["count"])
        elif file.name.lower().endswith(".gguf"):
            groups.setdefault(file.name, {})[0] = file
        elif raw := _RAW_SPLIT.match(file.name):
            groups.setdefault(raw["stem"], {})[_raw_index(raw["index"])] = file
    return {
        key: tuple(parts[index] for index in sorted(parts))
        for key, parts in groups.items()
        if key not in wanted or set(range(1, wanted[key] + 1)) <= set(parts)
    }


def quantization_in(name: str, quantization: str) -> bool:
    """Whether a path names this quantization, as a word of its own, in any case."""
    return _word(quantization).search(name) is not None


@lru_cache(maxsize=1024)
def _word(quantization: str) -> re.Pattern[str]:
    word = "[_-]".join(re.escape(piece) for piece in re.split("[_-]", quantization))
    longer = r"[_-](?:XXS|XS|S|M|L|XL|NL|[01])(?![A-Za-z0-9])"  # Q4_K is not in Q4_K_M, nor Q4_K_M in Q4_K_M_L
    return re.compile(rf"(?<![A-Za-z0-9]){word}(?![A-Za-z0-9])(?!{longer})", re.IGNORECASE)


def _raw_index(text: str) -> int:
    return int(text) if text.isdecimal() else ord(text.lower())


def _gguf_files(listing: Listing, quantization: str, source: HubSource) -> tuple[RepoFile, ...]:
    named = source.file_names(quantization)
    by_name = {file.name: file for file in listing.files}
    if named:
        if all(name in by_name for name in named):
            return tuple(by_name[name] for name in named)
        by_lower = {file.name.lower(): file for file in listing.files}
        if all(name.lower() in by_lower for name in named):
            return tuple(by_lower[name.lower()] for name in named)
    groups = gguf_groups(listing.files)
    found = [key for key in groups if _says(key, groups[key], quantization)]
    if not found and len(groups) == 1 and not named:
        only = next(iter(groups))
        if "{quantization}" in source.id or not any(letter in only for letter in "QqIi") or _plain(only):
            return groups[only]
    if not found:
        raise NotFound(_what_there_is(listing, quantization, named, groups))
    found.sort(key=lambda key: (key.count("/"), len(key), key))
    return groups[found[0]]


def _says(key: str, files: Sequence[RepoFile], quantization: str) -> bool:
    folder, _, name = files[0].name.rpartition("/")
    return quantization_in(key.rpartition("/")[2] or name, quantization) or quantization_in(folder, quantization)


def _plain(name: str) -> bool:
    """Whether a file names no quantization at all."""
    return re.search(r"[._-](I?Q\d|F16|F32|BF16|TQ\d|MXFP4)", name, re.IGNORECASE) is None


def _what_there_is(
    listing: Listing, quantization: str, named: tuple[str, ...] | None, groups: Mapping[str, Sequence[RepoFile]]
) -> str:
    wanted = named[0] if named else f"a GGUF file of {quantization}"
    some = [one_line(name) for name in sorted(groups)[:6]]
    there = (
        f"it has {', '.join(some)}{' and more' if len(groups) > len(some) else ''}" if some else "it has no GGUF file"
    )
    return f"{listing.model_id} has no {wanted}; {there}"


def needed_repository_files(listing: Listing) -> tuple[RepoFile, ...]:
    """Weights in safetensors at the top of the repository, and what a loader reads beside them.

    Never pickles (they run code when they are loaded), never Python, and no second copy in another format.
    """
    top = [file for file in listing.files if "/" not in file.name]
    tensors = [file for file in top if file.name.endswith(".safetensors")]
    tensors = _without_copies(tensors, {file.name for file in top})
    if not tensors:
        raise NotFound(_no_safetensors(listing))
    indexes = [file for file in top if file.name.endswith(".safetensors.index.json")]
    if len(indexes) > 1:
        stems = {_stem(file.name) for file in tensors}
        indexes = [file for file in indexes if file.name.removesuffix(".safetensors.index.json") in stems] or indexes[
            :1
        ]
    if not any(_SHARD.match(file.name) for file in tensors):
        indexes = [] if len(tensors) == 1 else indexes
    beside = [file for file in top if _CONFIGURATION.search(file.name) or _LICENSE.match(file.name)]
    if any(file.name == "config.json" for file in beside) and not any(
        f.name.startswith("consolidated") for f in tensors
    ):
        beside = [file for file in beside if file.name != "params.json"]
    templates = [
        file for file in listing.files if re.fullmatch(r"(additional_)?chat_templates/[^/]+\.jinja", file.name)
    ]
    return (*tensors, *indexes, *beside, *templates)


def _stem(name: str) -> str:
    shard = _SHARD.match(name)
    return shard["stem"] if shard else name.removesuffix(".safetensors")


def _without_copies(tensors: list[RepoFile], names: set[str]) -> list[RepoFile]:
    """One set of weights out of several: the set that transformers would load, else all of them."""
    stems: dict[str, list[RepoFile]] = {}
    for file in tensors:
        stems.setdefault(_stem(file.name), []).append(file)
    model = stems.get("model")
    if model:
        sharded = [file for file in model if _SHARD.match(file.name)]
        single = [file for file in model if not _SHARD.match(file.name)]
        return single if single and "model.safetensors.index.json" not in names else (sharded or single)
    real = [stem for stem in stems if not stem.startswith(("consolidated", "adapter_model", "optimizer", "training_"))]
    if not real:
        return tensors
    return [file for file in tensors if _stem(file.name) in real]


def _no_safetensors(listing: Listing) -> str:
    names = [file.name for file in listing.files]
    if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
        return (
            f"{listing.model_id} keeps its weights only as pickles, which can run code when they are loaded; "
            "choose a repository with safetensors"
        )
    if any(name.endswith(".gguf") for name in names):
        return f"{listing.model_id} has no safetensors; its weights are GGUF files"
    return f"{listing.model_id} has no weights in safetensors"
