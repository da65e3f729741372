"""The guide on the screen: the screen that it was asked from first, and whatever is typed searches it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from tui.glyphs import glyphs
from tui.guide import Section, sections
from tui.screens.dialog import Dialog
from tui.widgets.lines import plain, wrapped

SIGN_CELLS = 16
WIDEST_CELLS = 84
NARROWEST_CELLS = 24
MOST_QUERY_LETTERS = 60
NOTHING = "Nothing in the guide holds that: backspace for less, esc for all. ctrl+p finds actions and models."


class Help(Dialog[None]):
    """A page to read, to search and to leave."""

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "close", id="help.close"),
        Binding("f1", "dismiss", "close", show=False),
    ]
    query_text: reactive[str] = reactive("", repaint=False, init=False)
    """What is searched for; "": the whole guide."""

    def __init__(self, mode: str | None = None) -> None:
        super().__init__()
        self._mode = mode
        self._sections: tuple[Section, ...] = ()

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box tall"):
            yield Static()

    def on_mount(self) -> None:
        self._sections = tuple(sections(self._mode, self.app))
        self._show()

    def on_resize(self) -> None:
        self._show()

    def watch_query_text(self) -> None:
        self._show()
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def _show(self) -> None:
        box = self.query_one(VerticalScroll)
        signs = glyphs()
        cursor = "▏" if signs.eighths else "_"
        box.border_title = plain(
            "How to use modeldeck ", ("/ ", "$muted"), (f"{self.query_text}{cursor}", "bold $accent")
        )
        arrows = "↑ ↓ scroll" if signs.eighths else "up down scroll"
        leave = "esc shows all" if self.query_text else "esc closes"
        box.border_subtitle = plain(f"type to search   {arrows}   {leave}")
        width = max(NARROWEST_CELLS, min(WIDEST_CELLS, self.size.width) - 6)
        words = self.query_text.lower().split()
        found = [kept for one in self._sections if (kept := one.matching(words) if words else one) is not None]
        if found:
            text = Content.assemble(*(part for section in found for part in _drawn(section, width))).rstrip()
        else:
            text = plain(NOTHING)
        self.query_one(Static).update(text)

    # What the hand does

    def check_consume_key(self, key: str, character: str | None) -> bool:  # noqa: ARG002
        """Every printable key is the search's."""
        return character is not None and character.isprintable()

    def on_key(self, event: events.Key) -> None:
        if event.key in {"backspace", "ctrl+h"}:
            self.query_text = self.query_text[:-1]
        elif event.key == "ctrl+u":
            self.query_text = ""
        elif event.character == "?" and not self.query_text:
            self.dismiss()
        elif event.is_printable and event.character is not None:
            self.query_text = (self.query_text + event.character)[:MOST_QUERY_LETTERS].lstrip(" /")
        else:
            return
        event.stop()
        event.prevent_default()

    def action_leave(self) -> None:
        if self.query_text:
            self.query_text = ""
        else:
            self.dismiss()

    async def action_dismiss(self, result: None = None) -> None:
        self.dismiss(result)


def _drawn(section: Section, width: int) -> Iterator[str | tuple[str, str]]:
    yield f"{section.title}\n", "bold $primary"
    for line in section.lines:
        if not line.sign:
            for words in wrapped(line.words, width):
                yield f"{words}\n"
            continue
        signs = f"  {line.sign}"
        room = SIGN_CELLS - cell_len(signs)
        first, *more = wrapped(line.words, width - SIGN_CELLS - 1)
        # Keys that are longer than their column push the words on, not off.
        yield f"{signs}{' ' * max(2, room)}", line.ink or "bold"
        yield f"{first}\n"
        for words in more:
            yield f"{' ' * SIGN_CELLS}{words}\n"
    yield "\n"
