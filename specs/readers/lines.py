"""The line of a value in a TOML or JSON text, sought only when an error has to name it."""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # not in typeshed
from typing import Final

from specs.readers.values import Key

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PIECE: Final = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def toml_line(text: str, path: tuple[Key, ...]) -> int | None:
    """The line of the value at the path, or of the innermost table round it that has one; None: nothing found."""
    best_depth, best_line = 0, None
    counts: dict[tuple[Key, ...], int] = {}
    table: tuple[Key, ...] = ()
    open_quote = ""
    for number, line in enumerate(text.split("\n"), 1):
        if open_quote:
            if open_quote in line:
                open_quote = ""
            continue
        if header := _HEADER.match(line):
            table = _resolved(_pieces(header[2]), counts, new=header[1] == "[[")
            here = table
        elif key := _KEY.match(line):
            here = (*table, *_pieces(key[1]))
            for quote in ('"""', "'''"):
                if line.count(quote) % 2:
                    open_quote = quote
        else:
            continue
        depth = len(here)
        if depth > best_depth and path[:depth] == here:
            best_depth, best_line = depth, number
    return best_line


def _pieces(dotted: str) -> tuple[str, ...]:
    return tuple(piece.strip("\"'") for piece in _PIECE.findall(dotted))


def _resolved(names: tuple[str, ...], counts: dict[tuple[Key, ...], int], *, new: bool) -> tuple[Key, ...]:
    """The header's path with the index of each array of tables on the way."""
    path: tuple[Key, ...] = ()
    for place, piece in enumerate(names):
        path = (*path, piece)
        if new and place == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def json_line(text: str, path: tuple[Key, ...]) -> int | None:
    """The line of the value at the path in a text that json has read, or of the innermost value round it."""
    decoder = json.JSONDecoder()
    line_at = position = _skip(text, 0)
    try:
        for key in path:
            found = _member(text, position, key, decoder)
            if found is None:
                break
            line_at, position = found
    except (ValueError, IndexError, RecursionError):
        return None
    return text.count("\n", 0, line_at) + 1


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _member(text: str, position: int, wanted: Key, decoder: json.JSONDecoder) -> tuple[int, int] | None:
    """Where the wanted member of the object or list at this position begins, and where its value does."""
    opening = text[position]
    if opening not in "{[":
        return None
    place = 0
    position = _skip(text, position + 1)
    while text[position] not in "}]":
        if text[position] == ",":
            position = _skip(text, position + 1)
            continue
        name: Key = place
        begins = position
        if opening == "{":
            name, position = scanstring(text, position + 1, False)
            position = _skip(text, _skip(text, position) + 1)
        if name == wanted:
            return begins, position
        _, position = decoder.raw_decode(text, position)
        position = _skip(text, position)
        place += 1
    return None
