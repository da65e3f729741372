"""The commands `list` and `show`: the catalog in words."""

from __future__ import annotations

import argparse
from typing import Any

from specs.model import ModelFamily, ModelSpec, Variant
from tui.cli import choose
from tui.cli.output import Column, clean, document, lines, note, number, table


def list_families(arguments: argparse.Namespace) -> int:
    """Families that the query and the flags leave."""
    catalog = choose.catalog(arguments, problems_are_shown=arguments.json)
    families = catalog.search(
        arguments.query,
        format=arguments.format,
        engine=arguments.engine,
        ability=arguments.ability,
        max_size=arguments.max_size,
    )
    if arguments.downloaded:
        families = _downloaded(families, arguments)
    if arguments.fits:
        families = _fitting(families, arguments)
    if arguments.json:
        document({"families": [_summary(one) for one in families], "problems": list(catalog.problems)})
        return 0
    if not families:
        note("no family of the catalog matches; fewer words or flags find more")
        return 0
    table(
        [
            Column("NAME"),
            Column("SIZES", wide=True, leaves=1),
            Column("CONTEXT", right=True, leaves=3),
            Column("ABILITIES", wide=True),
            Column("FORMATS", wide=True, leaves=2),
        ],
        [
            (
                one.name,
                " ".join(number(size) for size in one.sizes_in_billions),
                f"{one.context_length:,}" if one.context_length else "unknown",
                " ".join(one.abilities),
                " ".join(one.formats),
            )
            for one in families
        ],
    )
    return 0


def show_family(arguments: argparse.Namespace) -> int:
    """One family, with every spec in the file's order."""
    family = choose.family(arguments)
    if arguments.json:
        document(family_document(family))
        return 0
    print(clean(family.name))
    if family.description:
        print(clean(family.description))
    print()
    lines(
        (
            ("context length", f"{family.context_length:,} tokens" if family.context_length else "unknown"),
            ("languages", ", ".join(family.languages) or "unknown"),
            ("abilities", ", ".join(family.abilities) or "unknown"),
            ("license", family.license or "unknown"),
            ("source", family.source),
        )
    )
    print()
    table(
        [
            Column("SIZE", right=True),
            Column("FORMAT"),
            Column("QUANTIZATIONS", wide=True),
            Column("ENGINES", wide=True),
        ],
        [
            (
                f"{number(spec.size_in_billions)}B",
                spec.format,
                " ".join(spec.quantizations),
                _engine_words(spec),
            )
            for spec in family.specs
        ],
        [" ".join(dict.fromkeys(source.id for source in spec.hubs)) or spec.path or "" for spec in family.specs],
    )
    return 0


def family_document(family: ModelFamily) -> dict[str, Any]:
    """What `show --json` prints."""
    return {
        "name": family.name,
        "context_length": family.context_length,
        "languages": list(family.languages),
        "abilities": list(family.abilities),
        "description": family.description,
        "license": family.license,
        "source": family.source,
        "specs": [_spec_document(spec) for spec in family.specs],
    }


def _summary(family: ModelFamily) -> dict[str, Any]:
    return {
        "name": family.name,
        "context_length": family.context_length,
        "languages": list(family.languages),
        "abilities": list(family.abilities),
        "sizes_in_billions": list(family.sizes_in_billions),
        "formats": list(family.formats),
        "source": family.source,
    }


def _spec_document(spec: ModelSpec) -> dict[str, Any]:
    from specs.engines import engines_for

    return {
        "format": spec.format,
        "size_in_billions": spec.size_in_billions,
        "active_size_in_billions": spec.active_size_in_billions,
        "quantizations": list(spec.quantizations),
        "engines": {engine: list(names) for engine, names in engines_for(spec).items()},
        "hubs": {source.hub: {"id": source.id} for source in spec.hubs},
    }


def _engine_words(spec: ModelSpec) -> str:
    """Engines with the quantizations that they are limited to, as "vLLM (none)"."""
    from specs.engines import engines_for

    words = []
    for engine, names in engines_for(spec).items():
        whole = {name.lower() for name in names} >= {name.lower() for name in spec.quantizations}
        words.append(engine if whole else f"{engine} ({', '.join(names)})")
    return ", ".join(words)


def _variants(families: tuple[ModelFamily, ...], arguments: argparse.Namespace) -> list[Variant]:
    return [
        variant
        for family in families
        for variant in family.variants()
        if (arguments.format is None or variant.spec.format == arguments.format)
        and (arguments.max_size is None or variant.spec.size_in_billions <= arguments.max_size)
    ]


def _names_kept(families: tuple[ModelFamily, ...], names: set[str]) -> tuple[ModelFamily, ...]:
    return tuple(one for one in families if one.name in names)


def _downloaded(families: tuple[ModelFamily, ...], arguments: argparse.Namespace) -> tuple[ModelFamily, ...]:
    from backends.downloads import local_index

    index = local_index(choose.folders())
    names = {one.family.name for one in _variants(families, arguments) if index.path(one) is not None}
    return _names_kept(families, names)


def _fitting(families: tuple[ModelFamily, ...], arguments: argparse.Namespace) -> tuple[ModelFamily, ...]:
    """Families of which at least one variant runs on the machine."""
    from backends.engines.registry import statuses
    from backends.fit import Wish
    from backends.judge import quick_verdicts

    variants = _variants(families, arguments)
    chosen = choose.settings()
    asked = Wish(context=chosen.context, kv_cache_type=chosen.kv_cache_type)
    verdicts = quick_verdicts(variants, choose.machine(arguments), asked, statuses())
    names = {one.family.name for one, found in zip(variants, verdicts, strict=True) if found != "no"}
    return _names_kept(families, names)
