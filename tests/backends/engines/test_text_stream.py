"""Bytes of tokens become whole characters, and end at a stop string."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.engines.text_stream import TextStream

FAMILY = "👩‍👩‍👧‍👦"
"""Four people joined by zero-width joiners: 25 bytes, 7 code points."""


def cut(data: bytes, step: int) -> list[bytes]:
    return [data[at : at + step] for at in range(0, len(data), step)]


@given(st.text(max_size=60), st.integers(1, 7))
def test_text_comes_out_whole_however_its_bytes_are_cut(text: str, step: int) -> None:
    stream = TextStream()
    pieces = [stream.feed(piece) for piece in cut(text.encode("utf-8", "surrogatepass"), step)]
    joined = "".join([*pieces, stream.finish()])
    assert joined == text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def test_half_a_character_is_never_handed_out() -> None:
    stream = TextStream()
    pieces = [stream.feed(piece) for piece in cut(f"日本 {FAMILY}".encode(), 1)]
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pieces)
    assert "".join(pieces) == f"日本 {FAMILY}"


def test_a_character_that_is_never_finished_becomes_the_replacement_character() -> None:
    stream = TextStream()
    assert stream.feed("é".encode()[:1]) == ""
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


@given(
    st.text("abST\n", max_size=40), st.lists(st.text("abST\n", min_size=1, max_size=4), max_size=3), st.integers(1, 5)
)
def test_nothing_is_lost_before_the_first_stop_string_and_nothing_comes_after(
    text: str, stops: list[str], step: int
) -> None:
    stream = TextStream(stops)
    given_out = "".join(stream.feed(piece) for piece in cut(text.encode(), step)) + stream.finish()
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    assert stream.stopped == bool(found)
    if found:
        # A longer stop string may begin before a shorter one ends; which one is met first depends on the cuts.
        assert text.startswith(given_out)
        assert not any(stop in given_out for stop in stops)
        assert len(given_out) <= max(found)
    else:
        assert given_out == text


def test_a_stop_string_across_two_tokens_is_found() -> None:
    stream = TextStream(["\nUser:"])
    assert stream.feed(b"Yes.\nUs") == "Yes."
    assert stream.feed(b"er: more") == ""
    assert stream.stopped


def test_text_that_only_looked_like_a_stop_string_is_handed_out() -> None:
    stream = TextStream(["\nUser:"])
    assert stream.feed(b"Yes.\nUs") + stream.feed(b"ually") == "Yes.\nUsually"
