"""The command `completion`: a script that completes modeldeck's words in bash, zsh or fish.

The script holds all its words, so that completing starts no Python: commands and flags from the grammar, families with
their sizes, formats and quantizations from the catalog as it stood when the script was made.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from specs.model import ModelFamily

SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/@-]*")
"""Words that no shell takes for anything else; a spec file may hold others, and those are left out."""
PRESET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+()-]*")
"""Machines' names, which may hold blanks: each script quotes them."""
FAMILY_COMMANDS: Final = ("show", "fit", "download", "pull", "bench", "launch", "list")
"""Commands whose first word is a family."""
PATH_COMMANDS: Final = ("show", "fit", "bench", "launch", "library", "specs")
"""Commands whose words may be paths."""


def completion(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from backends.machine.presets import PRESETS
    from tui.cli import choose
    from tui.cli.arguments import parser
    from tui.cli.completion_scripts import SCRIPTS

    families = tuple(one for one in choose.catalog(arguments).families if _safe(one.name))
    words = Words(
        commands=_commands(parser()),
        families=tuple(one.name for one in families),
        facts=_facts(families),
        machines=tuple(name for name in PRESETS if PRESET.fullmatch(name)),
    )
    print(SCRIPTS[arguments.shell](words), end="")
    return 0


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of one command."""

    name: str
    takes: bool
    """Whether a value follows."""
    choices: tuple[str, ...]
    """Values that it may have; (): any, or none."""
    what: str
    paths: bool = False
    """Whether its value is a path."""
    several: bool = False
    """Whether several of the choices may stand there, with commas between."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, or the program itself without one."""

    name: str
    what: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...]
    """What its first word may be, as scan and verify; (): anything."""

    @property
    def takes_family(self) -> bool:
        """Whether its first word is a family."""
        return self.name in FAMILY_COMMANDS

    @property
    def takes_path(self) -> bool:
        """Whether its words may be paths."""
        return self.name in PATH_COMMANDS


@dataclass(frozen=True, slots=True)
class Words:
    """All that a script completes."""

    commands: tuple[Command, ...]
    """The program itself first."""
    families: tuple[str, ...]
    facts: dict[str, dict[str, tuple[str, ...]]]
    """By flag its values for each family, as "qwen3:" or, of one format, "qwen3:mlx"; under "" those of all."""
    machines: tuple[str, ...]

    @property
    def values(self) -> dict[str, Flag]:
        """By name each flag that takes a value, with the choices of all commands."""
        found: dict[str, Flag] = {}
        for command in self.commands:
            for flag in command.flags:
                if flag.takes:
                    before = found[flag.name].choices if flag.name in found else ()
                    choices = tuple(dict.fromkeys((*before, *flag.choices)))
                    found[flag.name] = Flag(flag.name, True, choices, flag.what, flag.paths, flag.several)
        return found


def _safe(word: str) -> bool:
    return SAFE.fullmatch(word) is not None


def _commands(top: argparse.ArgumentParser) -> tuple[Command, ...]:
    found = [_command("", "", top)]
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, inner in action.choices.items():
                what = helps.get(name) or f"the same as {inner.prog.rpartition(' ')[2]}"
                found.append(_command(name, what, inner))
    return tuple(found)


def _command(name: str, what: str, grammar: argparse.ArgumentParser) -> Command:
    flags: list[Flag] = []
    words: tuple[str, ...] = ()
    for action in grammar._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        flags += [_flag(flag, action) for flag in action.option_strings if flag.startswith("--")]
        if not action.option_strings and not words:
            words = tuple(str(one) for one in action.choices or ())
    return Command(name, what, tuple(flags), words)


def _flag(name: str, action: argparse.Action) -> Flag:
    from specs import extensions
    from tui.cli.arguments import LIST_COLUMNS

    several = action.dest == "columns"
    choices = tuple(str(one) for one in action.choices or ())
    if action.dest == "engine":
        choices = (*extensions.engines(), *(("remote",) if "remote" in (action.help or "") else ()))
    if several:
        choices = LIST_COLUMNS
    what = action.help or ""
    if choices:  # the shell shows them itself
        listed = ", ".join(choices)
        what = what.replace(f": {listed}", "").replace(f" {listed}", "") or what
    what = what.replace("%(default)s", str(action.default))
    return Flag(name, action.nargs != 0, choices, what, action.type is Path, several)


def _facts(families: tuple[ModelFamily, ...]) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, dict[str, None]]] = {
        flag: {"": {}} for flag in ("--size-in-billions", "--model-format", "--quantization")
    }

    def note(flag: str, value: str, *keys: str) -> None:
        for key in ("", *keys):
            found[flag].setdefault(key, {}).setdefault(value)

    for family in families:
        every = f"{family.name}:"
        for spec in family.specs:
            note("--size-in-billions", f"{spec.size_in_billions:g}", every)
            note("--model-format", spec.format, every)
            for quantization in spec.quantizations:
                if _safe(quantization):
                    note("--quantization", quantization, every, f"{every}{spec.format}")
    made = {flag: {key: tuple(values) for key, values in keys.items()} for flag, keys in found.items()}
    for flag, keys in made.items():
        keys[""] = tuple(sorted(keys[""], key=float if flag == "--size-in-billions" else str))
    return made
