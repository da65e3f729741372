"""Spec files as they lie on a disk: sizes, encodings and kinds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specs.model import SpecError
from specs.reading import MAX_FILE_BYTES, MAX_LETTERS, check_spec_file, read_spec_file, read_text

SMALL = """\
name = "small"
[[models]]
size_in_billions = 1
[[models.specs]]
format = "pytorch"
quantizations = ["none"]
hubs.huggingface.id = "owner/name"
"""


def refused(path: Path) -> str:
    with pytest.raises(SpecError) as raised:
        read_spec_file(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("ending", [".toml", ".rst", ".json", ".txt"])
def test_a_file_of_50_mb_is_refused_before_it_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"big{ending}"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    assert refused(path) == f"{path}: this has 50,000,000 bytes, and no spec file has over {MAX_FILE_BYTES:,}"


def test_a_page_that_docutils_would_chew_on_for_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.rst"
    path.write_text("`" * (MAX_LETTERS[".rst"] + 1))
    assert "no .rst spec file has over 200,000" in refused(path)


def test_keys_of_hundreds_of_dots_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "dots.toml"
    path.write_text("x = 1\n" + "a." * 400_000 + "a = 1\n")
    assert refused(path) == f"{path}:2: expected a key of at most 40 dots"


def test_a_file_that_is_not_utf_8_names_the_byte_and_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'name = "x"\ndescription = "caf\xe9"\n')
    assert refused(path) == f"{path}:2: this is not UTF-8: byte 29 is 0xe9"


def test_weights_are_no_spec_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00\xff\xff\xff\xff")
    assert "not UTF-8" in refused(path)


def test_a_byte_order_mark_and_foreign_line_ends_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert read_spec_file(path)[0].name == "small"


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    assert "there is no such file" in refused(tmp_path / "none.toml")
    assert "this is a folder" in refused(tmp_path)
    assert "this is no file" in refused(pipe)
    assert "cannot be read" in refused(Path("a\0b.toml"))


def test_an_empty_file_says_what_is_missing(tmp_path: Path) -> None:
    for ending, what in ((".toml", "name is missing"), (".rst", "no model page"), (".json", "not JSON")):
        path = tmp_path / f"empty{ending}"
        path.touch()
        assert what in refused(path)


def test_the_path_is_the_source_unless_another_is_given(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    assert read_spec_file(path)[0].source == str(path)
    assert check_spec_file(path, "bundled").families[0].source == "bundled"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([".toml", ".rst", ".json", ".txt", ""]))
def test_no_bytes_raise_anything_but_a_spec_error(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"noise{ending}"
    path.write_bytes(content)
    try:
        read_spec_file(path)
    except SpecError as error:
        assert "\n" not in str(error)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet='[]{}"=.,:\n a1-*`_|', max_size=120), st.sampled_from([".toml", ".rst", ".json", ""]))
def test_no_text_of_brackets_raises_anything_but_a_spec_error(text: str, ending: str) -> None:
    try:
        read_text(text, "file", "file", ending)
    except SpecError as error:
        assert "\n" not in str(error)
