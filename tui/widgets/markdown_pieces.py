"""A stream of Markdown cut into pieces: each line is looked at once, a finished piece never changes.

The pieces are smaller than Markdown's blocks (a list gives one an item, a long fence one every few lines), so that what
must be drawn again while tokens arrive stays small however long the answer grows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

Kind = Literal["text", "heading", "rule", "item", "quote", "code", "table", "math"]

LONGEST_LINE: Final = 2_000
"""Characters without a newline after which a line is cut: a million of them stay cheap."""
LONGEST_TEXT: Final = 4_000
"""Characters of one paragraph, item or quote before the next piece begins."""
CODE_LINES: Final = 24
"""Lines of an open fence that are drawn again with each token."""
MERGED_CODE_LINES: Final = 400
"""Lines that are highlighted in one go once their fence is closed."""
TABLE_ROWS: Final = 40

_OPEN_STATE = (
    "_kind", "_indent", "_mark", "_fence", "_blank_above", "_header", "_widths", "_gap", "_characters", "_previous",
)  # fmt: skip

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})[ \t]*([^`]*)$")
_HEADING = re.compile(r"^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_RULE = re.compile(r"^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_ITEM = re.compile(r"^( *)([-*+]|\d{1,9}[.)])(?:[ \t]+(.*)|)$")
_TASK = re.compile(r"^\[([ xX])\][ \t]+")
_DELIMITER = re.compile(r"^ *\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_MATH_OPEN = re.compile(r"^ *(\$\$|\\\[)(.*)$")
_MATH_CLOSE = {"$$": "$$", "\\[": "\\]"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer that is drawn by itself."""

    kind: Kind
    lines: tuple[str, ...]
    """Source lines without what marks the kind; a table's are its rows, header and delimiter first."""
    indent: int = 0
    """Columns that the source stands to the right, from the list it belongs to."""
    gap: bool = True
    """Whether an empty line belongs above it."""
    mark: str = ""
    """A heading's #s, an item's bullet or number, a code's language."""
    first: bool = True
    """Whether this is the first part of a code or table."""
    last: bool = True
    header: tuple[str, str] | None = None
    """Header and delimiter of the table that this part goes on with; None: a first part."""
    widths: tuple[int, ...] = ()
    """Natural widths of that table's columns, so that its parts line up."""


class PieceStream:
    """Takes text as it comes and keeps the finished pieces and the open rest apart."""

    def __init__(self, text: str = "") -> None:
        self.pieces: list[Piece] = []
        """Finished pieces; only the parts of a fence are merged when it closes, see merged_from."""
        self.merged_from: int | None = None
        """The first piece that the last feed() replaced by a merged one; None: none was."""
        self._partial = ""
        self._kind: Kind | None = None
        self._lines: list[str] = []
        self._characters = 0
        self._indent = 0
        self._mark = ""
        self._fence = ""
        self._blank_above = True
        self._parts_from: int | None = None
        self._header: tuple[str, str] | None = None
        self._widths: tuple[int, ...] = ()
        self._gap = False
        self._previous: Kind | None = None
        if text:
            self.feed(text)

    def feed(self, text: str) -> None:
        """Take the next characters."""
        self.merged_from = None
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._long_line(line)
        while len(self._partial) > LONGEST_LINE:
            cut = self._partial.rfind(" ", LONGEST_LINE // 2, LONGEST_LINE) + 1 or LONGEST_LINE
            self._line(self._partial[:cut])
            self._partial = self._partial[cut:]

    def rest(self) -> list[Piece]:
        """Pieces of what is still open, as it would look if nothing followed."""
        preview = PieceStream()
        for name in _OPEN_STATE:
            setattr(preview, name, getattr(self, name))
        preview._lines = list(self._lines)
        if self._parts_from is not None:
            preview._parts_from = 0
        if self._partial:
            preview._line(self._partial)
        preview._close(ended=preview._kind != "code")
        return preview.pieces

    def finish(self) -> None:
        """Nothing follows: what is open becomes a piece."""
        self.merged_from = None
        if self._partial:
            self._line(self._partial)
            self._partial = ""
        self._close()

    def _long_line(self, line: str) -> None:
        while len(line) > LONGEST_LINE:
            cut = line.rfind(" ", LONGEST_LINE // 2, LONGEST_LINE) + 1 or LONGEST_LINE
            self._line(line[:cut])
            line = line[cut:]
        self._line(line)

    def _line(self, line: str) -> None:
        if self._kind == "code":
            self._code_line(line)
            return
        if self._kind == "math":
            self._math_line(line)
            return
        if not line.strip():
            self._close()
            self._blank_above = True
            return
        if fence := _FENCE.match(line):
            self._close()
            self._open("code", indent=len(fence[1]), mark=fence[3].strip().split(" ")[0])
            self._fence = fence[2]
            return
        if (math := _MATH_OPEN.match(line)) and (math[2].strip() == "" or _MATH_CLOSE[math[1]] in math[2]):
            self._close()
            self._open("math", indent=_indent(line))
            self._fence = _MATH_CLOSE[math[1]]
            if math[2].strip():
                self._math_line(math[2].strip())
            return
        if self._kind == "table":
            if "|" in line:
                self._add(line)
                return
            self._close()
        if self._kind == "quote" and line.lstrip().startswith(">"):
            self._add(_unquoted(line))
            return
        if heading := _HEADING.match(line):
            self._close()
            self._open("heading", mark=heading[1])
            self._add(heading[2] or "")
            self._close()
            return
        if _RULE.match(line):
            self._close()
            self._open("rule")
            self._add(line)
            self._close()
            return
        if line.lstrip().startswith(">"):
            self._close()
            self._open("quote", indent=_indent(line))
            self._add(_unquoted(line))
            return
        if item := _ITEM.match(line):
            self._close()
            text = item[3] or ""
            mark = item[2]
            if task := _TASK.match(text):
                mark, text = f"[{task[1].lower()}]", text[task.end() :]
            self._open("item", indent=len(item[1]), mark=mark)
            self._add(text)
            return
        if self._kind == "text" and self._lines and "|" in line and _DELIMITER.match(line):
            header = self._lines[-1]
            if "|" in header and len(cells(header)) == len(cells(line)):
                self._lines.pop()
                alone, gap = not self._lines, self._gap
                self._close()
                self._open("table")
                if alone:
                    self._gap = gap
                self._add(header)
                self._add(line)
                return
        if self._kind is None:
            # The space that a template leaves before an answer is no indent; four would be code.
            lead = _indent(line)
            self._open("text", indent=0 if self._previous is None and lead < 4 else lead)
        self._add(line.strip() if self._kind != "quote" else line)

    def _code_line(self, line: str) -> None:
        stripped = line.strip()
        if stripped.startswith(self._fence) and not stripped.strip(self._fence[0]):
            self._close()
            return
        lead = min(self._indent, _indent(line))
        self._add(line[lead:])

    def _math_line(self, line: str) -> None:
        before, closed, _ = line.partition(self._fence)
        if before.strip():
            self._add(before.rstrip())
        if closed:
            self._close()

    def _open(self, kind: Kind, *, indent: int = 0, mark: str = "") -> None:
        self._kind = kind
        self._lines = []
        self._characters = 0
        self._indent = indent
        self._mark = mark
        self._parts_from = None
        self._header = None
        self._widths = ()
        listed = kind == self._previous == "item"
        self._gap = self._previous is not None and (self._blank_above or not listed)
        self._blank_above = False

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._characters += len(line) + 1
        if self._kind == "code":
            if len(self._lines) > CODE_LINES:
                self._part()
        elif self._kind == "table":
            if len(self._lines) > TABLE_ROWS:
                self._part()
        elif self._characters > LONGEST_TEXT:
            self._part()

    def _piece(self, *, last: bool) -> Piece:
        first = self._parts_from is None
        return Piece(
            self._kind or "text",
            tuple(self._lines),
            self._indent,
            self._gap,
            self._mark,
            first=first,
            last=last,
            header=self._header,
            widths=self._widths,
        )

    def _part(self) -> None:
        """Finish what there is of the open piece, and go on with the same."""
        piece = self._piece(last=False)
        if self._parts_from is None:
            self._parts_from = len(self.pieces)
        self.pieces.append(piece)
        if piece.kind == "table" and piece.header is None:
            self._header = (piece.lines[0], piece.lines[1])
            self._widths = natural_widths([cells(row) for row in (piece.lines[0], *piece.lines[2:])])
        if piece.kind == "item":
            self._mark = " " * len(piece.mark)
        self._gap = False
        self._lines = []
        self._characters = 0

    def _close(self, *, ended: bool = True) -> None:
        if self._kind is None:
            return
        parts = self._parts_from
        if self._lines or (self._kind == "code" and parts is None):
            self.pieces.append(self._piece(last=ended))
        elif parts is not None and self.pieces and ended:
            self.pieces[-1] = replace(self.pieces[-1], last=True)
        self._previous = self._kind if self.pieces else self._previous
        if self._kind == "code" and parts is not None and ended:
            self._merge(parts)
        self._kind = None
        self._lines = []
        self._parts_from = None
        self._blank_above = False

    def _merge(self, start: int) -> None:
        parts = self.pieces[start:]
        merged: list[Piece] = []
        for part in parts:
            room = merged and len(merged[-1].lines) + len(part.lines) <= MERGED_CODE_LINES
            if room:
                merged[-1] = replace(merged[-1], lines=merged[-1].lines + part.lines, last=part.last)
            else:
                merged.append(part)
        self.pieces[start:] = merged
        self.merged_from = start if self.merged_from is None else min(start, self.merged_from)


def split(text: str) -> list[Piece]:
    """Pieces of a whole text."""
    stream = PieceStream(text)
    stream.finish()
    return stream.pieces


def cells(row: str) -> list[str]:
    """Cells of a table's row: split at the bars that no backslash guards."""
    row = row.strip()
    row = row.removeprefix("|")
    if row.endswith("|") and not row.endswith("\\|"):
        row = row[:-1]
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)]


def natural_widths(rows: list[list[str]]) -> tuple[int, ...]:
    """Characters that each column would like, at most 60."""
    columns = len(rows[0]) if rows else 0
    return tuple(min(60, max((len(row[c]) for row in rows if c < len(row)), default=0)) for c in range(columns))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _unquoted(line: str) -> str:
    line = line.lstrip()[1:]
    return line.removeprefix(" ")
