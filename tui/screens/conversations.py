"""The history: conversations to search, open, name, pin, delete, take out and bring in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.strip import Strip
from textual.widgets import Input, Static

from backends import exports
from backends.conversation import Conversation
from backends.errors import BackendError
from backends.history import History
from backends.history_rows import Summary
from backends.home import open_privately
from tui.chat_keys import HISTORY
from tui.glyphs import glyphs
from tui.screens.ask import Ask
from tui.screens.ask_line import AskLine
from tui.screens.dialog import Dialog
from tui.widgets.line_list import LineList
from tui.widgets.lines import clean, fitted, line, plain
from tui.widgets.typing_line import TypingLine


def ago(seconds: float) -> str:
    """How long ago something was, in the largest unit: "3 min", "2 h", "5 d"."""
    if seconds < 60:
        return "now"
    for unit, word in ((86_400 * 365, "y"), (86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {word}"
    return "now"


NONE_YET = "No conversation yet. Load a model (f5, then enter on a cell) and say something: it is kept here."
KEYS_OF_ONE = "enter open  r rename  p pin  x delete  m Markdown  s JSON"
KEYS = "i bring in"
NOTHING_FOUND = "Nobody said this. Backspace for less of it."


class ConversationList(LineList):
    """Conversations by row: name, model, turns, age; below a search the place that was found."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"conversation-list--muted", "conversation-list--pin"}

    def __init__(self) -> None:
        super().__init__()
        self.summaries: tuple[Summary, ...] = ()
        self._now = 0.0

    def show(self, summaries: tuple[Summary, ...], cursor: int = 0) -> None:
        """Show these."""
        self.summaries = summaries
        self._now = time.time()
        self.rows_changed(cursor)

    @property
    def row_count(self) -> int:
        return len(self.summaries)

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        summary = self.summaries[row]
        signs = glyphs()
        muted = self.get_component_rich_style("conversation-list--muted", partial=True)
        pin = self.get_component_rich_style("conversation-list--pin", partial=True)
        age = ago(max(0.0, self._now - summary.updated)).rjust(7)
        model = "/".join(clean(summary.model).split("/")[:2])
        about = f"{signs.dot} {clean(summary.excerpt)}" if summary.excerpt else model
        turns = f"{summary.turns:>4} {'turn ' if summary.turns == 1 else 'turns'}"
        room = width - cell_len(age) - len(turns) - 6
        name_cells = max(10, room * 3 // 5)
        return line(
            [
                (" * " if summary.pinned else "   ", pin),
                (fitted(clean(summary.name), name_cells, signs.ellipsis), Style.null()),
                (" ", muted),
                (fitted(about, max(0, room - name_cells), signs.ellipsis), muted),
                (f" {turns} {age}", muted),
            ],
            width,
            base,
        )


class Conversations(Dialog[str | None]):
    """Gives back the conversation to open; None: none."""

    BINDINGS: ClassVar[list[BindingType]] = [*HISTORY]
    AUTO_FOCUS = "ConversationList"
    DEFAULT_CSS = """
    Conversations {
        .box { width: 110; height: 90%; }
        Input, Input:focus { border: none; padding: 0; height: 1; background: $surface; }
        ConversationList {
            height: 1fr; background: $surface; margin-top: 1;
            scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
            .line-list--cursor { background: $cursor; text-style: bold; }
            .line-list--cursor-blurred { background: $cursor-idle; }
            .conversation-list--muted { color: $muted; }
            .conversation-list--pin { color: $accent; }
        }
        #which { color: $muted; height: 1; margin-top: 1; }
        #keys { color: $muted; height: auto; }
    }
    """

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = plain("Conversations")
            box.border_subtitle = plain("esc closes")
            yield TypingLine(placeholder="/ searches in everything that was said", id="search")
            yield ConversationList()
            yield Static(id="which")
            yield Static(id="keys")

    def on_mount(self) -> None:
        self._history.flush(0.5)
        self._show()

    @property
    def list(self) -> ConversationList:
        """The rows."""
        return self.query_one(ConversationList)

    @property
    def chosen(self) -> Summary | None:
        """The conversation under the cursor."""
        rows = self.list.summaries
        return rows[self.list.cursor] if self.list.cursor < len(rows) else None

    def _show(self, *, keep: bool = False) -> None:
        query = self.query_one("#search", Input).value
        try:
            found = self._history.conversations(query)
        except BackendError as error:
            self.notify(clean(str(error)), severity="error", markup=False)
            found = ()
        self.list.empty_words = NOTHING_FOUND if query.strip() else NONE_YET
        self.list.show(found, self.list.cursor if keep else 0)
        self._say_which()
        what = f"{len(found)} found" if query.strip() else f"{len(found)}"
        self.query_one(".box").border_title = plain(f"Conversations, {what}")

    def _say_which(self) -> None:
        """How the command line goes on with the conversation under the cursor."""
        chosen = self.chosen
        words = f"launch --conversation {clean(chosen.id)} goes on with it" if chosen is not None else ""
        self.query_one("#which", Static).update(plain(words))
        self.query_one("#keys", Static).update(plain(f"{KEYS_OF_ONE}  {KEYS}" if chosen is not None else KEYS))

    def on_line_list_highlighted(self, event: LineList.Highlighted) -> None:
        event.stop()
        self._say_which()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.list.focus()

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        event.stop()
        self.action_open()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        # In the search, letters are letters.
        return not isinstance(self.focused, Input) or action in ("leave", "to_list")

    def action_search(self) -> None:
        self.query_one("#search", Input).focus()

    def action_to_list(self) -> None:
        self.list.focus()

    def action_leave(self) -> None:
        if isinstance(self.focused, Input):
            self.list.focus()
        else:
            self.dismiss(None)

    def action_open(self) -> None:
        if self.chosen is not None:
            self.dismiss(self.chosen.id)

    def action_rename(self) -> None:
        summary = self.chosen
        if summary is None:
            return

        def renamed(title: str | None) -> None:
            if title is not None:
                self._history.rename(summary.id, title.strip())
                self._changed()

        self.app.push_screen(AskLine("Rename the conversation", summary.name), renamed)

    def action_pin(self) -> None:
        summary = self.chosen
        if summary is not None:
            self._history.pin(summary.id, not summary.pinned)
            self._changed()

    def action_delete(self) -> None:
        summary = self.chosen
        if summary is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._history.delete(summary.id)
                self._changed()

        turns = "one turn" if summary.turns == 1 else f"{summary.turns} turns"
        self.app.push_screen(Ask("Delete the conversation", f"“{summary.name}”, {turns}: delete for good?"), answered)

    def _changed(self) -> None:
        if not self._history.flush(2.0):
            self.notify("The history is not written yet; the list follows when it is", severity="warning")
        self._show(keep=True)

    def action_export(self, kind: str) -> None:
        """Write the conversation to a file that the user names."""
        summary = self.chosen
        if summary is None:
            return
        words = "".join(c if c.isalnum() else "-" for c in summary.name.lower())[:40].strip("-") or "conversation"
        what, ending = {"markdown": ("Markdown", "md"), "json": ("JSON", "json")}[kind]
        write = {"markdown": exports.to_markdown, "json": exports.to_json}[kind]

        def named(name: str | None) -> None:
            if name and name.strip():
                self._export(summary, Path(name.strip()).expanduser(), write)

        self.app.push_screen(AskLine(f"Write {what} to", str(Path.cwd() / f"{words}.{ending}")), named)

    def _export(self, summary: Summary, path: Path, write: Callable[[Conversation], str]) -> None:
        try:
            text = write(self._history.load(summary.id))
            with open_privately(path, "x") as file:
                file.write(text)
        except FileExistsError:
            self.notify(clean(f"{path} is there already; nothing was written"), severity="warning", markup=False)
        except (OSError, BackendError) as error:
            self.notify(clean(f"{path}: {error}"), severity="error", markup=False)
        else:
            self.notify(clean(f"written to {path}"), markup=False)

    def action_bring_in(self) -> None:
        """Import a JSON file."""

        def named(name: str | None) -> None:
            if not name or not name.strip():
                return
            try:
                found = exports.read(Path(name.strip()).expanduser())
            except BackendError as error:
                self.notify(clean(str(error)), severity="error", markup=False)
                return
            self._history.save_all(found)
            self._changed()
            rows = [summary.id for summary in self.list.summaries]
            if found.id in rows:  # its age may place it far down
                self.list.show(self.list.summaries, rows.index(found.id))
                self._say_which()
            self.notify(clean(f"brought in: {found.name}"), markup=False)

        self.app.push_screen(
            AskLine("Bring in a conversation from", placeholder="a JSON file that modeldeck wrote"), named
        )
