"""The commands `list` and `show`: the catalog in words."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from specs.document import catalog_to_json, family_to_json
from specs.model import ModelFamily, ModelSpec, Variant
from tui.cli import choose
from tui.cli.output import Column, clean, document, lines, note, number, paragraph, table

COLUMNS: Final[dict[str, tuple[Column, Callable[[ModelFamily], str]]]] = {
    "name": (Column("NAME"), lambda one: one.name),
    "sizes": (
        Column("SIZES", wide=True, leaves=1),
        lambda one: " ".join(number(size) for size in one.sizes_in_billions),
    ),
    "context": (
        Column("CONTEXT", right=True, leaves=3),
        lambda one: f"{one.context_length:,}" if one.context_length else "unknown",
    ),
    "abilities": (Column("ABILITIES", wide=True), lambda one: " ".join(one.abilities)),
    "formats": (Column("FORMATS", wide=True, leaves=2), lambda one: " ".join(one.formats)),
    "languages": (Column("LANGUAGES", wide=True), lambda one: " ".join(one.languages) or "unknown"),
    "license": (Column("LICENSE", wide=True), lambda one: one.license or "unknown"),
    "source": (Column("SOURCE", wide=True), lambda one: one.source or "unknown"),
}
DEFAULT_COLUMNS: Final = ("name", "sizes", "context", "abilities", "formats")
SORTS: Final[dict[str, Callable[[ModelFamily], Any]]] = {
    "name": lambda one: one.name.lower(),
    "size": lambda one: min(one.sizes_in_billions, default=None),
    "largest": lambda one: max(one.sizes_in_billions, default=None),
    "context": lambda one: one.context_length or None,
    "abilities": lambda one: one.abilities or None,
    "formats": lambda one: one.formats or None,
    "languages": lambda one: one.languages or None,
    "license": lambda one: one.license,
    "source": lambda one: one.source,
}
"""What --sort goes by; None: unknown."""


def list_families(arguments: argparse.Namespace) -> int:
    """Families that the query and the flags leave, or a server's models."""
    if arguments.url:
        return _list_server(arguments)
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
    families = _sorted(families, arguments)
    if arguments.json:
        document(catalog_to_json(catalog, families))
        return 0
    if not families:
        note("no family of the catalog matches; fewer words or flags find more")
        return 0
    chosen = [COLUMNS[name] for name in arguments.columns or DEFAULT_COLUMNS]
    table([column for column, _ in chosen], [[tell(one) for _, tell in chosen] for one in families])
    return 0


def _sorted(families: tuple[ModelFamily, ...], arguments: argparse.Namespace) -> tuple[ModelFamily, ...]:
    """In the order of --sort; what is unknown comes last, either way round."""
    if arguments.sort is None:
        return tuple(reversed(families)) if arguments.reverse else families
    key = SORTS[arguments.sort]
    known = [one for one in families if key(one) is not None]
    unknown = [one for one in families if key(one) is None]
    return (*sorted(known, key=key, reverse=arguments.reverse), *unknown)


def _list_server(arguments: argparse.Namespace) -> int:
    from backends.servers import models_of, server_url

    url = server_url(arguments.url)
    offered = [one for one in models_of(url, arguments.key_env) if arguments.query.lower() in one.name.lower()]
    if arguments.json:
        document({"url": url, "models": [{"name": one.name, "context_length": one.context} for one in offered]})
        return 0
    rows = [(clean(one.name), f"{one.context:,}" if one.context else "unknown") for one in offered]
    table([Column("NAME"), Column("CONTEXT", right=True)], rows)
    return 0


def show_family(arguments: argparse.Namespace) -> int:
    """One family, with every spec in the file's order."""
    family = choose.family(arguments)
    if arguments.json:
        document(family_to_json(family))
        return 0
    print(clean(family.name))
    if family.description:
        paragraph(family.description)
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
