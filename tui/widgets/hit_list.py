"""Repositories that a search of the hubs found, line by line, with the query typed in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from backends.hubs.hub import RepoSummary
from tui.glyphs import glyphs
from tui.keys import HITS
from tui.widgets.cell_detail import HUB_WORDS
from tui.widgets.inks import ink
from tui.widgets.line_list import LineList
from tui.widgets.lines import Piece, clean, fitted, line, plain

MOST_QUERY_LETTERS = 200


def count_words(count: int | None) -> str:
    """A count in at most five cells: "950", "12.3k", "4.1M"; unknown: nothing."""
    if count is None:
        return ""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size - size // 2000:  # what would be rounded to 1000k is 1.0M
            share = count / size
            return f"{share:.0f}{unit}" if share >= 99.95 else f"{share:.1f}{unit}"
    return str(count)


class HitList(LineList):
    """Repositories by row. Letters go to the query at all times."""

    BINDINGS: ClassVar[list[BindingType]] = [*HITS]
    query_text: reactive[str] = reactive("", repaint=False)
    """The query as typed."""

    class QueryChanged(Message):
        """The query's text is another now."""

    class Opened(Message):
        """The user wants to look into the repository under the cursor."""

    def __init__(self, query: str = "") -> None:
        super().__init__(id="hits")
        self.set_reactive(HitList.query_text, query)
        self._hits: Sequence[RepoSummary] = ()
        self.empty_words = ""
        self._note = ""

    @property
    def row_count(self) -> int:
        return len(self._hits)

    @property
    def hit(self) -> RepoSummary | None:
        """The repository under the cursor."""
        return self._hits[self.cursor] if self._hits else None

    def on_mount(self) -> None:
        self.say("")

    def show(self, hits: Sequence[RepoSummary], empty: str) -> None:
        """Show what was found; empty is what to say where that is nothing."""
        self._hits, self.empty_words = hits, empty
        self.rows_changed(0)
        self.refresh_bindings()

    def say(self, note: str) -> None:
        """Show in the title what goes on."""
        self._note = note
        cursor = "▏" if glyphs().eighths else "_"
        parts: list[str | tuple[str, str]] = [("/ ", "$muted"), (f"{self.query_text}{cursor}", "bold $accent")]
        if note:
            parts += [f" {glyphs().dash} ", (note, "$muted")]
        self.retitle(plain("any repository of the hubs ", *parts))

    @property
    def head_lines(self) -> int:
        return 1 if self._hits else 0

    def draw_head(self, width: int, base: Style) -> Strip:
        name_cells, access_cells, hub_cells = self._columns(width)
        muted = ink(self, "muted")
        words = (
            f" {fitted('repository', name_cells, '')} {fitted('', access_cells, '')}"
            f"{'downloads':>10}{'likes':>7}  {fitted('hub', hub_cells, '')}"
        )
        return line([(words, muted)], width, base)

    def _columns(self, width: int) -> tuple[int, int, int]:
        """Cells of the repository's name, of how it is given out, and of its hub."""
        access_cells, hub_cells = (10, 14) if width >= 100 else (6, 4)
        return max(12, width - 21 - access_cells - hub_cells), access_cells, hub_cells

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        hit = self._hits[row]
        wide = width >= 100
        muted = ink(self, "muted")
        name_cells, access_cells, hub_cells = self._columns(width)
        short = {"huggingface": "HF", "modelscope": "MS"}
        hub = HUB_WORDS.get(hit.hub, hit.hub) if wide else short.get(hit.hub, hit.hub[:2].upper())
        gated = ("gated" if hit.gated != "manual" else "on request" if wide else "ask") if hit.gated else ""
        owner, slash, name = clean(hit.model_id).rpartition("/")
        ellipsis = glyphs().ellipsis
        head = fitted(f"{owner}{slash}", min(cell_len(owner) + 1, name_cells // 2), ellipsis) if owner else ""
        pieces: list[Piece] = [
            (f" {head}", muted),
            (fitted(name, name_cells - cell_len(head), ellipsis), Style.null()),
            (f" {fitted(gated, access_cells, ellipsis)}", ink(self, "warning")),
            (f"{count_words(hit.downloads):>10}", Style.null()),
            (f"{count_words(hit.likes):>7}", muted),
            (f"  {fitted(hub, hub_cells, ellipsis)}", muted),
        ]
        return line(pieces, width, base)

    def watch_query_text(self, before: str, now: str) -> None:
        if before != now:
            self.say(self._note)
            self.post_message(self.QueryChanged())
            self.refresh_bindings()

    def check_consume_key(self, key: str, character: str | None) -> bool:  # noqa: ARG002
        """Every printable key is the query's."""
        return character is not None and character.isprintable()

    def on_key(self, event: events.Key) -> None:
        if event.key in {"backspace", "ctrl+h"}:
            self.query_text = self.query_text[:-1]
        elif event.key == "ctrl+u":
            self.query_text = ""
        elif event.key == "ctrl+w":
            self.query_text = self.query_text.rstrip().rpartition(" ")[0]
        elif event.is_printable and event.character is not None:
            self.query_text = (self.query_text + event.character)[:MOST_QUERY_LETTERS]
        else:
            return
        event.stop()
        event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        self.query_text = (self.query_text + clean(event.text.strip()))[:MOST_QUERY_LETTERS]
        event.stop()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        return action != "choose" or bool(self._hits or self.query_text.strip())

    def key_label(self, binding: Binding) -> str | None:
        """What enter does where nothing was found."""
        return "ask again" if binding.id == "hits.open" and not self._hits else None

    def on_line_list_chosen(self) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        self.post_message(self.Opened())
