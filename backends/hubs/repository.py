"""Any repository of a hub as a family of models: what its files hold, without a spec file written by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.errors import BackendError, NotFound
from backends.hubs.hub import Listing, RepoFile, RepoSummary
from backends.hubs.registry import hub
from backends.hubs.selection import gguf_groups, needed_repository_files
from backends.memory.hf_config import HfConfig, read_config
from specs import extensions
from specs.formats import parse_quantization
from specs.model import HubSource, ModelFamily, ModelSpec, Number
from specs.text import one_line

MOST_FOUND = 50
"""Repositories that a search gives where nobody asks for fewer."""
_MOST_CONFIG_BYTES = 1 << 20
_QUANTIZATION = re.compile(
    r"(?:^|[._/-])((?:UD-|i1-)?(?:I?Q\d+(?:_[0-9KSMLX]+)*(?:_NL)?|TQ\d_\d|BF16|FP?16|FP?32|MXFP4(?:_MOE)?))(?=[._/-]|$)",
    re.IGNORECASE,
)
_SIZE = re.compile(r"(?:^|[^A-Za-z0-9])(?:(\d+)x)?(\d+(?:\.\d+)?)([BM])(?=[^A-Za-z0-9]|$)", re.IGNORECASE)
_ACTIVE = re.compile(r"(?:^|[^A-Za-z0-9])A(\d+(?:\.\d+)?)B(?=[^A-Za-z0-9]|$)")
_PARTS = re.compile(r"^(?P<stem>.+)-(?P<part>\d{5}-of-\d{5})\.gguf$", re.IGNORECASE)
_CHATS = re.compile(r"(?:^|[^a-z])(instruct|chat|it|dpo|rlhf|assistant|hermes|zephyr)(?:[^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of a search over the hubs."""

    repositories: tuple[RepoSummary, ...]
    problems: tuple[str, ...]
    """One line for each hub that could not be asked."""


def search(query: str, hubs: Sequence[str] = (), *, limit: int = MOST_FOUND) -> Found:
    """Repositories on all hubs that match, the most downloaded first. A hub that fails becomes a line, not an error.

    Args:
        query: Words to search for.
        hubs: The hubs to ask; none named: all.
        limit: Most hits in all.
    """
    hits: list[RepoSummary] = []
    problems = []
    for name in hubs or extensions.hubs():
        try:
            hits.extend(hub(name).search(query, limit=limit))
        except BackendError as error:
            problems.append(f"{name}: {error}")
    hits.sort(key=lambda hit: -(hit.downloads or 0))
    return Found(tuple(hits[:limit]), tuple(problems))


def fetch_family(
    hub_name: str,
    model_id: str,
    revision: str | None = None,
    *,
    tags: Iterable[str] = (),
    timeout_seconds: float = 10.0,
) -> ModelFamily:
    """Ask a hub what a repository holds, and make a family of it.

    Raises NotFound when it holds nothing that an engine of ours loads, or what the hub says.
    """
    where = hub(hub_name)
    listing = where.listing(model_id, revision, timeout_seconds=timeout_seconds)
    config: bytes | None = None
    chats: bool | None = None
    names = {file.name: file for file in listing.files}
    if "config.json" in names:
        config = where.read_range(
            model_id, listing.revision, "config.json", 0, _MOST_CONFIG_BYTES, timeout_seconds=timeout_seconds
        )
    if "chat_template.jinja" in names:
        chats = True
    elif "tokenizer_config.json" in names:
        settings = where.read_range(
            model_id, listing.revision, "tokenizer_config.json", 0, 8 << 20, timeout_seconds=timeout_seconds
        )
        chats = b'"chat_template"' in settings
    family = family_of(listing, revision=revision, config=config, chats=chats, tags=tuple(tags))
    return _with_header(family, listing, timeout_seconds)


def _with_header(family: ModelFamily, listing: Listing, timeout_seconds: float) -> ModelFamily:
    """The same with what the header of a GGUF file says, where nothing else told and all files are of one model.

    It is kept by commit and asked for anyway when the family is judged.
    """
    from backends.hub_headers import architecture_of

    untold = [spec for spec in family.specs if spec.format == "ggufv2" and spec.architecture is None]
    if len(untold) != 1:
        return family
    architecture = architecture_of(listing, timeout_seconds=timeout_seconds)
    if architecture is None:
        return family
    told = architecture.extra.get("context_length")
    context = told if isinstance(told, int) and told > 0 else None
    specs = tuple(replace(spec, architecture=architecture) if spec is untold[0] else spec for spec in family.specs)
    return replace(family, specs=specs, context_length=family.context_length or context)


def family_of(
    listing: Listing,
    *,
    revision: str | None = None,
    config: bytes | None = None,
    chats: bool | None = None,
    tags: Sequence[str] = (),
) -> ModelFamily:
    """The family that a repository's files make up.

    Args:
        listing: What the repository holds.
        revision: The branch or tag that was asked for.
        config: The content of config.json, where there is one.
        chats: Whether its tokenizer has a chat template; None: not known.
        tags: The hub's own words for the repository.
    """
    known = _config(config)
    if chats is None:
        chats = "conversational" in tags or _CHATS.search(listing.model_id.rpartition("/")[2]) is not None
    specs = (*_gguf(listing, revision), *_tensors(listing, revision, known, config))
    if not specs:
        raise NotFound(f"{listing.model_id} holds no GGUF file and no safetensors: nothing that an engine here loads")
    languages = tuple(tag for tag in tags if re.fullmatch(r"[a-z]{2}", tag))
    license_name = next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), None)
    return ModelFamily(
        one_line(listing.model_id.rpartition("/")[2]).lower(),
        known.context_length if known else None,
        languages,
        ("chat",) if chats else ("generate",),
        specs,
        license=license_name,
        source=f"{listing.hub}:{listing.model_id}",
    )


def _config(content: bytes | None) -> HfConfig | None:
    if content is None:
        return None
    try:
        return read_config(content)
    except (BackendError, ValueError, TypeError, AttributeError, KeyError):
        return None  # somebody else's file: without it less is known, and the rest is still true


def _gguf(listing: Listing, revision: str | None) -> Iterable[ModelSpec]:
    groups = gguf_groups(listing.files)
    by_size: dict[tuple[Number, Number | None], dict[str, tuple[RepoFile, ...]]] = {}
    for key, files in groups.items():
        quantization = quantization_of(key)
        if quantization is None:
            continue
        file_bytes = sum(file.file_bytes or 0 for file in files)
        size = told_size(key, listing.model_id) or _size_from_bytes(file_bytes, "ggufv2", quantization)
        held = by_size.setdefault((size, _active(key, listing.model_id)), {})
        held.setdefault(quantization, files)
    for (size, active), held in by_size.items():
        yield ModelSpec(
            "ggufv2", size, tuple(held), (_gguf_source(listing, revision, held),), active_size_in_billions=active
        )


def _gguf_source(listing: Listing, revision: str | None, held: Mapping[str, tuple[RepoFile, ...]]) -> HubSource:
    """The names as templates where one fits all, else none: the listing is asked again then."""
    whole = {q: files[0].name for q, files in held.items() if len(files) == 1}
    split = {q: files for q, files in held.items() if len(files) > 1}
    templates = {name.replace(q, "{quantization}") for q, name in whole.items()}
    file = templates.pop() if len(templates) == 1 else None
    split_templates = set()
    parts: dict[str, tuple[str, ...]] = {}
    for quantization, files in split.items():
        found = [_PARTS.match(part.name) for part in files]
        if not all(found):
            return HubSource(listing.hub, listing.model_id, revision=revision)
        for match in found:
            if match:
                split_templates.add(f"{match['stem'].replace(quantization, '{quantization}')}-{{part}}.gguf")
        parts[quantization] = tuple(match["part"] for match in found if match)
    if len(split_templates) > 1 or (whole and file is None):
        return HubSource(listing.hub, listing.model_id, revision=revision)
    split_file = split_templates.pop() if split_templates else None
    return HubSource(listing.hub, listing.model_id, file, split_file, parts, revision)


def quantization_of(name: str) -> str | None:
    """The quantization that a GGUF file's name tells, in the name's own spelling; None: it tells none."""
    found = _QUANTIZATION.findall(name.removesuffix(".gguf"))
    return found[-1] if found else None


def _tensors(
    listing: Listing, revision: str | None, known: HfConfig | None, config: bytes | None
) -> Iterable[ModelSpec]:
    try:
        files = needed_repository_files(listing)
    except NotFound:
        return
    weights_bytes = sum(file.file_bytes or 0 for file in files if file.name.endswith(".safetensors"))
    kind, quantization = _format(listing, known, config)
    size = told_size(listing.model_id) or _size_from_bytes(weights_bytes, kind, quantization)
    yield ModelSpec(
        kind,
        size,
        (quantization,),
        (HubSource(listing.hub, listing.model_id, revision=revision),),
        active_size_in_billions=_active(listing.model_id),
        architecture=known.architecture if known else None,
    )


def _format(listing: Listing, known: HfConfig | None, config: bytes | None) -> tuple[str, str]:
    """Format and quantization as the catalog calls them."""
    bits = known.quantization_bits if known else None
    method = known.quantization_method if known else None
    if method == "mlx" or _is_mlx(config):
        mode = str((known.quantization or {}).get("mode", "") if known else "")
        if mode and mode != "affine":
            return "mlx", mode
        return "mlx", f"{bits}bit" if bits else "none"
    if listing.model_id.startswith("mlx-community/"):
        return "mlx", "none"
    if method in ("gptq", "awq"):
        return method, f"Int{bits or 4}"
    if method in ("fp8", "fbgemm_fp8"):
        return "fp8", "fp8"
    if method == "compressed-tensors":
        text = (config or b"").decode("utf-8", "replace")
        return ("fp8", "fp8") if '"float"' in text else ("gptq", f"Int{bits or 4}")
    if method in ("mxfp4", "nvfp4", "modelopt"):
        return "fp4", "FP4"
    if method == "bitsandbytes":
        return "bnb", f"{bits or 4}-bit"
    return "pytorch", "none"


def _is_mlx(config: bytes | None) -> bool:
    """MLX writes a "quantization" of its own beside Transformers' quantization_config."""
    try:
        found: Any = json.loads(config or b"{}")
    except ValueError:
        return False
    return isinstance(found, dict) and isinstance(found.get("quantization"), dict)


def told_size(*names: str) -> Number | None:
    """Billions of parameters that a name tells."""
    for name in names:
        for experts, number, unit in _SIZE.findall(name.rpartition("/")[2]):
            value = float(number) * (int(experts) if experts else 1) / (1000 if unit.upper() == "M" else 1)
            return int(value) if value.is_integer() else round(value, 3)
    return None


def _active(*names: str) -> Number | None:
    for name in names:
        if found := _ACTIVE.search(name):
            value = float(found[1])
            return int(value) if value.is_integer() else value
    return None


def _size_from_bytes(weights_bytes: int, kind: str, quantization: str) -> Number:
    """Billions of parameters from the weights' bytes: about, since a name that tells it is missing."""
    bits = parse_quantization(kind, quantization).bits_per_weight or 16
    return billions(round(weights_bytes * 8 / bits))


def billions(parameters: int) -> Number:
    """A count of parameters as a size that is short enough to read."""
    count = parameters / 1e9
    return max(0.001, round(count, 1) if count >= 1 else round(count, 3))
