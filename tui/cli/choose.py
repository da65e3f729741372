"""From names on the command line to the catalog's families and variants, with the nearest ones when there is none."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backends.errors import BackendError, BadWeights, NotFound
from backends.fit import Wish
from backends.home import specs_folder
from specs.model import VLLM, ModelFamily, Variant
from tui.cli.arguments import WrongUsage
from tui.cli.output import note, number

if TYPE_CHECKING:
    from backends.machine.model import Machine
    from specs.catalog import Catalog
    from tui.settings import Settings


def catalog(arguments: argparse.Namespace, *, problems_are_shown: bool = False) -> Catalog:
    """The catalog of this call. Its problems go to standard error, unless the command itself shows them."""
    from specs.catalog import load_catalog

    for path in arguments.specs:
        if not path.exists():
            raise NotFound(f"--specs {path}: there is no such file or folder")
    loaded = load_catalog(specs_folder(), arguments.specs)
    if not problems_are_shown:
        for problem in loaded.problems:
            note(problem)
    return loaded


def settings() -> Settings:
    """The user's settings; what is wrong with them goes to standard error."""
    from tui.settings import load_settings

    loaded = load_settings()
    for problem in loaded.problems:
        note(problem)
    return loaded


def ray_is_vllm_s(arguments: argparse.Namespace, command: str) -> None:
    """Refuse a cluster for another engine: it would be asked for nothing. With launch it names vLLM by itself."""
    if not arguments.ray_address:
        return
    if arguments.engine not in (None, VLLM) or getattr(arguments, "url", None):
        raise WrongUsage(
            "only vLLM takes a cluster: give --ray-address with --model-engine vLLM, or without one", command
        )
    if command == "modeldeck launch":
        arguments.engine = VLLM


def folders() -> tuple[Path, ...]:
    """The user's own folders with weights."""
    from tui.settings import load_settings

    return load_settings().library_folders  # what is wrong with the file was said where the wish was read


def machine(arguments: argparse.Namespace, *, deadline_seconds: float = 2.0) -> Machine:
    """This machine, or the one that --machine names; the deadline is for the slowest driver."""
    if arguments.machine is None:
        from backends.machine.detect import detect
        from backends.machine.host_bandwidth import with_measured_bandwidth

        return with_measured_bandwidth(detect(deadline_seconds=deadline_seconds))
    from backends.machine.presets import load_machine

    try:
        return load_machine(arguments.machine)
    except (ValueError, LookupError) as error:
        raise BackendError(f"--machine: {error.args[0] if error.args else error}") from error


def wish(arguments: argparse.Namespace) -> Wish:
    """Context and KV cache type: flags above settings above defaults."""
    chosen = settings()
    return Wish(
        context=arguments.context or chosen.context,
        kv_cache_type=arguments.kv_cache_type or chosen.kv_cache_type,
    )


def matching(variants: Iterable[Variant], arguments: argparse.Namespace) -> tuple[Variant, ...]:
    """Variants that the size, format, quantization and ID flags leave, in the file's order."""
    return tuple(
        variant
        for variant in variants
        if (arguments.size is None or variant.spec.size_in_billions == arguments.size)
        and (arguments.format is None or variant.spec.format == arguments.format)
        and (arguments.quantization is None or variant.quantization.lower() == arguments.quantization.lower())
        and (arguments.model_id is None or arguments.model_id.lower() in _ids(variant))
    )


def matching_of_family(family: ModelFamily, arguments: argparse.Namespace) -> tuple[Variant, ...]:
    """Like matching(), but raises NotFound with what the family has when nothing is left."""
    left = matching(family.variants(), arguments)
    if not left:
        raise NotFound(f"{family.name} has no {_asked(arguments)}; it has {_what_there_is(family, arguments)}")
    return left


def one_variant(family: ModelFamily, arguments: argparse.Namespace) -> Variant:
    """The one variant that the flags name; of two repositories with the same one, the first, and a note says so.

    Raises:
        NotFound: the family has none like it; the text says what it has.
        WrongUsage: the flags leave a choice; the text says between what.
    """
    left = matching_of_family(family, arguments)
    named = {(one.spec.size_in_billions, one.spec.format, one.quantization.lower()) for one in left}
    if len(named) > 1:
        missing = [
            flag
            for flag, at in (("--size-in-billions", 0), ("--model-format", 1), ("--quantization", 2))
            if len({key[at] for key in named}) > 1
        ]
        raise WrongUsage(
            f"{len(named)} variants of {family.name} are meant; add {' and '.join(missing)}: {_choices(left)}",
            f"modeldeck {arguments.command}",
        )
    if len(left) > 1:
        others = ", ".join(one.model_id for one in left[1:])
        note(f"{len(left)} repositories publish it; taking {left[0].model_id} (--model-id takes another: {others})")
    return left[0]


def family(arguments: argparse.Namespace, loaded: Catalog | None = None) -> ModelFamily:
    """The family that NAME means: one of the catalog, in any case, else weights at that path on this disk, else what a
    hub's repository owner/name holds.

    Raises:
        UnknownFamily: no family has the name, and it is no repository's; the text names near ones.
        BadWeights, NotFound: it is a path to weights that are not whole.
    """
    from specs.catalog import UnknownFamily

    loaded = loaded or catalog(arguments)
    try:
        return loaded.family(arguments.name)
    except UnknownFamily:
        path = Path(arguments.name).expanduser()
        if path.exists() and (path.is_absolute() or path.suffix.lower() == ".gguf" or (path / "config.json").exists()):
            from backends.library import local_family

            try:
                return local_family(path)
            except BadWeights as error:
                raise BadWeights(f"{error}; fetch it again from where it came") from error
        if arguments.name.count("/") != 1:
            raise
    kept = kept_family(loaded, arguments.name)
    return kept or repository(arguments.name, getattr(arguments, "hub", None))


def kept_family(loaded: Catalog, model_id: str) -> ModelFamily | None:
    """The user's own family of this repository, and of nothing else; None: there is none."""
    for one in loaded.families:
        if one.source != "bundled" and {source.id for spec in one.specs for source in spec.hubs} == {model_id}:
            return one
    return None


def repository(model_id: str, hub: str | None, revision: str | None = None) -> ModelFamily:
    """What a repository holds, as a family; asks the hub."""
    from backends.hubs.any_repository import family_of_repository
    from tui.cli.patience import interruptible

    found = interruptible(lambda: family_of_repository(model_id, hub, revision), lambda: None)
    if found.note:
        note(found.note)
    return found.family


def _ids(variant: Variant) -> set[str]:
    return {source.model_id(variant.quantization).lower() for source in variant.spec.hubs} | {variant.model_id.lower()}


def _asked(arguments: argparse.Namespace) -> str:
    parts = [
        f"{number(arguments.size)}B" if arguments.size is not None else "",
        arguments.format or "",
        arguments.quantization or "",
        f"from {arguments.model_id}" if arguments.model_id else "",
    ]
    return " ".join(part for part in parts if part)


def _what_there_is(family: ModelFamily, arguments: argparse.Namespace) -> str:
    """The nearest level at which the flags and the family part ways."""
    sizes = [spec for spec in family.specs if arguments.size in (None, spec.size_in_billions)]
    if not sizes:
        return _named("size", [f"{number(size)}B" for size in family.sizes_in_billions])
    formats = [spec for spec in sizes if arguments.format in (None, spec.format)]
    if not formats:
        return _named("format", dict.fromkeys(spec.format for spec in sizes))
    return _named("quantization", dict.fromkeys(name for spec in formats for name in spec.quantizations))


def _named(noun: str, names: Collection[str]) -> str:
    return f"the {noun}{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _choices(variants: Sequence[Variant], most: int = 6) -> str:
    named = dict.fromkeys(
        f"{number(one.spec.size_in_billions)}B {one.spec.format} {one.quantization}" for one in variants
    )
    shown = list(named)[:most]
    more = len(named) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def existing_file(path: Path) -> Path:
    """The path, or NotFound."""
    if not path.exists():
        raise NotFound(f"{path}: there is no such file")
    return path
