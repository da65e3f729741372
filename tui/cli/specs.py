"""The command `specs`: check spec files, add them to the user's catalog, make one from a hub's repository."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backends.errors import BackendError
from backends.home import private_folder, specs_folder
from specs.model import ModelFamily, SpecError
from tui import units
from tui.cli import choose
from tui.cli.arguments import WrongUsage
from tui.cli.output import clean, document, note

if TYPE_CHECKING:
    from specs.catalog import Catalog

NAME: Final = "modeldeck specs"


def specs(arguments: argparse.Namespace) -> int:
    """Read every file first; import copies only when all of them can be read."""
    if arguments.action == "from":
        return _from_hub(arguments)
    if arguments.keep or arguments.hub or arguments.revision or arguments.name:
        raise WrongUsage(f"--hub, --revision, --keep and --name go with specs from, not with {arguments.action}", NAME)
    read: list[tuple[Path, tuple[ModelFamily, ...]]] = []
    wrong: list[str] = []
    for path in arguments.files:
        try:
            found = _read(path)
        except SpecError as error:
            wrong.append(str(error))
            if not arguments.json:
                print(clean(error), file=sys.stdout if arguments.action == "check" else sys.stderr)
            continue
        read.append((path, found))
        if arguments.action == "check" and not arguments.json:
            print(f"{clean(path)}: {_counts(found)}")
    targets = []
    if arguments.action == "import" and not wrong:
        targets = [_import(path, found) for path, found in read]
    if arguments.json:
        files = [{"path": str(path), "families": [one.name for one in found]} for path, found in read]
        document({"files": files, "problems": wrong, "imported": [str(target) for target in targets]})
    else:
        for target, (_, found) in zip(targets, read, strict=False):
            print(f"{clean(target)}: {_counts(found)}")
    if wrong:
        asked = units.counted(len(arguments.files), "file")
        note(f"modeldeck specs {arguments.action}: {len(wrong)} of {asked} cannot be read")
        return 1
    return 0


def _from_hub(arguments: argparse.Namespace) -> int:
    """A family of what a repository holds, judged, and kept where that is asked for."""
    from backends.judge import option_to_json
    from backends.knowledge import known_of
    from backends.machine.document import machine_to_json
    from specs.document import family_to_json
    from specs.writing import keep_family
    from tui.cli.fit import HUB_DEADLINE_SECONDS, judge_here, print_variants

    if len(arguments.files) != 1:
        raise WrongUsage("specs from takes one repository, as owner/name", NAME)
    model_id = arguments.files[0].as_posix()
    machine, wish = choose.machine(arguments), choose.wish(arguments)
    loaded = choose.catalog(arguments, problems_are_shown=True)
    family = _named(choose.repository(model_id, arguments.hub, arguments.revision), model_id, arguments.name, loaded)
    variants = tuple(family.variants())
    judged = judge_here(
        variants, machine, wish, known_of(variants, deadline_seconds=HUB_DEADLINE_SECONDS, folders=choose.folders())
    )
    kept = keep_family(family, specs_folder()) if arguments.keep else None
    if arguments.json:
        document(
            {
                "family": family_to_json(family),
                "kept": str(kept) if kept else None,
                "machine": machine_to_json(machine),
                "options": [option_to_json(one) for one in judged],
            }
        )
        return 0
    print(f"{clean(family.name)}: {', '.join(family.abilities)}, licence {clean(family.license or 'unknown')}")
    if judged:
        print_variants(judged, machine, every_engine=False)
    else:
        note(f"no engine of ours takes {', '.join(family.formats)} as it is there")
    if kept:
        print(clean(kept))
    else:
        note(f"--keep adds it to the catalog; modeldeck download {model_id} fetches it without that")
    return 0


def _named(family: ModelFamily, model_id: str, wanted: str | None, loaded: Catalog) -> ModelFamily:
    """The family under a name that takes no other family's place, unless the user chose it."""
    taken = {one.name.lower() for one in loaded.families}
    kept = choose.kept_family(loaded, model_id)
    if kept is not None:
        taken.discard(kept.name.lower())
    name = wanted or (kept.name if kept else family.name)
    if not wanted and name.lower() in taken:
        name = model_id.replace("/", "-").lower()
        note(f"the catalog has another {family.name}, so this one is called {name}; --name calls it otherwise")
    return replace(family, name=name)


def _read(path: Path) -> tuple[ModelFamily, ...]:
    from specs.catalog import read_spec_file

    if not path.exists():
        raise SpecError(str(path), None, "there is no such file")
    if path.is_dir():
        raise SpecError(str(path), None, "a folder; expected a spec file (--specs takes folders)")
    try:
        return read_spec_file(path)
    except OSError as error:
        raise SpecError(str(path), None, f"cannot be read: {error.strerror}") from error


def _counts(families: tuple[ModelFamily, ...]) -> str:
    name = clean(families[0].name) if len(families) == 1 else f"{len(families)} families"
    specs_count = sum(len(one.specs) for one in families)
    variants = sum(len(spec.quantizations) for one in families for spec in one.specs)
    return f"{name}, {units.counted(specs_count, 'spec')}, {units.counted(variants, 'variant')}"


def _import(path: Path, families: tuple[ModelFamily, ...]) -> Path:
    """Copy the file beside the user's others; a file of that name with other families is never written over."""
    from specs.catalog import read_spec_file

    folder = specs_folder()
    private_folder(folder)
    target = folder / path.name
    content = path.read_bytes()
    if target.exists() and target.read_bytes() != content:
        try:
            there = {one.name.lower() for one in read_spec_file(target)}
        except SpecError:
            there = set()
        if not there <= {one.name.lower() for one in families}:
            raise BackendError(f"{target} holds other families already; rename {path} and import it again")
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(content)
    part.replace(target)
    return target
