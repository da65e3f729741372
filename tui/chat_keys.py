"""Keys of the chat screen, in the form of the app's other keys."""

from __future__ import annotations

from typing import Final

from textual.binding import Binding


def _key(name: str, key: str, action: str, label: str, tooltip: str, shown: str | None = None) -> Binding:
    return Binding(key, action, label, key_display=shown, tooltip=tooltip, id=name)


def _quiet(name: str, key: str, action: str, label: str, tooltip: str = "", shown: str | None = None) -> Binding:
    return Binding(key, action, label, show=False, key_display=shown, tooltip=tooltip or label, id=name)


PROMPT: Final = (
    Binding("enter", "send", "send", key_display="↵", tooltip="Send the prompt", id="prompt.send", priority=True),
    Binding(
        "alt+enter,ctrl+j,shift+enter", "newline", "newline", key_display="alt+↵",
        tooltip="Begin a new line; ctrl+j does the same in every terminal", id="prompt.newline", priority=True,
    ),
    _quiet("prompt.editor", "ctrl+o", "editor", "editor", "Write the prompt in $EDITOR", "ctrl+o"),
    _quiet("prompt.attach", "ctrl+t", "attach", "attach a file", "Send a text file along", "ctrl+t"),
)  # fmt: skip

TRANSCRIPT: Final = (
    _key("turn.up", "up,k", "walk(-1)", "turn", "To the turn above", "↑↓"),
    _quiet("turn.down", "down,j", "walk(1)", "turn down", "To the turn below", "↓"),
    _quiet("turn.page-up", "pageup", "page_up", "page up"),
    _quiet("turn.page-down", "pagedown", "page_down", "page down"),
    _quiet("turn.first", "home", "scroll_home", "first turn"),
    _quiet("turn.last", "end", "follow", "last turn, and follow"),
    _key("turn.fold", "enter,space", "fold", "fold", "Fold or unfold the thinking, or a long prompt", "space"),
    _key("turn.copy", "c", "wish('copy')", "copy", "Copy this turn"),
    _quiet("turn.copy-code", "y", "wish('copy_code')", "copy code", "Copy the last code block of this turn"),
    _key("turn.edit", "e", "wish('edit')", "edit", "Change this turn and go on from there on a branch of its own"),
    _quiet("turn.previous", "left,h", "wish('previous')", "branch before", "The branch before at this turn", "←"),
    _key("turn.next", "right,l", "wish('next')", "branch", "The next branch at this turn", "← →"),
    _quiet(
        "turn.branch-before",
        "[",
        "wish('branch_before')",
        "branch before",
        "The branch before, in a text that is continued too",
    ),
    _quiet(
        "turn.branch-after",
        "]",
        "wish('branch_after')",
        "next branch",
        "The next branch, in a text that is continued too",
    ),
    *(_quiet(f"turn.alternative-{n}", str(n), f"wish('{n}')", "go on from this alternative") for n in range(1, 10)),
    _quiet("turn.delete", "delete,x", "wish('delete')", "delete", "Delete this turn and all that follows it", "x"),
)

CHAT: Final = (
    _key("chat.stop", "escape", "stop", "stop", "Stop the answer and keep what came", "esc"),
    _key("chat.again", "ctrl+r", "again", "again", "Answer the last prompt again, on a branch of its own"),
    _quiet("chat.continue", "ctrl+g", "continue", "continue", "Go on with an answer that was stopped or cut"),
    _key("chat.both", "ctrl+b", "broadcast", "to all", "Send to every pane, or to this one"),
    _key("chat.new", "ctrl+n", "new_pane", "new pane", "A further pane with the same model"),
    _quiet("chat.close", "f12", "close_pane", "close pane", "Close this pane"),
    _quiet("chat.next-pane", "f9", "pane(1)", "next pane", "To the next pane", "f9"),
    _quiet("chat.previous-pane", "shift+f9,f21", "pane(-1)", "pane before", "To the pane before"),
    _quiet("chat.duel", "ctrl+s", "duel", "duel", "Score this answer with the quantization in the pane beside"),
    _quiet(
        "chat.wider",
        "greater_than_sign,ctrl+shift+right",
        "widen(2)",
        "wider",
        "Make this pane wider; with the turns in focus",
        ">",
    ),
    _quiet(
        "chat.narrower",
        "less_than_sign,ctrl+shift+left",
        "widen(-2)",
        "narrower",
        "Make this pane narrower; with the turns in focus",
        "<",
    ),
    _quiet(
        "chat.taller",
        "plus,ctrl+shift+down",
        "heighten(2)",
        "taller",
        "Make this pane's row taller; with the turns in focus",
        "+",
    ),
    _quiet(
        "chat.lower",
        "minus,ctrl+shift+up",
        "heighten(-2)",
        "lower",
        "Make this pane's row lower; with the turns in focus",
        "-",
    ),
    _quiet("chat.zoom", "f10", "zoom", "zoom", "Show this pane alone, or all of them again"),
    _key("chat.settings", "f2", "settings", "settings", "System prompt, sampling, reasoning"),
    _key("chat.history", "f3", "history", "history", "Conversations: search, open, rename, export"),
    _quiet("chat.loaded", "f4", "loaded", "loaded", "Models in memory: what they hold, unload"),
    _quiet("chat.turns", "tab,shift+tab", "other_side", "turns or prompt", "Between the turns and the prompt"),
    _quiet("chat.reload", "ctrl+l", "reload", "load again", "Load the model again; smaller after a failure"),
)
HISTORY: Final = (
    _key("history.open", "enter", "open", "open", "Open the conversation in this pane", "↵"),
    _key("history.rename", "r", "rename", "rename", "Give it a title"),
    _key("history.pin", "p", "pin", "pin", "Keep it at the top, or no more"),
    _key("history.delete", "x,delete", "delete", "delete", "Delete it for good; asks first", "x"),
    _key("history.markdown", "m", "export('markdown')", "Markdown", "Write it to a Markdown file"),
    _key("history.json", "s", "export('json')", "JSON", "Write all branches to a JSON file"),
    _key("history.import", "i", "bring_in", "bring in", "Import a JSON file"),
    _key("history.search", "slash,ctrl+f", "search", "search", "Search in everything that was said", "/"),
    _quiet("history.list", "tab,down", "to_list", "to the list"),
    _quiet("history.close", "escape", "leave", "close", "", "esc"),
)

GUIDE: Final = (("Chat", CHAT), ("The prompt", PROMPT), ("The turns", TRANSCRIPT), ("Conversations", HISTORY))
"""Groups of keys in the order of the help."""
