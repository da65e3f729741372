"""The README's promises: every command is in its list, and its keys are ones that exist."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from specs.engines import RULES, Rule
from tui.cli.arguments import COMMANDS

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_every_command_is_told_of() -> None:
    (synopsis,) = re.findall(r"```text\n(modeldeck  .*?)```", README, re.DOTALL)
    assert set(re.findall(r"^modeldeck ([a-z]+)", synopsis, re.MULTILINE)) == set(COMMANDS) - {"pull"}


def test_every_flag_of_the_list_is_one_of_its_command() -> None:
    from tui.cli.arguments import parser

    (synopsis,) = re.findall(r"```text\n(modeldeck  .*?)```", README, re.DOTALL)
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    named = re.findall(r"^modeldeck ([a-z]+)(.*(?:\n .*)*)", synopsis, re.MULTILINE)
    assert len(named) > 10
    for command, rest in named:
        known = {flag for action in commands.choices[command]._actions for flag in action.option_strings}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, command


def test_the_keys_of_the_table_exist() -> None:
    from tui.keys import GUIDE

    names = {"slash": "/", "question_mark": "?", "left_square_bracket": "[", "right_square_bracket": "]"}
    known = {names.get(key, key) for _, group in GUIDE for binding in group for key in binding.key.split(",")}
    table = README[README.index("## Keys") :].removeprefix("## ").partition("\n## ")[0]
    told = [key for line in table.splitlines() if line.startswith("| ") for key in re.findall(r"`([^`]+)`", line)]
    assert len(told) > 30
    assert set(told) <= known | {"esc"}


def engine_rows() -> list[list[str]]:
    table = README.split("| engine | format |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.engine} {rule.format}")
def test_every_engine_and_format_has_its_row(rule: Rule) -> None:
    rows = [row for row in engine_rows() if row[0] == rule.engine and re.search(rf"\b{rule.format}\b", row[1])]
    assert rows


@pytest.mark.parametrize("row", engine_rows(), ids=lambda row: f"{row[0]} {row[1]}")
def test_every_cell_says_whether_it_was_tested(row: list[str]) -> None:
    assert len(row) == 5
    for cell in row[2:]:
        assert "tested" in cell or cell == "does not run"
