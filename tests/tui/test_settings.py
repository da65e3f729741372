"""The settings: what a user may write, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.settings import Settings, commented_example, load_settings


def settings(tmp_path: Path, content: str | bytes, **environment: str) -> Settings:
    path = tmp_path / "config.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_settings(path, environment)


def test_without_a_file_every_key_has_its_default(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "config.toml", {}) == Settings()


def test_the_example_changes_nothing_as_it_stands(tmp_path: Path) -> None:
    assert settings(tmp_path, commented_example()) == Settings()


def test_every_line_of_the_example_can_be_switched_on(tmp_path: Path) -> None:
    lines = commented_example().splitlines()
    live = [line.removeprefix("# ") for line in lines if " = " in line or line == "# [keys]"]
    loaded = settings(tmp_path, "\n".join(live))
    assert loaded.problems == ()
    assert loaded.context == 8192
    assert loaded.keys == {"matrix.download": "d,insert"}


def test_a_wrong_key_is_named_with_the_nearest_right_one(tmp_path: Path) -> None:
    (problem,) = settings(tmp_path, 'them = "nord"').problems
    assert problem.endswith("config.toml: them: there is no such key; did you mean theme?")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("context = 'long'", "a whole number"),
        ("context = true", "a whole number"),
        ("kv_cache_type = 'q5'", "one of f16, q8_0, q4_0"),
        ("mouse = 'maybe'", "true or false"),
        ("library_folders = '/models'", "a list of folders"),
        ("theme = 7", "a word in quotes"),
        ("parallel_downloads = 100", "from 1 to 8"),
        ("keys = 'd'", "a table"),
    ],
)
def test_a_wrong_value_keeps_the_default_and_says_what_was_expected(tmp_path: Path, line: str, expected: str) -> None:
    loaded = settings(tmp_path, line)
    (problem,) = loaded.problems
    assert expected in problem
    assert loaded == Settings(problems=loaded.problems)


@pytest.mark.parametrize("content", [b"theme = ", b"\xff\xfe", b"x" * (1 << 21), b"[[["])
def test_a_file_that_is_no_configuration_is_one_problem_and_no_crash(tmp_path: Path, content: bytes) -> None:
    loaded = settings(tmp_path, content)
    assert len(loaded.problems) == 1
    assert "config.toml" in loaded.problems[0]


def test_variables_stand_above_the_file(tmp_path: Path) -> None:
    loaded = settings(
        tmp_path,
        "context = 4096\nmouse = true",
        MODELDECK_CONTEXT="16384",
        MODELDECK_MOUSE="off",
        MODELDECK_LIBRARY_FOLDERS="/a:/b",
    )
    assert (loaded.context, loaded.mouse) == (16384, False)
    assert loaded.library_folders == (Path("/a"), Path("/b"))


def test_a_misspelt_variable_is_named_and_strange_ones_are_left_alone(tmp_path: Path) -> None:
    loaded = settings(tmp_path, "", MODELDECK_THEEM="nord", MODELDECK_HOME="/x", MODELDECK_XYZZY="1")
    assert loaded.problems == ("MODELDECK_THEEM: there is no such setting; did you mean MODELDECK_THEME?",)


def test_keys_may_be_written_as_nested_tables(tmp_path: Path) -> None:
    assert settings(tmp_path, '[keys]\nmatrix.download = "f5"').keys == {"matrix.download": "f5"}


def test_one_key_cannot_both_send_and_start_a_line(tmp_path: Path) -> None:
    loaded = settings(tmp_path, 'send_key = "ctrl+j"\nnewline_key = "ctrl+j"')
    assert (loaded.send_key, loaded.newline_key) == ("enter", "alt+enter")
    assert len(loaded.problems) == 1
