"""The command `library`: what lies on this disk, whether it is whole, and who keeps it."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.errors import BackendError, NotFound
from specs.model import ModelFamily
from tui import units
from tui.cli import choose
from tui.cli.arguments import WrongUsage
from tui.cli.output import Column, clean, document, moves_on_error, note, table
from tui.cli.patience import interruptible

if TYPE_CHECKING:
    from backends.library import Duplicate, Entry, Library, RemovalPlan, Verification
    from specs.catalog import Catalog


def library(arguments: argparse.Namespace) -> int:
    """Everything that an engine could load, whoever downloaded it."""
    action = {"scan": _scan, "verify": _verify, "remove": _remove, "adopt": _adopt}[arguments.action]
    if arguments.what is None and arguments.action in {"remove", "adopt"}:
        wanted = "what modeldeck library calls it" if arguments.action == "remove" else "a GGUF file or a folder"
        raise WrongUsage(f"say what to {arguments.action}: {wanted}", "modeldeck library")
    if arguments.name and arguments.action != "adopt":
        raise WrongUsage("--name goes with adopt", "modeldeck library")
    if arguments.dry_run and arguments.action != "remove":
        raise WrongUsage("--dry-run goes with remove", "modeldeck library")
    return action(arguments, choose.catalog(arguments))


def _look(catalog: Catalog) -> Library:
    from backends.library import scan

    folders = choose.settings().library_folders
    for folder in folders:
        if not folder.is_dir():
            note(f"library_folders: {folder} is no folder")
    return scan(catalog.variants(), folders)


def _scan(arguments: argparse.Namespace, catalog: Catalog) -> int:
    from backends.library import library_to_json

    found = _look(catalog)
    if arguments.json:
        document(library_to_json(found))
        return 0
    if not found.entries:
        note("no weights are on this disk; modeldeck download fetches some")
        return 0
    table(
        [
            Column("NAME", wide=True),
            Column("QUANTIZATION", leaves=1),
            Column("BYTES", right=True),
            Column("KEPT BY", leaves=2),
            Column("STATE", wide=True),
        ],
        [
            (
                _name(one),
                one.quantization or one.format,
                units.file_size(one.total_bytes),
                one.owner,
                one.problem or (f"matched by {one.matched_by}" if one.matched_by else "not in the catalog"),
            )
            for one in found.entries
        ],
        [str(one.path) for one in found.entries],
    )
    for duplicate in found.duplicates:
        note(_twice(duplicate))
    free = f", {units.file_size(found.free_bytes)} free" if found.free_bytes is not None else ""
    note(f"{units.file_size(found.total_bytes)} in all{free}")
    return 0


def _name(entry: Entry) -> str:
    """The catalog's name where it is in the catalog: what verify and remove take."""
    return entry.variants[0] if entry.variants else entry.name


def _twice(duplicate: Duplicate) -> str:
    sure = "the same bytes" if duplicate.certain else "likely the same bytes, by name and size"
    return f"{sure} {len(duplicate.paths)} times, {units.file_size(duplicate.wasted_bytes)} too many: " + ", ".join(
        str(path) for path in duplicate.paths
    )


def _verify(arguments: argparse.Namespace, catalog: Catalog) -> int:
    from backends.library import find, verify

    found = _look(catalog)
    entries = found.entries if arguments.what is None else (find(found, arguments.what),)
    cancel = threading.Event()
    total = sum(one.total_bytes for one in entries)
    results: list[Verification] = []

    def work(show: Callable[[int], None]) -> None:
        for one in entries:
            result = verify(one, show, cancel)
            results.append(result)
            if not arguments.json:
                _print_verification(result)

    with_progress(work, total, cancel)
    if arguments.json:
        document({"verified": [_verification(one) for one in results]})
    elif not entries:
        note("no weights are on this disk")
    damaged = [one for one in results if not one.sound]
    if damaged:
        note(f"modeldeck library verify: {len(damaged)} of {len(results)} are not sound")
    return 1 if damaged else 0


def with_progress(work: Callable[[Callable[[int], None]], None], total_bytes: int, cancel: threading.Event) -> None:
    """Run slow reading in a thread, with its share on standard error where that is a terminal."""
    done = drawn = 0.0
    screen = moves_on_error()

    def show(count: int) -> None:
        nonlocal done, drawn
        done += count
        if screen and time.monotonic() - drawn >= 0.1:
            drawn = time.monotonic()
            sys.stderr.write(f"\r\x1b[Kreading {min(1.0, done / max(1, total_bytes)):.0%}")
            sys.stderr.flush()

    try:
        interruptible(lambda: work(show), cancel.set)
    finally:
        if screen:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _print_verification(result: Verification) -> None:
    name = clean(_name(result.entry))
    if result.sound and not result.unknown:
        print(f"{name}: every sum is right")
    elif result.sound:
        known = f"{len(result.right)} sums are right, " if result.right else ""
        names = ", ".join(result.unknown[:3]) + (" and more" if len(result.unknown) > 3 else "")
        print(f"{name}: {known}nobody here knows a sum of {clean(names)}; the lengths are right")
    for line in result.wrong:
        print(f"{name}: {clean(line)}")


def _verification(result: Verification) -> dict[str, Any]:
    return {
        "name": result.entry.name,
        "variants": list(result.entry.variants),
        "path": str(result.entry.path),
        "sound": result.sound,
        "right": list(result.right),
        "wrong": list(result.wrong),
        "unknown": list(result.unknown),
    }


def _remove(arguments: argparse.Namespace, catalog: Catalog) -> int:
    from backends.library import find, plan_removal, remove, spec_files_of
    from tui.cli.loading import agreed

    library = _look(catalog)
    plan = plan_removal(find(library, arguments.what), library.entries)
    specs = spec_files_of(plan, catalog.families)
    if not arguments.json or not arguments.yes:
        for line in _what_goes(plan, specs):
            note(line)
    freed, removed = 0, False
    if not arguments.dry_run:
        whose = f" out of {plan.owner}'s folder" if plan.foreign else ""
        if not arguments.yes and not agreed(f"remove {_name(plan.entry)}{whose}?"):
            raise BackendError("nothing was removed; --yes removes without asking")
        freed, removed = remove(plan), True
        for path in specs:
            path.unlink(missing_ok=True)
    if arguments.json:
        document(
            {
                "name": plan.entry.name,
                "path": str(plan.entry.path),
                "owner": plan.owner,
                "foreign": plan.foreign,
                "paths": [str(path) for path in (*plan.paths, *specs)],
                "kept": list(plan.kept),
                "removed": removed,
                "freed_bytes": freed if removed else plan.freed_bytes,
            }
        )
    elif removed:
        print(f"{units.file_size(freed)} freed")
    return 0


def _what_goes(plan: RemovalPlan, specs: Iterable[Path]) -> Iterator[str]:
    """Whose it is, every file that goes and every one that stays."""
    from backends.shelves import ADOPTED

    where = "was adopted" if plan.entry.owner == ADOPTED else f"lies in {plan.owner}"
    yield f"{_name(plan.entry)} {where}" + (
        f", which is another program's: it will miss {plan.entry.name}" if plan.foreign else ""
    )
    for path in (*plan.paths, *specs):
        yield f"  goes: {path}"
    for line in plan.kept:
        yield f"  {line}"
    yield f"  frees {units.file_size(plan.freed_bytes)}"


def _adopt(arguments: argparse.Namespace, catalog: Catalog) -> int:
    paths = tuple(_to_adopt(Path(arguments.what).expanduser().absolute()))
    if arguments.name and len(paths) > 1:
        raise WrongUsage(f"--name names one model, and {arguments.what} holds {len(paths)}", "modeldeck library")
    families = list(catalog.families)
    done = [_adopt_one(path, arguments.name, families) for path in paths]
    if arguments.json:
        document({"adopted": done})
        return 0
    for one in done:
        kind = "is the catalog's" if one["spec_file"] is None else "is in the catalog now as"
        print(f"{clean(one['path'])} {kind} {clean(one['variant'])}")
    return 0


def _to_adopt(path: Path) -> Iterator[Path]:
    """The path itself, or every whole model below a folder that is none."""
    from backends.shelves import FOLDER, folder_entries

    if not path.is_dir() or (path / "config.json").exists():
        yield path
        return
    entries = list(folder_entries(path, FOLDER))
    if not entries:
        raise NotFound(f"{path} holds no GGUF file and no folder with safetensors and config.json")
    for entry in entries:
        if entry.problem:
            note(f"{entry.path} is passed over: {entry.problem}")
        else:
            yield entry.path


def _adopt_one(path: Path, name: str | None, families: list[ModelFamily]) -> dict[str, Any]:
    """Adopt one, and let the next ones know of it."""
    from backends.library import adopt_into

    done = adopt_into(families, path, name=name)
    if done.spec_file is not None:
        families[:] = [one for one in families if one.name.lower() != done.variant.family.name.lower()]
        families.append(done.variant.family)
    spec_file = None if done.spec_file is None else str(done.spec_file)
    return {"path": str(done.path), "variant": done.variant.key, "spec_file": spec_file}
