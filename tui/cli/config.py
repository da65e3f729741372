"""The command `config`: the commented configuration file, what is in force, and what is wrong with it."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from typing import Any

from backends.errors import BackendError
from backends.home import config_file
from tui.cli.output import Column, document, lines, note, table
from tui.settings import PREFIX, Settings, commented_example, load_settings, make_settings_file


def config(arguments: argparse.Namespace) -> int:
    """Print what is in force, or the commented file; with --init write that file."""
    if arguments.init:
        return _write()
    if arguments.keys:
        return _keys(as_json=arguments.json)
    if arguments.example:
        print(commented_example(), end="")
        return 0
    loaded = load_settings()
    values = {one.name: getattr(loaded, one.name) for one in fields(Settings) if one.name != "problems"}
    if arguments.json:
        plain = {name: _plain(value) for name, value in values.items()}
        document({"file": str(config_file()), "settings": plain, "problems": list(loaded.problems)})
        return 0
    there = "" if config_file().exists() else "  (not there; --init writes it)"
    print(f"{config_file()}{there}\n")
    lines((name, f"{_shown(value)}{_origin(name)}") for name, value in values.items())
    for problem in loaded.problems:
        note(problem)
    return 0


def _keys(*, as_json: bool) -> int:
    """Every binding ID with its keys as they are now."""
    from tui.keys import GUIDE

    chosen = load_settings().keys
    found = {binding.id: binding for _, group in GUIDE for binding in group if binding.id}
    rows = [(name, chosen.get(name, binding.key), binding.description) for name, binding in found.items()]
    if as_json:
        document({"keys": [{"id": name, "keys": keys.split(","), "what": what} for name, keys, what in rows]})
        return 0
    table([Column("ID"), Column("KEYS", wide=True), Column("WHAT", wide=True)], rows)
    return 0


def _write() -> int:
    path = config_file()
    try:
        make_settings_file(path)
    except FileExistsError as error:
        raise BackendError(f"{path} is there already, and is not written over; --example prints the lines") from error
    print(path)
    return 0


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return dict(value) if hasattr(value, "items") else value


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value) or "none"
    if hasattr(value, "items"):
        return ", ".join(f"{name} = {key}" for name, key in value.items()) or "none"
    return str(value)


def _origin(name: str) -> str:
    variable = PREFIX + name.upper()
    return f"  ({variable})" if variable in os.environ else ""
