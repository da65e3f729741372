"""The memory bar: what one load takes, by part, against what its place has to give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.style import Style

from tui import units
from tui.glyphs import Glyphs
from tui.widgets.lines import Piece

if TYPE_CHECKING:
    from backends.memory.estimate import MemoryEstimate

PARTS = (
    ("weights", "weights_bytes"),
    ("KV cache", "kv_cache_bytes"),
    ("compute", "compute_bytes"),
    ("overhead", "overhead_bytes"),
)
"""Parts of an estimate in the order of the bar: the word, and the field."""


def part_bytes(estimate: MemoryEstimate) -> list[tuple[str, int | None]]:
    """Words and bytes of the parts, in the bar's order."""
    return [(word, getattr(estimate, field)) for word, field in PARTS]


def part_cells(estimate: MemoryEstimate, scale_bytes: int, width: int) -> list[int]:
    """Cells of each part on a bar of so many cells that stands for scale_bytes.

    Parts end where their sum so far ends, so that rounding never adds up; a part that takes memory has a cell.
    """
    cells: list[int] = []
    end_bytes = 0
    end = 0
    for _, taken in part_bytes(estimate):
        end_bytes += taken or 0
        stop = round(end_bytes * width / scale_bytes) if scale_bytes else 0
        length = max(stop - end, 1 if taken else 0)
        length = min(length, width - end)
        cells.append(max(0, length))
        end += cells[-1]
    return cells


def bar_pieces(
    estimate: MemoryEstimate, budget_bytes: int | None, width: int, signs: Glyphs, styles: Mapping[str, Style]
) -> list[Piece]:
    """The bar in so many cells, its ends included; beyond the budget's mark it shows what is too much."""
    inner = max(1, width - 2)
    needed = estimate.total_bytes
    scale = max(needed, budget_bytes or needed, 1)
    hatches = (signs.weights, signs.kv_cache, signs.compute, signs.overhead)
    cells = part_cells(estimate, scale, inner)
    picture = "".join(hatch * count for hatch, count in zip(hatches, cells, strict=True))
    owner = [word for (word, _), count in zip(PARTS, cells, strict=True) for _ in range(count)]
    pieces: list[Piece] = [(signs.bar_start, styles["rule"])]
    limit = None
    if budget_bytes is not None and needed > budget_bytes:
        limit = min(inner - 1, round(budget_bytes * inner / scale))
    position = 0
    while position < len(picture):
        if position == limit:
            pieces.append((signs.limit, styles["limit"]))
            position += 1
            continue
        stop = position
        over = limit is not None and position > limit
        while stop < len(picture) and owner[stop] == owner[position] and stop != limit:
            stop += 1
        pieces.append((picture[position:stop], styles["over"] if over else styles[owner[position]]))
        position = stop
    pieces.append((signs.room * (inner - len(picture)), styles["track"]))
    pieces.append((signs.bar_end, styles["rule"]))
    return pieces


def legend_pieces(
    estimate: MemoryEstimate, signs: Glyphs, styles: Mapping[str, Style], gap: str = "   "
) -> list[Piece]:
    """The hatch, word and size of each part, all in the unit of their sum."""
    largest = estimate.total_bytes
    hatches = (signs.weights, signs.kv_cache, signs.compute, signs.overhead)
    pieces: list[Piece] = []
    for hatch, (word, taken) in zip(hatches, part_bytes(estimate), strict=True):
        pieces += [
            (f"{hatch} ", styles[word]),
            (f"{word} ", styles["muted"]),
            (f"{units.memory_like(taken, largest)}{gap}", styles["plain"]),
        ]
    return pieces
