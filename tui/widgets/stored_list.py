"""What lies on this disk, line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.style import Style
from textual.binding import BindingType
from textual.message import Message
from textual.strip import Strip

from backends.library import Entry
from specs.model import Variant
from tui import units
from tui.glyphs import glyphs
from tui.keys import STORED
from tui.widgets.fit_matrix import size_label
from tui.widgets.inks import ink
from tui.widgets.line_list import LineList
from tui.widgets.lines import Piece, clean, fitted, line


@dataclass(frozen=True, slots=True)
class Stored:
    """One row: an entry of the library, and what the catalog says that it is."""

    entry: Entry
    variant: Variant | None
    """None: nothing of the catalog."""
    copies: tuple[Path, ...] = ()
    """Where the same bytes lie again."""

    @property
    def name(self) -> str:
        """What to call it: family and size where the catalog knows it, else what its place says."""
        if self.variant is None:
            return clean(self.entry.name)
        return clean(f"{self.variant.family.name} {size_label(self.variant.spec.size_in_billions)}")

    @property
    def quantization(self) -> str:
        """The quantization, or what stands for it."""
        found = self.variant.quantization if self.variant is not None else self.entry.quantization
        return clean(found or "")

    @property
    def format(self) -> str:
        """The format as the catalog calls it, else as its files are."""
        return clean(self.variant.spec.format if self.variant is not None else self.entry.format)


class StoredList(LineList):
    """Weights by row: what they are, how large, and whose folder they lie in."""

    BINDINGS: ClassVar[list[BindingType]] = [*STORED]

    class Opened(Message):
        """The user wants to talk to the weights under the cursor."""

    def __init__(self) -> None:
        super().__init__(id="stored")
        self._rows: Sequence[Stored] = ()
        self._notes: Mapping[Path, tuple[str, str]] = {}
        self.empty_words = "looking through this disk"

    @property
    def row_count(self) -> int:
        return len(self._rows)

    @property
    def stored(self) -> Stored | None:
        """The row under the cursor."""
        return self._rows[self.cursor] if self._rows else None

    def show(self, rows: Sequence[Stored], empty: str) -> None:
        """Show these rows; the cursor stays on its own."""
        here = self.stored
        self._rows, self.empty_words = rows, empty
        cursor = next((i for i, row in enumerate(rows) if here and row.entry.path == here.entry.path), self.cursor)
        self.rows_changed(cursor)
        self.refresh_bindings()

    def note(self, notes: Mapping[Path, tuple[str, str]]) -> None:
        """Words and their ink at the end of rows, by the entries' paths."""
        self._notes = dict(notes)
        self.redraw()

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        stored = self._rows[row]
        entry = stored.entry
        signs = glyphs()
        muted, none = ink(self, "muted"), Style.null()
        wide = width >= 100
        mark, mark_style = (
            (signs.on_disk, ink(self, "primary")) if entry.whole else (signs.verdict("no"), ink(self, "error"))
        )
        owner_cells = 18 if wide else 13
        format_cells = 12 if wide else 0
        quantization_cells = 10
        note, note_ink = self._note(stored)
        note_cells = 22 if wide else 16
        name_cells = max(12, width - 3 - format_cells - quantization_cells - 11 - owner_cells - note_cells - 3)
        ellipsis = signs.ellipsis
        pieces: list[Piece] = [
            (f" {mark} ", mark_style),
            (fitted(stored.name, name_cells, ellipsis), none if entry.whole else muted),
            (f" {fitted(stored.format, format_cells - 1, ellipsis)}" if format_cells else "", muted),
            (f" {fitted(stored.quantization, quantization_cells - 1, ellipsis)}", none),
            (f"{units.file_size(entry.total_bytes):>10} ", none),
            (f" {fitted(clean(entry.owner.removesuffix(' cache')), owner_cells - 1, ellipsis)}", muted),
            (f"  {fitted(note, note_cells - 1, ellipsis)}", ink(self, note_ink)),
        ]
        return line(pieces, width, base)

    def _note(self, stored: Stored) -> tuple[str, str]:
        if stored.entry.path in self._notes:
            return self._notes[stored.entry.path]
        if not stored.entry.whole:
            return "not whole", "error"
        if stored.copies:
            return "here twice" if len(stored.copies) == 1 else f"here {len(stored.copies) + 1} times", "warning"
        if stored.variant is None:
            return "not in catalog", "muted"
        return "", "muted"

    def on_line_list_chosen(self) -> None:
        self.action_choose()

    def watch_cursor(self, before: int, now: int) -> None:
        super().watch_cursor(before, now)
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """One key, named after what the weights do: a base model only continues texts."""
        if action in {"choose", "complete"}:
            stored = self.stored
            if stored is None:
                return False
            chats = stored.variant is None or stored.variant.family.chats
            return chats == (action == "choose")
        return True

    def action_choose(self) -> None:
        if self._rows:
            self.post_message(self.Opened())

    action_complete = action_choose
