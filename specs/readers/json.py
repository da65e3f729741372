"""The reader of JSON model descriptions, as Xinference ships them and registers custom models with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from specs.model import HUGGINGFACE, Architecture, HubSource, ModelFamily, ModelSpec, SpecError
from specs.readers import values
from specs.readers.building import carried_hub, make_spec
from specs.readers.lines import json_line
from specs.readers.values import Key, Note, Reading, Table, Wrong
from specs.text import one_line, printable

_OTHER_KINDS: Final[Mapping[str, str]] = {
    "dimensions": "an embedding model",
    "max_tokens": "an embedding or rerank model",
    "controlnet": "an image model",
    "multilingual": "an audio model",
    "launcher": "a flexible model",
}
"""Keys that only descriptions of other kinds of models have."""

Notes = list[tuple[tuple[Key, ...], str]]


def read(text: str, file: str, source: str) -> Reading:
    """The families of a JSON model description: one object, or a list of them.

    Args:
        text: the file's content.
        file: how messages name it.
        source: what the families say about their origin.

    Raises:
        SpecError: no JSON, or not a description of language models.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(file, error.lineno, f"this is not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise SpecError(file, None, "this is not JSON that anyone wrote: it is nested too deeply") from error
    except ValueError as error:
        raise SpecError(file, None, f"this is not JSON: {printable(str(error))}") from error
    notes: Notes = []
    try:
        families = _families(content, source, notes)
    except Wrong as error:
        raise SpecError(file, json_line(text, error.path), error.what) from error
    return Reading(families, tuple(Note(json_line(text, path), what) for path, what in notes))


def _families(content: object, source: str, notes: Notes) -> tuple[ModelFamily, ...]:
    if type(content) is dict:
        return (_family(content, source, notes, ()),)
    if type(content) is not list:
        values.wrong("a model description, or a list of them", content)
    families: list[ModelFamily] = []
    for place, entry in enumerate(content):
        if type(entry) is not dict:
            values.wrong("a model description", entry, place)
        other = _other_kind(entry)
        if other and len(content) > 1:
            notes.append(((place,), f"{values.shown(entry.get('model_name'))} is left out: {other}"))
            continue
        try:
            families.append(_family(entry, source, notes, (place,)))
        except Wrong as error:
            raise error.under(place) from error
    if not families:
        raise Wrong("expected at least one description of a language model")
    return tuple(families)


def _other_kind(table: Table) -> str | None:
    """What a description without specs of weights describes, in words."""
    if "model_specs" in table:
        return None
    kind = next((words for key, words in _OTHER_KINDS.items() if key in table), None)
    if kind is None and ("model_id" in table or "model_ability" in table):
        kind = "another kind of model"
    return f"this describes {kind}, and modeldeck browses language models" if kind else None


def _family(table: Table, source: str, notes: Notes, path: tuple[Key, ...]) -> ModelFamily:
    other = _other_kind(table)
    if other:
        raise Wrong(other)
    name = values.name(table, "model_name")
    entries = values.tables(table, "model_specs")
    if not entries:
        raise Wrong("expected model_specs, a list with at least one spec", "model_specs")
    architecture = _architecture(table)
    skipped: dict[str, tuple[Key, ...]] = {}
    specs: list[ModelSpec] = []
    for place, entry in enumerate(entries):
        here = (*path, "model_specs", place)
        try:
            specs.append(_spec(entry, architecture, here, skipped))
        except Wrong as error:
            raise error.under("model_specs", place) from error
    notes.extend((where, f"{name}: modeldeck does not carry {what}") for what, where in skipped.items())
    return ModelFamily(
        name=name,
        context_length=values.count(table, "context_length", 1, values.MAX_CONTEXT),
        languages=values.texts(table, "model_lang", single=True),
        abilities=values.texts(table, "model_ability", single=True),
        specs=tuple(specs),
        description=values.text(table, "model_description") or "",
        license=values.text(table, "model_license") or values.text(table, "license"),
        source=source,
        chat_template=values.raw_text(table, "chat_template"),
        stop=values.texts(table, "stop", single=True),
        reasoning_start_tag=values.raw_text(table, "reasoning_start_tag"),
        reasoning_end_tag=values.raw_text(table, "reasoning_end_tag"),
    )


def _architecture(table: Table) -> Architecture | None:
    """The class names that the family's configuration states; all that such a file tells of the architecture."""
    names = table.get("architectures")
    if type(names) is not list or not names or not all(type(name) is str for name in names):
        return None
    return Architecture(extra={"architectures": tuple(one_line(name) for name in names)})


def _spec(
    table: Table, architecture: Architecture | None, path: tuple[Key, ...], skipped: dict[str, tuple[Key, ...]]
) -> ModelSpec:
    model_format = values.model_format(table, "model_format")
    size = values.size(table, "model_size_in_billions")
    if size is None:
        raise Wrong('model_size_in_billions is missing: expected a number of billions, such as 7 or "1_8"')
    hubs: list[HubSource] = []
    sources = values.subtable(table, "model_src")
    if sources is None:
        listed = _flat_quantizations(table)
        _flat_hub(table, hubs, path, skipped)
    else:
        listed = ()
        for hub, entry in sources.items():
            if type(entry) is not dict:
                values.wrong(f"{hub} as an object", entry, "model_src", hub)
            carried = carried_hub(hub)
            if carried is None:
                skipped.setdefault(f"the hub {values.shown(hub)}", (*path, "model_src", hub))
                listed = listed or _flat_quantizations(entry)
                continue
            try:
                hubs.append(_hub(carried, entry, _flat_quantizations(entry) or _flat_quantizations(table)))
            except Wrong as error:
                raise error.under("model_src", hub) from error
        if hubs:
            listed = ()
    local = _local_path(table, path, skipped)
    if not hubs and local is None and sources is None and "model_id" not in table and "model_uri" not in table:
        raise Wrong("expected where the weights are: model_src, model_id or model_uri")
    if not listed and not hubs and model_format == "pytorch":
        listed = ("none",)
    return make_spec(
        model_format,
        size,
        listed,
        hubs,
        active_size_in_billions=values.size(table, "activated_size_in_billions"),
        architecture=architecture,
        path=local,
    )


def _flat_quantizations(table: Table) -> tuple[str, ...]:
    named = values.quantizations(table, "quantizations", single=True)
    return named if named is not None else values.quantizations(table, "quantization", single=True) or ()


def _hub(name: str, table: Table, listed: tuple[str, ...]) -> HubSource:
    if table.get("model_id") is None:
        raise Wrong("model_id is missing: expected a repository as owner/name")
    parts: dict[str, tuple[str, ...]] = {}
    for quantization, names in (values.subtable(table, "quantization_parts") or {}).items():
        where = ("quantization_parts", quantization)
        parts[values.quantization(quantization, *where)] = values.part_names(names, *where)
    return HubSource(
        hub=name,
        id=values.model_id(table["model_id"], "model_id"),
        file=values.file_template(table, "model_file_name_template", ("quantization",)),
        split_file=values.file_template(table, "model_file_name_split_template", ("quantization", "part")),
        parts=parts,
        revision=values.revision(table, "model_revision"),
        quantizations=listed or None,
        projectors=_projectors(table),
    )


def _projectors(table: Table) -> tuple[str, ...]:
    names = table.get("multimodal_projectors")
    if type(names) is not list:
        return ()
    return tuple(values.file_name(name, (), "multimodal_projectors", place) for place, name in enumerate(names))


def _flat_hub(table: Table, hubs: list[HubSource], path: tuple[Key, ...], skipped: dict[str, tuple[Key, ...]]) -> None:
    """The hub of a registered model, which stands beside the format."""
    if table.get("model_id") is None:
        return
    hub = values.text(table, "model_hub") or HUGGINGFACE
    carried = carried_hub(hub)
    if carried is None:
        skipped.setdefault(f"the hub {values.shown(hub)}", (*path, "model_hub"))
        return
    hubs.append(_hub(carried, table, _flat_quantizations(table)))


def _local_path(table: Table, path: tuple[Key, ...], skipped: dict[str, tuple[Key, ...]]) -> str | None:
    """A file or folder on this disk out of model_uri; other schemes are named as not carried."""
    uri = values.raw_text(table, "model_uri")
    if uri is None:
        return None
    if not uri.isprintable():
        values.wrong("model_uri as file:///…", uri, "model_uri")
    try:
        parsed = urlsplit(uri)
    except ValueError:
        values.wrong("model_uri as file:///…", uri, "model_uri")
    if parsed.scheme in {"", "file"} and parsed.netloc in {"", "localhost"}:
        local = unquote(parsed.path) if parsed.scheme else uri
        if not local.startswith("/") or not local.isprintable():
            values.wrong("model_uri as file:///… with the whole path", uri, "model_uri")
        return local
    skipped.setdefault(f"weights behind {values.shown(f'{parsed.scheme}://')}", (*path, "model_uri"))
    return None


def looks_like_json(text: str) -> bool:
    """Whether a text of unknown ending begins as a JSON object or a list of them."""
    start = text[:4096].lstrip()
    return start.startswith("{") or (start.startswith("[") and start[1:].lstrip().startswith(("{", "]")))
