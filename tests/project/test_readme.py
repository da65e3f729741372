"""The README's promises: its commands are ones that the app takes, its settings and its spec file are read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from specs.catalog import read_spec_file
from specs.engines import RULES, Rule
from tui.cli.arguments import COMMANDS, parser
from tui.settings import load_settings

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def examples() -> list[str]:
    return [line.rpartition("| ")[2] for block in blocks("sh") for line in block.splitlines()]


@pytest.mark.parametrize("line", examples())
def test_every_example_is_one_that_the_command_line_takes(line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == "modeldeck"
    assert parser().parse_args(arguments).command


def test_every_command_is_told_of() -> None:
    told = set(re.findall(r"^    modeldeck (\w+)", README, re.MULTILINE))
    assert told == set(COMMANDS) - {"pull"}


def test_the_settings_are_ones_that_exist(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(next(block for block in blocks("toml") if "kv_cache_type" in block))
    assert load_settings(path, {}).problems == ()


def test_the_spec_file_is_one_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "my-model.toml"
    path.write_text(next(block for block in blocks("toml") if "size_in_billions" in block))
    (family,) = read_spec_file(path)
    assert len(list(family.variants())) == 2


def test_the_binding_ids_and_keys_of_the_settings_exist() -> None:
    from tui.keys import GUIDE

    known = {binding.id for _, group in GUIDE for binding in group}
    for name in re.findall(r'^"([\w.-]+)" = ', README, re.MULTILINE):
        assert name in known


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
