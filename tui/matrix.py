"""The fit matrix of a family as values: which variant stands in which row and column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specs.model import ModelFamily, Number, Variant


MAX_SHARED_COLUMNS = 8
"""Rows of unlike formats share a header up to so many columns; beyond it they get their own."""


@dataclass(frozen=True, slots=True)
class Row:
    """One size in one format; cells stand by column of the group, None where nothing is published."""

    size_in_billions: Number
    format: str
    cells: tuple[Variant | None, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under one header of quantizations."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


_BITS = re.compile(r"(\d+)")
_TAIL = ("XXS", "XS", "S", "NL", "0", "1", "M", "", "K", "L", "XL", "XXL")


def quantization_order(name: str) -> tuple[int, int, int, str]:
    """Sorts quantizations from the smallest to the largest, unquantized last.

    >>> sorted(["none", "Q8_0", "IQ2_XS", "Q4_K_M", "4-bit"], key=quantization_order)
    ['IQ2_XS', '4-bit', 'Q4_K_M', 'Q8_0', 'none']
    """
    upper = name.upper()
    if upper in {"NONE", "BF16", "F16", "FP16", "F32", "FP32"}:
        return (32 if "32" in upper else 16, 0, 0, upper)
    bits = _BITS.search(name)
    kind = 0 if upper.startswith("IQ") else 1
    if "UD-" in upper:
        kind += 2
    tail = upper.rpartition("_")[2]
    return (int(bits[1]) if bits else 99, kind % 2, _TAIL.index(tail) if tail in _TAIL else 7, upper)


def layout(family: ModelFamily) -> tuple[Group, ...]:
    """The groups of a family's matrix: GGUF first under its own header, then the other formats.

    Specs of one size and format share a row unless they publish the same quantization twice.
    """
    from specs.model import Variant  # with the catalog it is here already

    rows: list[tuple[Number, str, dict[str, Variant]]] = []
    for spec in family.specs:
        for quantization in spec.quantizations:
            variant = Variant(family, spec, quantization)
            for size, format_name, cells in rows:
                if size == spec.size_in_billions and format_name == spec.format and quantization not in cells:
                    cells[quantization] = variant
                    break
            else:
                rows.append((spec.size_in_billions, spec.format, {quantization: variant}))
    rows.sort(key=lambda row: row[0])
    gguf = [row for row in rows if row[1].startswith("gg")]
    groups = [_group(gguf)] if gguf else []
    pending: list[list[tuple[Number, str, dict[str, Variant]]]] = []
    for row in (row for row in rows if not row[1].startswith("gg")):
        for members in pending:
            names = {name for member in members for name in member[2]}
            shared = names & row[2].keys()
            if len(names | row[2].keys()) <= MAX_SHARED_COLUMNS or len(shared) * 2 > len(row[2]):
                members.append(row)
                break
        else:
            pending.append([row])
    groups.extend(_group(members) for members in pending)
    return tuple(groups)


def _group(members: list[tuple[Number, str, dict[str, Variant]]]) -> Group:
    columns = tuple(sorted({name for _, _, cells in members for name in cells}, key=quantization_order))
    rows = (Row(size, format_name, tuple(cells.get(name) for name in columns)) for size, format_name, cells in members)
    return Group(columns, tuple(rows))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell stands: its group, its row in the group, its column."""

    group: int
    row: int
    column: int


def places(groups: tuple[Group, ...]) -> Iterator[tuple[Place, Variant]]:
    """Every published cell, from the top left."""
    for g, group in enumerate(groups):
        for r, row in enumerate(group.rows):
            for c, variant in enumerate(row.cells):
                if variant is not None:
                    yield Place(g, r, c), variant


def moved(groups: tuple[Group, ...], place: Place, columns: int, rows: int) -> Place | None:
    """The next published cell in a direction; None: there is none.

    Sideways it skips what is not published. Up and down it takes the nearest published cell of the next row.
    """
    if columns:
        cells = groups[place.group].rows[place.row].cells
        at = place.column + columns
        while 0 <= at < len(cells):
            if cells[at] is not None:
                return Place(place.group, place.row, at)
            at += columns
        return None
    flat = [(g, r) for g, group in enumerate(groups) for r in range(len(group.rows))]
    at = flat.index((place.group, place.row)) + rows
    if not 0 <= at < len(flat):
        return None
    g, r = flat[at]
    published = [c for c, variant in enumerate(groups[g].rows[r].cells) if variant is not None]
    return Place(g, r, min(published, key=lambda c: abs(c - place.column))) if published else None
