"""The command `completion`: a script that completes modeldeck's words in bash, zsh or fish.

The script holds all its words, so that completing starts no Python: commands and flags from the grammar, families and
their quantizations from the catalog as it stood when the script was made.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/@-]*")
"""Words that no shell takes for anything else; a spec file may hold others, and those are left out."""
FAMILY_COMMANDS: Final = ("show", "fit", "download", "pull", "bench", "list")
"""Commands whose first word is a family."""


def completion(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from tui.cli import choose
    from tui.cli.arguments import parser

    catalog = choose.catalog(arguments)
    families = {
        one.name: tuple(dict.fromkeys(name for spec in one.specs for name in spec.quantizations if _safe(name)))
        for one in catalog.families
        if _safe(one.name)
    }
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell]
    print(make(_commands(parser()), families), end="")
    return 0


@dataclass(frozen=True, slots=True)
class _Flag:
    """One flag of one command."""

    name: str
    takes: bool
    """Whether a value follows."""
    choices: tuple[str, ...]
    """Values that it may have; (): any, or none."""
    what: str


@dataclass(frozen=True, slots=True)
class _Command:
    """One command, or the program itself without one."""

    name: str
    what: str
    flags: tuple[_Flag, ...]
    words: tuple[str, ...]
    """What its first word may be, as scan and verify; (): anything."""


def _safe(word: str) -> bool:
    return SAFE.fullmatch(word) is not None


def _commands(top: argparse.ArgumentParser) -> list[_Command]:
    found = [_command("", "", top)]
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            found += [
                _command(name, helps.get(name, inner.description or ""), inner)
                for name, inner in action.choices.items()
            ]
    return found


def _command(name: str, what: str, grammar: argparse.ArgumentParser) -> _Command:
    flags: list[_Flag] = []
    words: tuple[str, ...] = ()
    for action in grammar._actions:
        choices = _choices(action)
        if isinstance(action, argparse._SubParsersAction):
            continue
        flags += [
            _Flag(flag, action.nargs != 0, choices, action.help or "")
            for flag in action.option_strings
            if flag.startswith("--")
        ]
        if not action.option_strings and not words:
            words = choices
    return _Command(name, what, tuple(flags), words)


def _choices(action: argparse.Action) -> tuple[str, ...]:
    from specs import extensions

    if action.choices is not None:
        return tuple(str(one) for one in action.choices)
    return extensions.engines() if action.dest == "engine" else ()


def _quantizations(families: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in families.values() for name in names}))


def _by_command(commands: Sequence[_Command], indent: str, line: str) -> Iterable[str]:
    """A shell's case lines that put a command's words into place."""
    for one in commands[1:]:
        yield f"{indent}{one.name}) " + line.format(" ".join((*one.words, *(flag.name for flag in one.flags)))) + " ;;"


def _values(commands: Sequence[_Command]) -> dict[str, tuple[str, ...]]:
    """By flag its values; where commands differ, all of them."""
    found: dict[str, tuple[str, ...]] = {}
    for command in commands:
        for flag in command.flags:
            if flag.takes:
                found[flag.name] = tuple(dict.fromkeys((*found.get(flag.name, ()), *flag.choices)))
    return found


def _body(commands: Sequence[_Command], *, files: str) -> list[str]:
    """What bash and zsh share: command, family and the words that may stand here, in $words_here."""
    takers = "|".join(flag for flag in _values(commands))
    names = "|".join(one.name for one in commands[1:])
    lines = [
        "    local command='' family='' words_here='' word skip='' ",
        '    for word in "${before[@]}"; do',
        '        if [ -n "$skip" ]; then',
        '            [ "$skip" = --model-name ] && family=$word',
        "            skip=''",
        "            continue",
        "        fi",
        '        case "$word" in',
        f"            {takers}) skip=$word ;;",
        "            -*) ;;",
        f'            {names}) if [ -z "$command" ]; then command=$word; else family=$word; fi ;;',
        '            *) [ -n "$command" ] && [ -z "$family" ] && family=$word ;;',
        "        esac",
        "    done",
        '    case "$skip" in',
        "        '') ;;",
        '        --quantization) _modeldeck_quantizations "$family"; words_here=$found ;;',
        '        --model-name) words_here="$_modeldeck_families" ;;',
    ]
    for flag, values in _values(commands).items():
        if values and flag not in {"--quantization", "--model-name"}:
            lines.append(f"        {flag}) words_here='{' '.join(values)}' ;;")
    lines += [
        f"        *) {files}; return ;;",
        "    esac",
        '    if [ -z "$skip" ]; then',
        '        case "$command" in',
        f"            '') words_here='{' '.join([one.name for one in commands[1:]])} "
        f"{' '.join(flag.name for flag in commands[0].flags)}' ;;",
        *_by_command(commands, "            ", "words_here='{}'"),
        "        esac",
        '        case "$command" in',
        f'            {"|".join(FAMILY_COMMANDS)}) [ -z "$family" ] && '
        'words_here="$words_here $_modeldeck_families" ;;',
        "        esac",
        "    fi",
    ]
    return lines


def _data(families: Mapping[str, Sequence[str]]) -> list[str]:
    lines = [
        f"_modeldeck_families='{' '.join(families)}'",
        "",
        "_modeldeck_quantizations() {",
        '    case "$1" in',
    ]
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, quantizations in families.items():
        alike.setdefault(tuple(quantizations), []).append(name)
    lines += [
        f"        {'|'.join(names)}) found='{' '.join(quantizations)}' ;;" for quantizations, names in alike.items()
    ]
    lines += [f"        *) found='{' '.join(_quantizations(families))}' ;;", "    esac", "}", ""]
    return lines


def _bash(commands: Sequence[_Command], families: Mapping[str, Sequence[str]]) -> str:
    lines = [
        "# for bash: modeldeck completion bash > ~/.local/share/bash-completion/completions/modeldeck",
        *_data(families),
        "_modeldeck() {",
        '    local current=${COMP_WORDS[COMP_CWORD]} found=""',
        '    local before=("${COMP_WORDS[@]:1:COMP_CWORD-1}")',
        *_body(commands, files='COMPREPLY=($(compgen -f -- "$current"))'),
        '    COMPREPLY=($(compgen -W "$words_here" -- "$current"))',
        '    [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "$current"))',
        "}",
        "",
        "complete -F _modeldeck modeldeck",
    ]
    return "\n".join(lines) + "\n"


def _zsh(commands: Sequence[_Command], families: Mapping[str, Sequence[str]]) -> str:
    lines = [
        "#compdef modeldeck",
        "# modeldeck's words for zsh: modeldeck completion zsh > a folder of $fpath/_modeldeck",
        *_data(families),
        "_modeldeck() {",
        "    local found=''",
        '    local -a before; before=("${(@)words[2,CURRENT-1]}")',
        *_body(commands, files="_files"),
        "    compadd -- ${=words_here} || _files",
        "}",
        "",
        'if [ "$funcstack[1]" = _modeldeck ]; then _modeldeck "$@"; else compdef _modeldeck modeldeck; fi',
    ]
    return "\n".join(lines) + "\n"


def _fish(commands: Sequence[_Command], families: Mapping[str, Sequence[str]]) -> str:
    def said(text: str) -> str:
        words = " ".join(text.replace("%(default)s", "").split())
        return "'" + words.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = [
        "# modeldeck's words for fish: modeldeck completion fish > ~/.config/fish/completions/modeldeck.fish",
        f"set -g __modeldeck_families {' '.join(families)}",
        "",
        "function __modeldeck_quantizations",
        "    set -l words (commandline -opc)",
        "    for word in $words[2..-1]",
        "        switch $word",
        *(
            f"            case {name}\n                printf '%s\\n' {' '.join(names)}\n                return"
            for name, names in families.items()
            if names
        ),
        "        end",
        "    end",
        f"    printf '%s\\n' {' '.join(_quantizations(families))}",
        "end",
        "",
        "complete -c modeldeck -f",
    ]
    for one in commands[1:]:
        lines.append(f"complete -c modeldeck -n __fish_use_subcommand -a {one.name} -d {said(one.what)}")
        here = f"'__fish_seen_subcommand_from {one.name}'"
        if one.words:
            lines.append(f"complete -c modeldeck -n {here} -a '{' '.join(one.words)}'")
        if one.name in FAMILY_COMMANDS:
            lines.append(f"complete -c modeldeck -n {here} -a '$__modeldeck_families'")
        lines += [_fish_flag(flag, f"-n {here}", said(flag.what)) for flag in one.flags]
    lines += [_fish_flag(flag, "-n __fish_use_subcommand", said(flag.what)) for flag in commands[0].flags]
    return "\n".join(lines) + "\n"


def _fish_flag(flag: _Flag, here: str, what: str) -> str:
    line = f"complete -c modeldeck {here} -l {flag.name.removeprefix('--')} -d {what}"
    if flag.name == "--quantization":
        return f"{line} -x -a '(__modeldeck_quantizations)'"
    if flag.name == "--model-name":
        return f"{line} -x -a '$__modeldeck_families'"
    if flag.choices:
        return f"{line} -x -a '{' '.join(flag.choices)}'"
    return f"{line} -r -F" if flag.takes else line
