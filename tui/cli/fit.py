"""The command `fit`: what runs on a machine, where, how far and how fast."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from backends.fit import Knowledge, Option, Wish
from specs.model import Variant
from tui import units
from tui.cli import choose
from tui.cli.arguments import WrongUsage
from tui.cli.output import Column, document, note, number, table, verdict

if TYPE_CHECKING:
    from backends.machine.model import Machine

HUB_DEADLINE_SECONDS = 8.0
"""How long `fit NAME` waits for what the hubs know; after that it judges with what the catalog knows."""

NOTHING: Final = "-"
"""In the place of a figure of what does not run."""


def fit(arguments: argparse.Namespace) -> int:
    """Judge one family's variants, or the whole catalog's."""
    from backends.judge import option_to_json
    from backends.knowledge import known_of

    if arguments.forget:
        return _forget(arguments)
    choose.ray_is_vllm_s(arguments, "modeldeck fit")
    machine = choose.machine(arguments)
    if arguments.name is None:
        variants = choose.matching(choose.catalog(arguments).variants(), arguments)
        knowledge = known_of(variants, deadline_seconds=None, folders=choose.folders())
    else:
        variants = choose.matching_of_family(choose.family(arguments), arguments)
        knowledge = known_of(variants, deadline_seconds=HUB_DEADLINE_SECONDS, folders=choose.folders())
        _tell_damage(variants)
        knowledge = _ask_engine(variants, knowledge, choose.wish(arguments), fetch=arguments.ask_engine)
    judged = judge_here(variants, machine, choose.wish(arguments), knowledge)
    if arguments.ray_address:
        from backends.clustered import on_cluster
        from backends.engines.cluster import cluster_cards

        judged = on_cluster(judged, cluster_cards(arguments.ray_address), arguments.ray_address, knowledge)
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
        _print_families(judged, machine)
    else:
        print_variants(judged, machine, every_engine=arguments.engine is not None)
    return 0


def _tell_damage(variants: Sequence[Variant]) -> None:
    """A line for each file on this disk that cannot be what it says: its verdict is made without it."""
    from backends.downloads import local_index
    from backends.errors import BadWeights
    from backends.memory.weights_file import knowledge_of

    index = local_index(choose.folders())
    for variant in variants:
        path = index.path(variant)
        if path is None or variant.spec.format != "ggufv2":
            continue
        try:
            knowledge_of(path)
        except BadWeights as error:
            note(f"{error}; put the whole file at {path}, or modeldeck library remove {shlex.quote(variant.key)}")
        except OSError:
            continue  # gone meanwhile


def _ask_engine(
    variants: Sequence[Variant], knowledge: Mapping[str, Knowledge], wish: Wish, *, fetch: bool
) -> dict[str, Knowledge]:
    """The same with llama.cpp's own compute buffers: of files on this disk, and with fetch of those on the hubs too."""
    from importlib.util import find_spec

    from backends.downloads import local_index
    from backends.engine_compute import with_engine_answer
    from backends.errors import BackendError

    known = dict(knowledge)
    if find_spec("llama_cpp") is None:
        if fetch:
            note("llama.cpp is not installed, so it cannot be asked; its closed forms are used")
        return known
    index = local_index(choose.folders())
    for variant in variants:
        path = index.path(variant) if variant.spec.format == "ggufv2" else None
        if variant.spec.format != "ggufv2" or (path is None and not fetch):
            continue
        before = known.get(variant.key, Knowledge())
        try:
            known[variant.key] = with_engine_answer(variant, before, path=path, cache_type=wish.kv_cache_type)
        except BackendError as error:
            if fetch:
                note(f"{variant.quantization}: {error}; its closed forms are used")
    return known


def judge_here(
    variants: Sequence[Variant], machine: Machine, wish: Wish, knowledge: Mapping[str, Knowledge]
) -> list[Option]:
    """Every option, corrected by what loads took where the machine is this one."""
    from backends.engines.registry import statuses
    from backends.judge import options
    from tui.services import measured_here

    measured = measured_here(machine)
    return options(
        variants,
        machine,
        wish,
        statuses=statuses(),
        knowledge=knowledge,
        corrections=measured.corrections,
        speeds=measured.speeds,
    )


def _forget(arguments: argparse.Namespace) -> int:
    """Drop what loads on this machine took, all or an engine's and a format's."""
    from backends.machine.detect import detect
    from backends.measurements import clear

    if arguments.name or arguments.machine:
        raise WrongUsage(
            "--forget drops what loads on this machine took, by engine and format: give it --model-engine and "
            "--model-format, or neither",
            "modeldeck fit",
        )
    count = clear(detect(), engine=arguments.engine, format_name=arguments.format)
    if arguments.json:
        document({"forgotten": count})
    else:
        print(f"{count} {'load' if count == 1 else 'loads'} forgotten; fits are predicted again")
    return 0


def print_variants(judged: list[Option], machine: Machine, *, every_engine: bool) -> None:
    """One row a variant with its best engine, and the reasons below; of a single variant one row an engine."""
    from backends.engines.choice import choices

    alone = len({one.variant.key for one in judged}) == 1 and not every_engine
    if alone:
        rows = [one.option for one in choices(judged)]
    else:
        rows = judged if every_engine else _best_of_each(judged, lambda one: one.variant.key)
    titles = table(
        [
            Column("SIZE", right=True),
            Column("FORMAT"),
            Column("QUANTIZATION"),
            Column("RUNS"),
            Column("MEMORY", right=True),
            Column("SPEED", right=True, leaves=1),
            Column("CONTEXT", right=True, leaves=3),
            Column("DOWNLOAD", right=True, leaves=2),
            Column("ENGINE"),
        ],
        [
            (
                f"{number(one.variant.spec.size_in_billions)}B",
                one.variant.spec.format,
                one.variant.quantization,
                verdict(one.verdict),
                _memory(one),
                _speed(one),
                _longest(one),
                units.file_size(one.download_bytes),
                _engine(one),
            )
            for one in rows
        ],
        _remarks(rows),
    )
    contexts = sorted({one.context for one in rows})
    said = " to ".join(units.count(one) for one in dict.fromkeys((contexts[0], contexts[-1])))
    types = {one.kv_cache_type for one in rows} - {"f16"}
    note(f"at a context of {said} tokens" + ("; CONTEXT is how far it goes" if "CONTEXT" in titles else ""))
    if types:
        note(f"with a KV cache of type {types.pop()} where the engine has it")
    if alone and len(rows) > 1:
        note("engines best first: what is installed and runs it, then the better place, then the higher speed")
    _note_machine(machine)
    _note_engines(rows)


def _print_families(judged: list[Option], machine: Machine) -> None:
    """One row a family with the largest of its variants that run best; `fit NAME` has the rest."""
    rows = _best_of_each(judged, lambda one: one.variant.family.name, largest=True)
    table(
        [
            Column("NAME"),
            Column("RUNS"),
            Column("SIZE", right=True),
            Column("FORMAT", leaves=2),
            Column("QUANTIZATION", leaves=1),
            Column("MEMORY", right=True),
            Column("ENGINE", leaves=3),
        ],
        [
            (
                one.variant.family.name,
                verdict(one.verdict),
                f"{number(one.variant.spec.size_in_billions)}B",
                one.variant.spec.format,
                one.variant.quantization,
                _memory(one),
                _engine(one),
            )
            for one in rows
        ],
    )
    _note_machine(machine)
    _note_engines(rows)
    note("one line a family; modeldeck fit NAME shows every variant with its reason")


def _best_of_each(judged: Iterable[Option], key: Callable[[Option], str], *, largest: bool = False) -> list[Option]:
    """The best option of each group; of equally good ones the first, or the largest that runs."""
    from backends.judge import best_option

    groups: dict[str, list[Option]] = {}
    for one in judged:
        groups.setdefault(key(one), []).append(one)
    best = [best_option(group) for group in groups.values()]
    if not largest:
        return best
    return [_largest(group, one) for group, one in zip(groups.values(), best, strict=True)]


def _largest(group: list[Option], best: Option) -> Option:
    """The largest that is as good as the best; where nothing runs the smallest, which lacks least."""
    as_good = [one for one in group if (one.verdict, one.engine_status) == (best.verdict, best.engine_status)]
    choose_one = min if best.verdict == "no" else max
    return choose_one(as_good, key=lambda one: (one.variant.spec.size_in_billions, one.memory.total_bytes))


def _engine(one: Option) -> str:
    """The engine, with a star where it cannot be used as things stand."""
    return one.engine if one.engine_status == "ready" else f"{one.engine}*"


def _note_machine(machine: Machine) -> None:
    """Another machine than this one is named, so that nobody takes its verdicts for this one's."""
    if machine.label is not None:
        note(f"judged for {machine.label}, which is not this machine")


def _speed(one: Option) -> str:
    if one.verdict == "no":
        return NOTHING
    return units.tokens_per_second(one.tokens_per_second.value if one.tokens_per_second else None)


def _longest(one: Option) -> str:
    """How far it goes: the longest context with the same verdict."""
    return NOTHING if one.verdict == "no" else units.count(one.max_context)


def _remarks(rows: Sequence[Option]) -> list[str]:
    """What each row says of itself; two repositories with the same variant are told apart by their IDs."""

    def looks(one: Option) -> tuple[object, ...]:
        return one.variant.spec.size_in_billions, one.variant.spec.format, one.variant.quantization, one.engine

    alike = Counter(looks(one) for one in rows)
    return [_remark(one) + (f", {one.variant.model_id}" if alike[looks(one)] > 1 else "") for one in rows]


def _remark(one: Option) -> str:
    """Where it runs and why not better, or why it does not run."""
    if one.verdict == "no":
        return one.reason or one.where
    if one.verdict == "cpu":
        return one.reason or ""  # where, the column RUNS has said
    return f"{one.where}; {one.reason}" if one.reason else one.where


def _note_engines(rows: Iterable[Option]) -> None:
    """What a star means: what would have to be installed and how, or that the engine takes no such weights there."""
    stars: dict[str, None] = {}
    for one in rows:
        if one.engine_status == "not-installed":
            lack = one.lack or f"{one.engine} is not installed"
            stars[f"{lack}: {one.install_line}" if one.install_line else lack] = None
        elif one.engine_status == "unsupported":
            stars[f"{one.engine}, {one.variant.spec.format}: not supported there, see the reasons"] = None
    for words in stars:
        note(f"* {words}")


def _memory(one: Option) -> str:
    return f"{'about ' if one.about or one.memory.basis == 'size' else ''}{units.memory(one.memory.total_bytes)}"
