"""`--help` of every command: it fits the terminal, leaves nothing unsaid, and its examples are right."""

from __future__ import annotations

import argparse
import shlex

import pytest

from tui.cli.arguments import COMMANDS, parser

CALLS = ["", *COMMANDS]


def grammar(command: str) -> argparse.ArgumentParser:
    top = parser()
    if not command:
        return top
    (commands,) = (one for one in top._actions if isinstance(one, argparse._SubParsersAction))
    made = commands.choices[command]
    assert isinstance(made, argparse.ArgumentParser)
    return made


def examples(text: str) -> list[list[str]]:
    """What stands after `modeldeck` in each example, without redirections."""
    lines = text.partition("examples:\n")[2].partition("\n\n")[0].replace("\\\n", " ").splitlines()
    return [shlex.split(line.partition("modeldeck ")[2].partition(" > ")[0]) for line in lines if "modeldeck" in line]


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize("columns", [80, 120])
def test_help_fits_the_terminal(command: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = grammar(command).format_help().splitlines()
    assert max(len(line) for line in lines) <= columns, max(lines, key=len)


@pytest.mark.parametrize("command", CALLS)
def test_every_flag_says_what_it_does(command: str) -> None:
    silent = [one.option_strings or one.dest for one in grammar(command)._actions if not one.help]
    assert silent == ([] if command else ["command"])  # the commands stand in a list of their own, with their help


@pytest.mark.parametrize("command", CALLS)
def test_every_example_is_a_right_call(command: str) -> None:
    found = examples(grammar(command).format_help())
    assert found
    for words in found:
        called = parser().parse_args(words).command
        assert not command or called == ("download" if command == "pull" else command)
