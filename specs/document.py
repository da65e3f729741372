"""The catalog as JSON documents, in the keys that are promised to scripts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from specs.catalog import Catalog
from specs.engines import engines_for
from specs.model import HubSource, ModelFamily, ModelSpec


def catalog_to_json(catalog: Catalog, families: Iterable[ModelFamily] | None = None) -> dict[str, Any]:
    """All families in short, or those that a search found, with the catalog's problems."""
    chosen = catalog.families if families is None else families
    return {"families": [summary_to_json(family) for family in chosen], "problems": list(catalog.problems)}


def summary_to_json(family: ModelFamily) -> dict[str, Any]:
    """One family in a list."""
    return {
        "name": family.name,
        "context_length": family.context_length,
        "languages": list(family.languages),
        "abilities": list(family.abilities),
        "sizes_in_billions": list(family.sizes_in_billions),
        "formats": list(family.formats),
        "source": family.source,
    }


def family_to_json(family: ModelFamily) -> dict[str, Any]:
    """One family with all its specs in the file's order."""
    return {
        "name": family.name,
        "context_length": family.context_length,
        "languages": list(family.languages),
        "abilities": list(family.abilities),
        "description": family.description,
        "license": family.license,
        "source": family.source,
        "specs": [spec_to_json(spec) for spec in family.specs],
    }


def spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """One spec; IDs keep their {quantization}."""
    document: dict[str, Any] = {
        "format": spec.format,
        "size_in_billions": spec.size_in_billions,
        "active_size_in_billions": spec.active_size_in_billions,
        "quantizations": list(spec.quantizations),
        "engines": {engine: list(names) for engine, names in engines_for(spec).items()},
        "hubs": {source.hub: _hub_to_json(source) for source in spec.hubs},
    }
    if spec.path is not None:
        document["path"] = spec.path
    return document


def _hub_to_json(source: HubSource) -> dict[str, Any]:
    document: dict[str, Any] = {"id": source.id}
    if source.quantizations is not None:
        document["quantizations"] = list(source.quantizations)
    if source.revision is not None:
        document["revision"] = source.revision
    return document
