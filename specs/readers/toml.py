"""The reader of modeldeck's own spec files in TOML, one family a file."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from specs.contradictions import contradiction
from specs.engines import engine_name
from specs.model import Architecture, HubSource, ModelFamily, ModelSpec, Number, SpecError
from specs.readers import plain_toml, values
from specs.readers.building import carried_hub, make_spec
from specs.readers.lines import toml_line
from specs.readers.values import Key, Note, Reading, Table, Wrong
from specs.text import one_line, printable

_FAMILY_KEYS: Final = frozenset(
    {
        "name", "description", "context_length", "languages", "abilities", "license", "models",
        "chat_template", "stop", "reasoning_start_tag", "reasoning_end_tag",
    }
)  # fmt: skip
_MODEL_KEYS: Final = frozenset({"size_in_billions", "active_size_in_billions", "parameters", "architecture", "specs"})
_SPEC_KEYS: Final = frozenset({"format", "quantizations", "engines", "hubs", "path"})
_HUB_KEYS: Final = frozenset({"id", "file", "split_file", "parts", "revision", "quantizations", "projectors"})
_COUNTS: Final = frozenset(
    {
        "block_count", "embedding_length", "key_length", "value_length", "vocab_size", "expert_count",
        "expert_used_count", "expert_feed_forward_length", "expert_shared_feed_forward_length",
        "leading_dense_block_count", "kv_lora_rank", "q_lora_rank", "rope_dimension_count", "sliding_window",
        "sliding_window_pattern", "full_attention_interval", "ssm_conv_kernel", "ssm_state_size", "ssm_group_count",
        "ssm_inner_size",
    }
)  # fmt: skip
_COUNTS_BY_LAYER: Final = frozenset({"feed_forward_length", "head_count", "head_count_kv"})
_LONG_LINE: Final = 160
_MOST_DOTS: Final = 40
_MOST: Final = 2**31 - 1
"""Hyper-parameters are 32-bit numbers in GGUF."""


def read(text: str, file: str, source: str) -> Reading:
    """The family of a TOML spec file.

    Args:
        text: the file's content.
        file: how messages name it.
        source: what the family says about its origin.

    Raises:
        SpecError: no TOML, or not what CONTRACT's form wants.
    """
    table = plain_toml.read(text)
    if table is None:
        table = _parsed(text, file)
    notes: list[tuple[tuple[Key, ...], str]] = []
    try:
        family = family_of(table, source, notes)
    except Wrong as error:
        raise SpecError(file, toml_line(text, error.path), error.what) from error
    return Reading((family,), tuple(Note(toml_line(text, path), what) for path, what in notes))


def _parsed(text: str, file: str) -> dict[str, Any]:
    """The tables of any TOML.

    Raises:
        SpecError: it is none.
    """
    _refuse_long_keys(text, file)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, what = _syntax(error, text)
        raise SpecError(file, line, f"this is not TOML: {what}") from error
    except RecursionError as error:
        raise SpecError(file, None, "this is not TOML that anyone wrote: it is nested too deeply") from error
    except ValueError as error:
        raise SpecError(file, None, f"this is not TOML: {printable(str(error))}") from error


def family_of(table: Table, source: str, notes: list[tuple[tuple[Key, ...], str]]) -> ModelFamily:
    """The family of a table as tomllib gives it; notes receives what is worth saying, with its path."""
    name = values.name(table, "name")
    context_length = values.count(table, "context_length", 1, values.MAX_CONTEXT)
    models = values.tables(table, "models")
    if not models:
        raise Wrong("expected at least one [[models]] table with a size and its specs", "models")
    specs: list[ModelSpec] = []
    known: dict[tuple[Number, Number | None], tuple[int | None, Architecture | None]] = {}
    for place, model in enumerate(models):
        try:
            _model(model, specs, known, notes, place)
        except Wrong as error:
            raise error.under("models", place) from error
    if not specs:
        raise Wrong("expected at least one [[models.specs]] table with a format and quantizations", "models")
    _note_unknown(table, _FAMILY_KEYS, notes)
    return ModelFamily(
        name=name,
        context_length=context_length,
        languages=values.texts(table, "languages"),
        abilities=values.texts(table, "abilities"),
        specs=tuple(specs),
        description=values.text(table, "description") or "",
        license=values.text(table, "license"),
        source=source,
        chat_template=values.raw_text(table, "chat_template"),
        stop=values.texts(table, "stop"),
        reasoning_start_tag=values.raw_text(table, "reasoning_start_tag"),
        reasoning_end_tag=values.raw_text(table, "reasoning_end_tag"),
    )


def _model(
    model: Table,
    specs: list[ModelSpec],
    known: dict[tuple[Number, Number | None], tuple[int | None, Architecture | None]],
    notes: list[tuple[tuple[Key, ...], str]],
    place: int,
) -> None:
    """One size with its specs. A size that comes again without facts of its own has those of the first time."""
    size = values.size(model, "size_in_billions")
    if size is None:
        raise Wrong("size_in_billions is missing: expected a number of billions, such as 8")
    active = values.size(model, "active_size_in_billions")
    parameters = values.count(model, "parameters", 1)
    described = values.subtable(model, "architecture")
    shape = _architecture(described) if described else None
    if described is None and parameters is None:
        parameters, shape = known.get((size, active), (None, None))
    else:
        known.setdefault((size, active), (parameters, shape))
    for index, spec in enumerate(values.tables(model, "specs")):
        try:
            specs.append(
                _spec(
                    spec,
                    size,
                    active=active,
                    parameters=parameters,
                    shape=shape,
                    notes=notes,
                    path=("models", place, "specs", index),
                )
            )
        except Wrong as error:
            raise error.under("specs", index) from error
    _note_unknown(model, _MODEL_KEYS, notes, "models", place)


def _spec(
    table: Table,
    size: Number,
    *,
    active: Number | None,
    parameters: int | None,
    shape: Architecture | None,
    notes: list[tuple[tuple[Key, ...], str]],
    path: tuple[Key, ...],
) -> ModelSpec:
    model_format = values.model_format(table, "format")
    listed = values.quantizations(table, "quantizations") or ()
    hubs: list[HubSource] = []
    for name, hub in (values.subtable(table, "hubs") or {}).items():
        if type(hub) is not dict:
            values.wrong(f"{name} as a table", hub, "hubs", name)
        carried = carried_hub(name)
        if carried is None:
            notes.append(((*path, "hubs", name), f"modeldeck does not carry the hub {values.shown(name)}"))
            continue
        try:
            hubs.append(_hub(carried, hub))
        except Wrong as error:
            raise error.under("hubs", name) from error
        _note_unknown(hub, _HUB_KEYS, notes, *path, "hubs", name)
    local = values.raw_text(table, "path")
    if local is not None and not local.isprintable():
        values.wrong("path as a file or folder on this disk", local, "path")
    if not hubs and local is None and not table.get("hubs"):
        raise Wrong("hubs is missing: expected [models.specs.hubs.huggingface] with an id, or a path on this disk")
    _note_unknown(table, _SPEC_KEYS, notes, *path)
    return make_spec(
        model_format,
        size,
        listed,
        hubs,
        engines=_engines(table),
        active_size_in_billions=active,
        parameters=parameters,
        architecture=shape,
        path=local,
    )


def _hub(name: str, table: Table) -> HubSource:
    if "id" not in table:
        raise Wrong("id is missing: expected a repository as owner/name")
    if len(table) == 1:  # six of seven hubs, and the checks below cost a tenth of reading the catalog
        return HubSource(name, values.model_id(table["id"], "id"))
    parts: dict[str, tuple[str, ...]] = {}
    for quantization, names in (values.subtable(table, "parts") or {}).items():
        parts[values.quantization(quantization, "parts")] = values.part_names(names, "parts", quantization)
    projectors = values.texts(table, "projectors")
    for place, projector in enumerate(projectors):
        values.file_name(projector, (), "projectors", place)
    return HubSource(
        hub=name,
        id=values.model_id(table["id"], "id"),
        file=values.file_template(table, "file", ("quantization",)),
        split_file=values.file_template(table, "split_file", ("quantization", "part")),
        parts=parts,
        revision=values.revision(table, "revision"),
        quantizations=values.quantizations(table, "quantizations"),
        projectors=projectors,
    )


def _engines(table: Table) -> Mapping[str, Sequence[str] | None] | None:
    """The spec's own word on engines: a list of names, or their quantizations by name."""
    value = table.get("engines")
    if value is None:
        return None
    if type(value) is list:
        return {engine_name(name): None for name in values.texts(table, "engines")}
    if type(value) is not dict:
        values.wrong("engines as a list of names, or a table of quantizations by name", value, "engines")
    try:
        return {
            engine_name(one_line(name)): values.quantizations(value, name)
            for name in value
        }  # fmt: skip
    except Wrong as error:
        raise error.under("engines") from error


def _architecture(table: Table) -> Architecture | None:
    known: dict[str, Any] = {}
    extra: dict[str, object] = {}
    try:
        for key, value in table.items():
            if key in _COUNTS:
                if type(value) is not int or not 0 <= value <= _MOST:
                    values.wrong(f"{key} as a whole number of 0 to {_MOST:,}", value, key)
                known[key] = value
            elif key in _COUNTS_BY_LAYER:
                known[key] = _count_by_layer(key, value)
            elif key == "architecture":
                known[key] = values.text(table, key)
            elif key == "tied_embeddings":
                if type(value) is not bool:
                    values.wrong("tied_embeddings as true or false", value, key)
                known[key] = value
            else:
                extra[key] = _extra(key, value)
        architecture = Architecture(**known, extra=extra)
        found = contradiction(architecture)
        if found is not None:
            raise Wrong(f"expected {found[1]}", found[0])
    except Wrong as error:
        raise error.under("architecture") from error
    return architecture


def _count_by_layer(key: str, value: object) -> int | tuple[int, ...]:
    if type(value) is int and 0 <= value <= _MOST:
        return value
    if type(value) is not list or not 0 < len(value) <= values.MAX_LAYERS:
        values.wrong(f"{key} as a whole number, or a list of one a layer", value, key)
    if all(type(entry) is int and 0 <= entry <= _MOST for entry in value):
        return tuple(value)
    return values.wrong(f"{key} as a whole number, or a list of one a layer", value, key)


def _extra(key: str, value: object) -> object:
    """A value that some estimate may want: numbers, words, flags, and lists of them."""
    if type(value) is float and not math.isfinite(value):
        values.wrong(f"{key} as a finite number", value, key)
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, (bool, int, float)):
        return value
    if type(value) is list and len(value) <= values.MAX_LAYERS and not any(type(e) in {list, dict} for e in value):
        return tuple(_extra(key, entry) for entry in value)
    return values.wrong(f"{key} as a number, a text, true or false, or a list of them", value, key)


def _refuse_long_keys(text: str, file: str) -> None:
    """Turn away keys of hundreds of dots, on which tomllib spends time by the square of their number."""
    lines = text.split("\n")
    if max(map(len, lines)) <= _LONG_LINE:
        return
    for number, line in enumerate(lines, 1):
        if len(line) > _LONG_LINE and re.sub("\"[^\"]*\"|'[^']*'", "", line.partition("=")[0]).count(".") > _MOST_DOTS:
            raise SpecError(file, number, f"expected a key of at most {_MOST_DOTS} dots")


def _note_unknown(table: Table, known: frozenset[str], notes: list[tuple[tuple[Key, ...], str]], *path: Key) -> None:
    if table.keys() <= known:
        return
    notes.extend(((*path, key), f"unknown key {values.shown(key)}") for key in table if key not in known)


def _syntax(error: tomllib.TOMLDecodeError, text: str) -> tuple[int | None, str]:
    """The line of a syntax error, and what tomllib says without the place."""
    message = str(error)
    what, _, place = message.rpartition(" (at ")
    if not what:
        return None, printable(message)
    if place.startswith("line "):
        digits = place.removeprefix("line ").split(",")[0]
        return (int(digits) if digits.isdigit() else None), printable(what)
    return text.count("\n") + 1, f"{printable(what)} at the end of the file"
