"""Markdown cut into pieces while it comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style
from textual.color import Color

from tui.widgets.markdown_lines import draw, fitted
from tui.widgets.markdown_pieces import LONGEST_LINE, Piece, PieceStream, split
from tui.widgets.palette import Palette

PALETTE = Palette({"foreground": "#ffffff", "primary": "#0000ff"}, Color.parse("#000000"))
SAMPLE = """\
# Title

Words with **bold**
and a second line.

- one
- two
  - deeper

1. first

```python
def f():
    return 1
```

> said
> so

| a | b |
|---|--:|
| 1 | 2 |

$$
x^2
$$

---
"""


def kinds(text: str) -> list[str]:
    return [piece.kind for piece in split(text)]


def text_of(pieces: list[Piece], width: int = 60) -> list[str]:
    return ["".join(s.text for s in line).rstrip() for piece in pieces for line in draw(piece, width, PALETTE)]


def test_every_kind_of_block_is_seen() -> None:
    assert kinds(SAMPLE) == [
        "heading", "text", "item", "item", "item", "item", "code", "quote", "table", "math", "rule",
    ]  # fmt: skip


@given(st.lists(st.integers(1, 12), min_size=1, max_size=60))
def test_the_pieces_do_not_depend_on_how_the_text_arrives(lengths: list[int]) -> None:
    stream = PieceStream()
    at = 0
    for length in lengths:
        stream.feed(SAMPLE[at : at + length])
        stream.rest()
        at += length
    stream.feed(SAMPLE[at:])
    stream.finish()
    assert stream.pieces == split(SAMPLE)


def test_the_open_rest_looks_like_the_finished_text_so_far() -> None:
    for end in range(len(SAMPLE)):
        stream = PieceStream(SAMPLE[:end])
        open_fence = SAMPLE[:end].count("```") == 1
        shown = text_of([*stream.pieces, *stream.rest()])
        finished = text_of(split(SAMPLE[:end]))
        if open_fence:
            finished = finished[: len(shown)]
        assert shown == finished


def test_finished_pieces_never_change_while_more_comes() -> None:
    stream = PieceStream()
    seen: list[Piece] = []
    for character in SAMPLE:
        stream.feed(character)
        assert stream.pieces[: len(seen)] == seen
        seen = list(stream.pieces)


def test_what_is_drawn_again_stays_small_in_a_long_fence() -> None:
    stream = PieceStream("```python\n")
    for n in range(2_000):
        stream.feed(f"x = {n}\n")
        assert sum(len(piece.lines) for piece in stream.rest()) <= 26
    assert sum(len(piece.lines) for piece in stream.pieces) >= 1_970


def test_a_closed_fence_becomes_one_piece_of_the_same_height() -> None:
    code = "\n".join(f"x = {n}" for n in range(100))
    stream = PieceStream(f"before\n\n```python\n{code}\n")
    height = len(text_of([*stream.pieces, *stream.rest()]))
    stream.feed("```\n")
    assert stream.merged_from == 1
    assert [piece.kind for piece in stream.pieces] == ["text", "code"]
    assert len(text_of(stream.pieces)) == height + 1


def test_a_million_characters_without_a_newline_are_cut_into_short_pieces() -> None:
    pieces = split("word " * 200_000)
    assert max(len(line) for piece in pieces for line in piece.lines) <= LONGEST_LINE
    assert "".join(line for piece in pieces for line in piece.lines).replace(" ", "") == "word" * 200_000


def test_a_table_of_500_columns_is_shown_as_text() -> None:
    row = "|" + "a|" * 500
    lines = text_of(split(f"{row}\n|{'-|' * 500}\n{row}\n"), 80)
    assert all(len(line) <= 80 for line in lines)
    assert "".join(lines).count("a") == 1_000


def test_a_table_cut_in_parts_keeps_its_columns_in_line() -> None:
    rows = "".join(f"| {n} | {'x' * (n % 30)} |\n" for n in range(120))
    pieces = split(f"| number | value |\n|---|---|\n{rows}")
    assert len(pieces) > 1
    bars = {line.index("│") for line in text_of(pieces) if "│" in line}
    assert len(bars) == 1


def test_a_broken_table_stays_text() -> None:
    assert kinds("| a | b |\n| c | d |\n") == ["text"]
    assert kinds("| a | b |\n|---|\n") == ["text"]


def test_an_unclosed_fence_keeps_what_came() -> None:
    assert text_of(split("```\none\ntwo")) == ["", " one", " two", ""]


def test_code_inside_a_list_keeps_its_place() -> None:
    piece = split("1. do\n\n   ```sh\n   ls\n   ```\n")[1]
    assert (piece.kind, piece.indent, piece.lines) == ("code", 3, ("ls",))


@given(st.text(st.sampled_from("ab `*_|-#>$\\[]()\n1.~é中"), max_size=400), st.integers(4, 90))
def test_no_line_is_wider_than_asked(text: str, width: int) -> None:
    from rich.cells import cell_len

    for piece in split(text):
        for line in draw(piece, width, PALETTE):
            assert sum(cell_len(segment.text) for segment in line) <= max(width, 6) + 2


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(40, 200))
def test_table_columns_fit_their_room(natural: list[int], room: int) -> None:
    assert sum(fitted(tuple(natural), room)) <= max(room, 3 * len(natural))


def test_maths_is_readable_text() -> None:
    assert text_of(split(r"So \(\alpha \times 10^{-4}\) and $\frac{1}{2}$ cost $5 or $6.")) == [
        "So α × 10⁻⁴ and 1/2 cost $5 or $6."
    ]


def test_a_link_says_where_it_leads() -> None:
    assert text_of(split("[bank](https://evil.example)")) == ["bank (https://evil.example)"]


def test_styles_are_those_of_the_palette() -> None:
    [line] = draw(split("**x**")[0], 20, PALETTE)
    assert line[0].style == PALETTE.text + Style(bold=True)


def test_the_space_that_a_template_leaves_before_an_answer_is_no_indent() -> None:
    assert [piece.indent for piece in split(" An answer.\n\n- item\n\n  of the item\n")] == [0, 0, 2]
