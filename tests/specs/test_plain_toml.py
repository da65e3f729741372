"""Plainly written TOML reads as tomllib reads it, or is left to tomllib."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.catalog import BUNDLED
from specs.readers import plain_toml

TEXTS = tuple(path.read_text(encoding="utf-8") for path in sorted(BUNDLED.glob("*.toml")))
LINES = (
    'name = "a"',
    'name = ""',
    "name = 8",
    "name = 1.5",
    "name = 08",
    "name = true",
    'name = ["a", "b, c"]',
    'name = ["a", 1]',
    "name = []",
    'name = ["a",]',
    'name = [ "a" ]',
    "name = [[1]]",
    'name = { a = ["b"], "c.d" = [] }',
    "name = { a = [], a = [] }",
    "name = {}",
    'name = "a" # said',
    'name = "a"b"',
    'name = "\u2028é"',
    'name = "\\u0041"',
    'name = "tab\there"',
    "name = 'a'",
    'name = """',
    'other = "x = y"',
    'other = [\n    "a", "b",\n    "c",\n]',
    'other = [\n    "a",\n    "b"\n]',
    "other = 2026-01-02",
    "a.b = 1",
    '"a.b" = 1',
    '"" = 1',
    "= 1",
    "a=1",
    "# a = 1",
    "",
    "[name]",
    "[[name]]",
    "[a]",
    "[a.b]",
    "[name.b]",
    "[[a]]",
    "[[a.b]]",
    "[a.b.c]",
    "[[a.b.c]]",
    "[a]]",
    "[[a]",
    "[ a ]",
    "[a..b]",
    '["a.b"]',
    "[a] # said",
    "nonsense",
)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.split('"', 2)[1])
def test_every_bundled_file_is_written_plainly_and_reads_the_same(text):
    assert plain_toml.read(text) == tomllib.loads(text)


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=9))
def test_lines_in_any_order_read_as_tomllib_reads_them(lines):
    agrees("\n".join(lines))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_bundled_file_with_a_change_anywhere_reads_as_tomllib_reads_it(data):
    text = data.draw(st.sampled_from(TEXTS))
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 40))
    put = data.draw(st.text(st.sampled_from('"[]{}=, .\n#_-01aA\t\\é'), max_size=6))
    agrees(text[:at] + put + text[at + cut :])


@given(st.text())
def test_any_text_is_read_the_same_or_left_to_tomllib(text):
    agrees(text)


def agrees(text):
    """What is read is what tomllib reads; where tomllib refuses, nothing is read."""
    ours = plain_toml.read(text)
    if ours is None:
        return
    theirs = tomllib.loads(text)
    assert ours == theirs
    assert repr(ours) == repr(theirs)  # 1 and True and 1.0 are equal to Python
