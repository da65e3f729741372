"""The command `fit`: what runs on a machine, where, how far and how fast."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from backends.fit import Option
from tui import units
from tui.cli import choose
from tui.cli.output import Column, document, note, number, table, verdict

HUB_DEADLINE_SECONDS = 8.0
"""How long `fit NAME` waits for what the hubs know; after that it judges with what the catalog knows."""


def fit(arguments: argparse.Namespace) -> int:
    """Judge one family's variants, or the whole catalog's."""
    from backends.engines.registry import statuses
    from backends.judge import option_to_json, options
    from backends.knowledge import known_of

    catalog = choose.catalog(arguments)
    machine = choose.machine(arguments)
    if arguments.name is None:
        variants = choose.matching(catalog.variants(), arguments)
        knowledge = known_of(variants, deadline_seconds=None)
    else:
        variants = choose.matching_of_family(choose.family(catalog, arguments.name), arguments)
        knowledge = known_of(variants, deadline_seconds=HUB_DEADLINE_SECONDS)
    judged = options(variants, machine, choose.wish(arguments), statuses=statuses(), knowledge=knowledge)
    if arguments.engine is not None:
        judged = [one for one in judged if one.engine == arguments.engine]
    if arguments.json:
        from backends.machine.document import machine_to_json

        document({"machine": machine_to_json(machine), "options": [option_to_json(one) for one in judged]})
        return 0
    if not judged:
        note("nothing to judge: no variant is left, or no engine of ours takes its format")
        return 0
    if arguments.name is None:
        _print_families(judged)
    else:
        _print_variants(judged, every_engine=arguments.engine is not None)
    return 0


def _print_variants(judged: list[Option], *, every_engine: bool) -> None:
    """One row a variant with its best engine, and the reasons below."""
    rows = judged if every_engine else _best_of_each(judged, lambda one: one.variant.key)
    table(
        [
            Column("SIZE", right=True),
            Column("FORMAT"),
            Column("QUANTIZATION"),
            Column("ENGINE"),
            Column("RUNS"),
            Column("CONTEXT", right=True),
            Column("MEMORY", right=True),
            Column("DOWNLOAD", right=True),
            Column("SPEED", right=True),
            Column("", wide=True),
        ],
        [
            (
                f"{number(one.variant.spec.size_in_billions)}B",
                one.variant.spec.format,
                one.variant.quantization,
                _engine(one),
                verdict(one.verdict),
                units.count(one.context),
                _memory(one),
                units.file_size(one.download_bytes),
                units.tokens_per_second(one.tokens_per_second.value) if one.tokens_per_second else units.UNKNOWN,
                one.reason or one.where,
            )
            for one in rows
        ],
    )


def _print_families(judged: list[Option]) -> None:
    """One row a family with the largest of its variants that run best; `fit NAME` has the rest."""
    rows = _best_of_each(judged, lambda one: one.variant.family.name)
    table(
        [
            Column("NAME", wide=True),
            Column("RUNS"),
            Column("SIZE", right=True),
            Column("FORMAT"),
            Column("QUANTIZATION"),
            Column("ENGINE"),
            Column("MEMORY", right=True),
        ],
        [
            (
                one.variant.family.name,
                verdict(one.verdict),
                f"{number(one.variant.spec.size_in_billions)}B",
                one.variant.spec.format,
                one.variant.quantization,
                _engine(one),
                _memory(one),
            )
            for one in rows
        ],
    )
    note("one line a family; modeldeck fit NAME shows every variant with its reason")


def _best_of_each(judged: Iterable[Option], key: Callable[[Option], str]) -> list[Option]:
    from backends.judge import best_option

    groups: dict[str, list[Option]] = {}
    for one in judged:
        groups.setdefault(key(one), []).append(one)
    return [best_option(group) for group in groups.values()]


def _engine(one: Option) -> str:
    return one.engine if one.engine_status == "ready" else f"{one.engine} ({one.engine_status.replace('-', ' ')})"


def _memory(one: Option) -> str:
    return f"{'about ' if one.about or one.memory.basis == 'size' else ''}{units.memory(one.memory.total_bytes)}"
