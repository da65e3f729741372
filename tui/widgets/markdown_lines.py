"""Drawing one piece of Markdown to lines of segments; no state, no widget."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from tui.widgets.inline import Run, breaks, readable_math, runs, wrapped, wrapped_plain
from tui.widgets.markdown_pieces import Piece, cells, natural_widths, split
from tui.widgets.palette import STRONG, Palette

Line = list[Segment]

LONGEST_CODE = 60_000
"""Characters of one code piece that are highlighted; longer ones stay plain."""
_NARROWEST_COLUMN = 3


def draw(piece: Piece, width: int, palette: Palette, base: Style | None = None) -> list[Line]:
    """Lines of one piece, each at most so many cells wide, the gap above included."""
    base = base or palette.text
    width = max(4, width)
    if any("\t" in line for line in (*piece.lines, piece.mark)):
        lines_of_spaces = tuple(line.expandtabs(4) for line in piece.lines)
        piece = replace(piece, lines=lines_of_spaces, mark=piece.mark.expandtabs(1))
    indent = min(piece.indent, width // 3)
    lines = _DRAW[piece.kind](piece, width - indent, palette, base)
    if indent:
        lead = Segment(" " * indent, base)
        lines = [[lead, *line] for line in lines]
    if piece.gap:
        lines.insert(0, [])
    return lines


def _text(piece: Piece, width: int, palette: Palette, base: Style) -> list[Line]:
    return wrapped(runs("\n".join(piece.lines)), width, palette, base)


def _heading(piece: Piece, width: int, palette: Palette, base: Style) -> list[Line]:
    level = len(piece.mark)
    style = palette.heading if level <= 3 else base + Style(bold=True)
    lines = wrapped(runs(piece.lines[0]), width, palette, style)
    if level == 1:
        longest = max((sum(cell_len(s.text) for s in line) for line in lines), default=0)
        lines.append([Segment("─" * min(longest, width), palette.rule)])
    return lines


def _rule(_piece: Piece, width: int, palette: Palette, _base: Style) -> list[Line]:
    return [[Segment("─" * width, palette.rule)]]


def _item(piece: Piece, width: int, palette: Palette, base: Style) -> list[Line]:
    mark = {"-": "•", "*": "•", "+": "•", "[ ]": "☐", "[x]": "☑"}.get(piece.mark, piece.mark)
    lead = cell_len(mark) + 1
    lines = wrapped(runs("\n".join(piece.lines)), max(4, width - lead), palette, base)
    hang = Segment(" " * lead, base)
    return [[Segment(mark + " ", palette.bullet) if n == 0 else hang, *line] for n, line in enumerate(lines)]


def _quote(piece: Piece, width: int, palette: Palette, _base: Style) -> list[Line]:
    lines: list[Line] = []
    # A quote inside a quote has a bar of its own, as deep as the width allows.
    for inner in split("\n".join(piece.lines)):
        lines.extend(
            draw(inner, width - 2, palette, palette.muted)
            if width > 24
            else _text(inner, width - 2, palette, palette.muted)
        )
    bar = Segment("▎ ", palette.rule)
    return [[bar, *line] for line in lines]


def _math(piece: Piece, width: int, palette: Palette, base: Style) -> list[Line]:
    style = palette.inline(32, base)
    return [
        [Segment("  ", base), *line]
        for source in piece.lines
        for line in wrapped_plain(readable_math(source), width - 2, style)
    ]


def _code(piece: Piece, width: int, palette: Palette, _base: Style) -> list[Line]:
    inner = width - 2
    lines: list[Line] = []
    pad = Segment(" ", palette.raised)
    if piece.first:
        label = piece.mark[: max(0, inner)]
        lines.append([Segment(f" {label}".ljust(width), palette.raised_muted)])
    for line in _highlighted("\n".join(piece.lines), piece.mark, palette):
        text = "".join(segment.text for segment in line)
        for part in _cut_segments(line, breaks_hard(text, inner)):
            used = sum(cell_len(segment.text) for segment in part)
            lines.append([pad, *part, Segment(" " * (width - 1 - used), palette.raised)])
    if piece.last:
        lines.append([Segment(" " * width, palette.raised)])
    return lines


def breaks_hard(text: str, width: int) -> list[int]:
    """Offsets every width cells: code is cut where the line ends, not at words."""
    if text.isascii():
        return list(range(width, len(text), width)) if len(text) > width else []
    offsets: list[int] = []
    column = 0
    for index, character in enumerate(text):
        size = cell_len(character)
        if column + size > width:
            offsets.append(index)
            column = 0
        column += size
    return offsets


def _cut_segments(line: Line, offsets: list[int]) -> list[Line]:
    if not offsets:
        return [line]
    parts: list[Line] = [[]]
    at = 0
    cuts = [*offsets, 1 << 60]
    cut = 0
    for text, style, _ in line:
        rest = text
        while at + len(rest) > cuts[cut]:
            head = rest[: cuts[cut] - at]
            if head:
                parts[-1].append(Segment(head, style))
            parts.append([])
            at += len(head)
            rest = rest[len(head) :]
            cut += 1
        if rest:
            parts[-1].append(Segment(rest, style))
            at += len(rest)
    return parts


@lru_cache(maxsize=64)
def _lexer(language: str) -> Any | None:
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped,unused-ignore]
    from pygments.util import ClassNotFound  # type: ignore[import-untyped,unused-ignore]

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _highlighted(code: str, language: str, palette: Palette) -> list[Line]:
    lexer = _lexer(language.lower()) if language and len(code) <= LONGEST_CODE else None
    if lexer is None:
        return [[Segment(line, palette.raised)] if line else [] for line in code.split("\n")]
    lines: list[Line] = [[]]
    for kind, text in lexer.get_tokens(code):
        style = palette.token(str(kind))
        first, *rest = text.split("\n")
        if first:
            lines[-1].append(Segment(first, style))
        lines.extend([Segment(part, style)] if part else [] for part in rest)
    return lines


def _table(piece: Piece, width: int, palette: Palette, base: Style) -> list[Line]:
    head, delimiter, rows = (
        (piece.header[0], piece.header[1], piece.lines)
        if piece.header
        else (piece.lines[0], piece.lines[1], piece.lines[2:])
    )
    titles = cells(head)
    table = [cells(row) for row in rows]
    columns = len(titles)
    if columns * (_NARROWEST_COLUMN + 3) > width + 3:
        return [line for row in piece.lines for line in wrapped_plain(row, width, base)]
    widths = fitted(piece.widths or natural_widths([titles, *table]), width - 3 * (columns - 1))
    aligns = [_align(cell) for cell in cells(delimiter)]
    lines: list[Line] = []
    if not piece.header:
        strong = [tuple((text, bits | STRONG) for text, bits in runs(cell)) for cell in titles]
        lines.extend(_row(strong, widths, aligns, palette, base))
        lines.append([Segment("─┼─".join("─" * w for w in widths), palette.rule)])
    for row in table:
        filled = (row + [""] * columns)[:columns]
        lines.extend(_row([runs(cell) for cell in filled], widths, aligns, palette, base))
    return lines


def _align(cell: str) -> str:
    if cell.endswith(":"):
        return "center" if cell.startswith(":") else "right"
    return "left"


def _row(row: list[tuple[Run, ...]], widths: list[int], aligns: list[str], palette: Palette, base: Style) -> list[Line]:
    bar = Segment(" │ ", palette.rule)
    columns = [wrapped(cell, width, palette, base) for cell, width in zip(row, widths, strict=True)]
    lines: list[Line] = []
    for n in range(max(len(column) for column in columns)):
        line: Line = []
        for index, (column, width) in enumerate(zip(columns, widths, strict=True)):
            part = column[n] if n < len(column) else []
            room = width - sum(cell_len(segment.text) for segment in part)
            align = aligns[index] if index < len(aligns) else "left"
            before = room if align == "right" else room // 2 if align == "center" else 0
            if index:
                line.append(bar)
            if before:
                line.append(Segment(" " * before, base))
            line.extend(part)
            if room - before > 0:
                line.append(Segment(" " * (room - before), base))
        lines.append(line)
    return lines


def fitted(natural: tuple[int, ...], room: int) -> list[int]:
    """Column widths that add up to at most room: the widest give first."""
    widths = [max(_NARROWEST_COLUMN, width) for width in natural]
    excess = sum(widths) - room
    while excess > 0:
        widest = max(widths)
        if widest <= _NARROWEST_COLUMN:
            break
        next_widest = max((w for w in widths if w < widest), default=_NARROWEST_COLUMN)
        at = [i for i, w in enumerate(widths) if w == widest]
        take = min(widest - max(next_widest, _NARROWEST_COLUMN), -(-excess // len(at)))
        take = max(1, take)
        for i in at:
            give = min(take, excess)
            widths[i] -= give
            excess -= give
            if excess <= 0:
                break
    return widths


_DRAW = {
    "text": _text,
    "heading": _heading,
    "rule": _rule,
    "item": _item,
    "quote": _quote,
    "code": _code,
    "table": _table,
    "math": _math,
}

__all__ = ["breaks", "draw"]
