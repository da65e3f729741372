"""Every key of the app in one place: footer, help, palette and user key maps are made from these."""

from __future__ import annotations

from typing import Final

from textual.binding import Binding

from tui.chat_keys import GUIDE as CHAT_GUIDE


def _key(name: str, key: str, action: str, label: str, tooltip: str, shown: str | None = None) -> Binding:
    """A key that the footer shows."""
    return Binding(key, action, label, key_display=shown, tooltip=tooltip, id=name)


def _quiet(name: str, key: str, action: str, label: str, tooltip: str = "", shown: str | None = None) -> Binding:
    """A key that the footer leaves to the help."""
    return Binding(key, action, label, show=False, key_display=shown, tooltip=tooltip or label, id=name)


APP: Final = (
    # First of all, so that the letters typed right after it find the palette and do nothing else.
    Binding(
        "ctrl+p",
        "command_palette",
        "everything",
        key_display="ctrl+p",
        tooltip="Find any action or model by a few letters",
        id="app.palette",
        priority=True,
    ),
    _key("app.help", "question_mark,f1", "help", "help", "What the signs mean, and every key", "?"),
    Binding("ctrl+q", "quit", "quit", key_display="ctrl+q", tooltip="Leave at once", id="app.quit", priority=True),
    _quiet("app.models", "f5", "mode('browse')", "models", "Browse models and what runs here", "f5"),
    _quiet("app.downloads", "f6", "mode('downloads')", "downloads", "Watch and steer the downloads", "f6"),
    _quiet("app.chat", "f7", "mode('chat')", "chat", "Talk to the models that are loaded", "f7"),
    _quiet("app.hubs", "f4", "hubs", "search the hubs", "Any repository of the hubs, judged like the catalog", "f4"),
    _quiet("app.library", "f9", "mode('library')", "library", "Everything on this disk that can be run", "f9"),
    _quiet("app.notices", "f8", "notices", "notices", "What went wrong with spec files or devices", "f8"),
    _quiet("app.copy-or-quit", "ctrl+c", "help_quit", "copy, or how to quit"),
)

ROWS: Final = (
    _quiet("rows.up", "up,k", "cursor_up", "row up", "", "↑"),
    _quiet("rows.down", "down,j", "cursor_down", "row down", "", "↓"),
    _quiet("rows.page-up", "pageup", "page_up", "page up"),
    _quiet("rows.page-down", "pagedown", "page_down", "page down"),
    _quiet("rows.first", "home", "first", "first row"),
    _quiet("rows.last", "end", "last", "last row"),
)

FAMILIES: Final = (
    _key("families.open", "enter,right", "choose", "open", "Look at the variants of this family", "↵"),
    *ROWS,
)

MATRIX: Final = (
    _key("matrix.chat", "enter", "chat", "chat", "Talk to this variant; offers the download when it is missing", "↵"),
    _key(
        "matrix.complete",
        "enter",
        "complete",
        "complete",
        "Let this variant continue a text of yours; offers the download when it is missing",
        "↵",
    ),
    _quiet("matrix.up", "up,k", "move(0, -1)", "cell up", "", "↑"),
    _quiet("matrix.down", "down,j", "move(0, 1)", "cell down", "", "↓"),
    _quiet("matrix.left", "left,h", "move(-1, 0)", "cell left; back to the list from the first", "", "←"),
    _quiet("matrix.right", "right,l", "move(1, 0)", "cell right", "", "→"),
    _quiet("matrix.first", "home", "edge(-1)", "first cell of the row"),
    _quiet("matrix.last", "end", "edge(1)", "last cell of the row"),
)

CELL: Final = (
    _key("matrix.download", "d", "cell('download')", "download", "Put the weights of the chosen cell on this disk"),
    _quiet(
        "matrix.beside", "b", "cell('beside')", "chat beside", "Talk to the chosen cell in a pane beside the others"
    ),
    _key("matrix.engine", "e", "cell('engine')", "engine", "Judge with the next engine that takes this format"),
)
"""What acts on the chosen cell of the matrix, from the list too."""

BROWSE: Final = (
    _key("browse.keep", "s", "keep", "keep", "Put this family into your own catalog"),
    *CELL,
    _key("browse.search", "slash,ctrl+f", "search", "search", "Filter the families as you type", "/"),
    _key(
        "browse.longer",
        "right_square_bracket",
        "context(1)",
        "context",
        "Judge with a longer context; [ for shorter",
        "[ ]",
    ),
    _quiet("browse.shorter", "left_square_bracket", "context(-1)", "shorter context", "", "["),
    _key("browse.machine", "m", "machine", "machine", "What if: judge for another machine"),
    _key("browse.fits", "f", "fits", "fits only", "Show only families that run somewhere on the machine"),
    _quiet("browse.on-disk", "o", "on_disk", "on this disk", "Show only families with weights on this disk"),
    _quiet("browse.kv-cache", "v", "kv_cache", "KV cache type", "Judge with a KV cache of f16, q8_0 or q4_0"),
    _quiet(
        "browse.hardware",
        "w",
        "hardware",
        "hardware",
        "Every device, who holds its memory, and what could not be known",
    ),
    _quiet(
        "browse.forget-loads",
        "x",
        "forget_loads",
        "forget measured loads",
        "Judge this engine and format without what loads here took",
    ),
    _quiet("browse.focus", "tab,shift+tab", "other_side", "list or matrix", "Go to the other side"),
    _key("browse.back", "escape", "back", "back", "End the search, leave the family", "esc"),
)

DOWNLOADS: Final = (
    _key("downloads.pause", "p,space", "pause", "pause/resume", "Pause this download, or go on with it", "p"),
    _key(
        "downloads.cancel",
        "x,delete",
        "cancel",
        "cancel",
        "Give this download up, after asking",
        "x",
    ),
    _key("downloads.clear", "x,delete", "clear", "clear", "Take this download, which is done, off the list", "x"),
    _key("downloads.retry", "r", "retry", "retry", "Try again after it failed"),
    _key("downloads.retry_now", "r", "retry_now", "retry now", "Try again at once instead of waiting for the next try"),
    _key("downloads.token", "t", "token", "token", "Give a token of yours, then try again"),
    _key(
        "downloads.earlier",
        "left_square_bracket,shift+up",
        "move(-1)",
        "earlier",
        "Let it run before the one above",
        "[",
    ),
    _key("downloads.later", "right_square_bracket,shift+down", "move(1)", "later", "Let the one below run first", "]"),
    _key("downloads.back", "escape", "back", "models", "Back to the models", "esc"),
    *ROWS,
)

HITS: Final = (
    _key("hits.open", "enter", "choose", "look into it", "Judge what this repository holds", "↵"),
    _quiet("hits.up", "up", "cursor_up", "row up", "", "↑"),
    _quiet("hits.down", "down", "cursor_down", "row down", "", "↓"),
)

HUB_SEARCH: Final = (_key("hubs.back", "escape", "back", "models", "Back to the models", "esc"),)

STORED: Final = (
    _key("stored.chat", "enter", "choose", "chat", "Talk to it, whether the catalog knows it or not", "↵"),
    _key("stored.complete", "enter", "complete", "complete", "Let this base model continue a text of yours", "↵"),
    *ROWS,
)

LIBRARY: Final = (
    _key("library.verify", "v", "verify", "verify", "Read every byte and compare the sums; once more stops"),
    _key("library.remove", "x,delete", "remove", "remove", "Take it off this disk, after saying what goes", "x"),
    _key("library.adopt", "a", "adopt", "adopt", "Put weights that lie anywhere on this disk into your catalog"),
    _key("library.look", "r", "look", "look again", "Look through this disk again"),
    _key("library.back", "escape", "back", "models", "Back to the models", "esc"),
)

GUIDE: Final = (
    ("Everywhere", APP),
    ("The list", FAMILIES),
    ("The fit matrix", MATRIX),
    ("Browse", BROWSE),
    ("Downloads", DOWNLOADS),
    ("Search of the hubs", (*HITS, *HUB_SEARCH)),
    ("Library", (*STORED[:2], *LIBRARY)),
    *CHAT_GUIDE,
)
"""Groups of keys in the order of the help."""
