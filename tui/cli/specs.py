"""The command `specs`: check spec files, and add them to the user's catalog."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from backends.errors import BackendError
from backends.home import specs_folder
from specs.model import ModelFamily, SpecError
from tui.cli.output import clean, note


def specs(arguments: argparse.Namespace) -> int:
    """Read every file first; import copies only when all of them can be read."""
    read: list[tuple[Path, tuple[ModelFamily, ...]]] = []
    wrong = 0
    for path in arguments.files:
        try:
            found = _read(path)
        except SpecError as error:
            wrong += 1
            print(clean(error), file=sys.stdout if arguments.action == "check" else sys.stderr)
            continue
        read.append((path, found))
        if arguments.action == "check":
            print(f"{clean(path)}: {_counts(found)}")
    if wrong:
        note(f"modeldeck specs {arguments.action}: {wrong} of {len(arguments.files)} files cannot be read")
        return 1
    if arguments.action == "import":
        for path, found in read:
            _import(path, found)
    return 0


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
    return f"{name}, {specs_count} {'spec' if specs_count == 1 else 'specs'}, {variants} variants"


def _import(path: Path, families: tuple[ModelFamily, ...]) -> None:
    """Copy the file beside the user's others; a file of that name with other families is never written over."""
    from specs.catalog import read_spec_file

    folder = specs_folder()
    folder.mkdir(parents=True, exist_ok=True)
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
    print(f"{clean(target)}: {_counts(families)}")
