"""The list of families: best verdict, name, sizes and abilities of each, with a filter typed in place."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from tui.glyphs import glyphs
from tui.keys import FAMILIES
from tui.widgets.inks import VERDICT_INKS, ink
from tui.widgets.line_list import LineList
from tui.widgets.lines import Piece, clean, fitted, line, plain

if TYPE_CHECKING:
    from backends.fit import Verdict
    from specs.model import ModelFamily, Number

ABILITY_WORDS: Mapping[str, str] = {"generate": "gen", "reasoning": "reason"}
"""Abilities that have a shorter word in the list."""
MIN_NAME_CELLS = 16


def sizes_text(sizes: Sequence[Number], width: int) -> str:
    """Sizes in billions in at most so many cells; what is left out shows as an ellipsis between first and last."""
    words = [f"{size:g}" for size in sizes]
    text = " ".join(words)
    if len(text) <= width:
        return text
    for keep in range(len(words) - 1, 0, -1):
        text = " ".join([*words[:keep], glyphs().ellipsis, words[-1]]) if keep < len(words) - 1 else text
        if len(text) <= width:
            return text
    return fitted(words[0], width, glyphs().ellipsis).rstrip()


def abilities_text(family: ModelFamily, room: int) -> str:
    """What a family can do: chat or gen first, then as many others as there is room for."""
    first = "chat" if family.chats else "gen"
    others = [ABILITY_WORDS.get(a, a) for a in family.abilities if a not in {"chat", "generate"}]
    words = [first, *others] if first == "chat" or "generate" in family.abilities else others or [first]
    text = " ".join(words)
    while len(words) > 1 and cell_len(text) > room:
        words.pop()
        text = " ".join(words)
    return clean(text)


class FamilyList(LineList):
    """Families by row. `/` opens the filter; letters then go to it until enter or escape."""

    BINDINGS: ClassVar[list[BindingType]] = [*FAMILIES]
    query_text: reactive[str] = reactive("", repaint=False)
    """The filter as typed."""
    typing: reactive[bool] = reactive(False, repaint=False)
    """Whether letters go to the filter."""

    class FilterChanged(Message):
        """The filter's text is another now."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Opened(Message):
        """The user wants to look at the family under the cursor."""

    def __init__(self) -> None:
        super().__init__(id="families")
        self._families: Sequence[ModelFamily] = ()
        self._rows: Sequence[int] = ()
        self._verdicts: Mapping[int, Verdict] = {}
        self._on_disk: frozenset[int] = frozenset()
        self._note = ""

    @property
    def row_count(self) -> int:
        return len(self._rows)

    @property
    def family(self) -> ModelFamily | None:
        """The family under the cursor."""
        return self._families[self._rows[self.cursor]] if self._rows else None

    def show(self, families: Sequence[ModelFamily], rows: Sequence[int], *, cursor: int, empty: str, note: str) -> None:
        """Show these families: rows are indices into them; empty is what to say where there are none."""
        if families is not self._families:
            self.forget_rows()
        if bool(rows) != bool(self._rows) and self.is_mounted:  # there is something to open
            self.screen.refresh_bindings()
        self._families = families
        self._rows = rows
        self.empty_words = empty
        self._note = note
        self.rows_changed(cursor)
        self._retitle()

    def judge(self, verdicts: Mapping[int, Verdict], on_disk: frozenset[int]) -> None:
        """Show the best verdict of each family by its index, and which have weights here."""
        self._verdicts = verdicts
        self._on_disk = on_disk
        self.redraw()

    def row_of(self, family: ModelFamily) -> int | None:
        """The row that shows a family now; None: the filter hides it."""
        return next((row for row, index in enumerate(self._rows) if self._families[index] is family), None)

    def row_key(self, row: int) -> Hashable:
        index = self._rows[row]
        return index, self._verdicts.get(index), index in self._on_disk

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        index = self._rows[row]
        family = self._families[index]
        signs = glyphs()
        verdict = self._verdicts.get(index)
        mark = ink(self, VERDICT_INKS.get(verdict or "", "muted"))
        muted = ink(self, "muted")
        disk = signs.on_disk if index in self._on_disk else " "
        wide = width >= 64
        words = abilities_text(family, 26 if wide else 4)
        sizes_width = 22 if wide else max(6, min(9, width - MIN_NAME_CELLS - 11))
        words_width = 26 if wide else 4
        name_width = width - sizes_width - words_width - 8
        name = fitted(clean(family.name), name_width, signs.ellipsis)
        off = muted if verdict == "no" else Style.null()
        pieces: list[Piece] = [
            (f" {signs.verdict(verdict)} ", mark),
            (name, off),
            (f" {disk} ", ink(self, "primary") if disk != " " else off),
            (fitted(sizes_text(family.sizes_in_billions, sizes_width), sizes_width, signs.ellipsis), off),
            (f" {words:>{words_width}} ", muted),
        ]
        return line(pieces, width, base)

    def _retitle(self) -> None:
        signs = glyphs()
        count = len(self._rows)
        noun = "family" if count == 1 else "families"
        number = (
            f"{count:,} {noun}" if count == len(self._families) else f"{count:,} of {len(self._families):,} families"
        )
        parts: list[str | tuple[str, str]] = [number if self._families else "families"]
        if self._note:
            parts += [f" {signs.dash} ", (self._note, "$accent")]
        if self.typing or self.query_text:
            cursor = "▏" if signs.eighths else "_"
            parts += [f" {signs.dash} ", (f"/ {self.query_text}{cursor if self.typing else ''}", "bold $accent")]
        self.retitle(plain(*parts))

    def watch_typing(self) -> None:
        self._retitle()
        if self.is_mounted:
            self.screen.refresh_bindings()

    def watch_query_text(self, before: str, now: str) -> None:
        if before != now:
            self.post_message(self.FilterChanged(now))
        if bool(before) != bool(now):
            # There is something to go back from. The keys follow the rows: a frame with them alone would come first,
            # and the rows would wait for the next one.
            self.call_after_refresh(self.screen.refresh_bindings)

    def check_consume_key(self, key: str, character: str | None) -> bool:  # noqa: ARG002
        """While typing, every printable key is the filter's."""
        return self.typing and character is not None and character.isprintable()

    def on_key(self, event: events.Key) -> None:
        if not self.typing:
            # A binding would take effect after the letters that were typed ahead have gone elsewhere.
            active = self.screen.active_bindings.get(event.key)
            if active is not None and active.binding.action == "search":
                self.typing = True
                event.stop()
                event.prevent_default()
            return
        if event.key in {"enter", "escape", "tab"}:
            self.typing = False
            if event.key == "escape":
                self.query_text = ""
            if event.key != "tab":
                event.stop()
                event.prevent_default()
            return
        if event.key in {"backspace", "ctrl+h"}:
            self.query_text = self.query_text[:-1]
        elif event.key == "ctrl+u":
            self.query_text = ""
        elif event.key == "ctrl+w":
            self.query_text = self.query_text.rstrip().rpartition(" ")[0]
        elif event.is_printable and event.character is not None:
            self.query_text += event.character
        else:
            return
        event.stop()
        event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        if self.typing:
            self.query_text += clean(event.text.strip())[:200]
            event.stop()

    def on_blur(self) -> None:
        self.typing = False
        super().on_blur()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        return action != "choose" or bool(self._rows)

    def on_line_list_chosen(self) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        if self._rows:
            self.post_message(self.Opened())
