"""One turn as a transcript draws it: label, thinking, text and note, in lines that are made once."""

from __future__ import annotations

import re
from typing import Literal

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from backends.conversation import Spot
from specs.text import printable
from tui import units
from tui.widgets.inline import wrapped_plain
from tui.widgets.markdown_lines import Line, draw
from tui.widgets.markdown_pieces import Piece, PieceStream
from tui.widgets.palette import Palette

Kind = Literal["user", "assistant", "system"]
LABELS = {"user": "you", "assistant": "", "system": "system"}
FOLDED_LINES = 14
"""Lines of a long prompt that are shown until somebody unfolds it."""
LONG_PROMPT = 4_000
"""Characters after which a prompt is folded."""
LONGEST_SHOWN = 200_000
"""Characters of an unfolded prompt that are drawn; the rest is counted, copied and exported, not drawn."""


_EMOJI_JOINTS = re.compile("(?<=[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])\u200d|[\ufe0e\ufe0f]")


def safe(text: str) -> str:
    """A model's or a user's text as a terminal may have it, as wide there as we count it.

    Emoji joined to one picture are two cells wide in some terminals and eight in others: each stands for itself here.
    """
    text = text.replace("\r\n", "\n")
    if not text.isascii():
        text = _EMOJI_JOINTS.sub("", text)
    return printable(text, newlines=True)


class Column:
    """Markdown that grows at its end: finished pieces drawn once, the open rest drawn again."""

    def __init__(self, text: str = "", *, muted: bool = False) -> None:
        self.text: str
        """All that was fed, as the model gave it."""
        self._uncut: str
        self.lines: list[Line] = []
        """Lines of the finished pieces."""
        self.rest: list[Line] = []
        """Lines of what is still open."""
        self._muted = muted
        self._stream = PieceStream()
        self._held = ""
        self._last = ""
        self._heights: list[int] = []
        self._look: tuple[int, Palette] | None = None
        # A whole text is cut into pieces when it is first drawn: most of a long conversation never is.
        self.text = self._uncut = text

    def feed(self, text: str) -> None:
        """Take the next text, as the model gave it."""
        self._cut_whole()
        self.text += text
        self._feed(text)

    def _cut_whole(self) -> None:
        if self._uncut:
            text, self._uncut = self._uncut, ""
            self._feed(text)
            self.finish()

    def _feed(self, text: str) -> None:
        text = self._held + text
        # What the next character decides about waits for it: a line end in two, a joiner between two letters.
        whole = text.rstrip("\r\u200c\u200d")
        text, self._held = whole, text[len(whole) :]
        if not text:
            return
        shown = safe(self._last + text)
        self._stream.feed(shown[len(self._last) :])
        self._last = shown[-1]
        self._forget_merged()

    def finish(self) -> None:
        """Nothing follows."""
        self._stream.finish()
        self._forget_merged()

    def _forget_merged(self) -> None:
        merged = self._stream.merged_from
        if merged is not None and merged < len(self._heights):
            del self.lines[sum(self._heights[:merged]) :]
            del self._heights[merged:]

    def draw(self, width: int, palette: Palette) -> int:
        """Bring the lines up to date; returns the first line that may have changed."""
        self._cut_whole()
        look = (width, palette)
        if self._look is None or self._look[0] != width or self._look[1] is not palette:
            self.lines, self._heights, self._look = [], [], look
        changed = len(self.lines)
        for piece in self._stream.pieces[len(self._heights) :]:
            drawn = self._strips(piece, width, palette)
            self._heights.append(len(drawn))
            self.lines.extend(drawn)
        self.rest = [line for piece in self._stream.rest() for line in self._strips(piece, width, palette)]
        return changed

    def _strips(self, piece: Piece, width: int, palette: Palette) -> list[Line]:
        if not self._muted:
            return [padded(line, width, palette.text) for line in draw(piece, width, palette)]
        bar = Segment("│ ", palette.rule)
        lines = draw(piece, width - 2, palette, palette.muted)
        return [padded([bar, *line], width, palette.text) for line in lines]

    def __len__(self) -> int:
        return len(self.lines) + len(self.rest)

    def line(self, n: int) -> Line:
        """The n-th line, finished or open."""
        return self.lines[n] if n < len(self.lines) else self.rest[n - len(self.lines)]


class Entry:
    """One turn of a conversation on the screen."""

    def __init__(
        self,
        key: str,
        kind: Kind,
        text: str = "",
        *,
        reasoning: str = "",
        reasoning_tokens: int = 0,
        note: str = "",
        warning: bool = False,
        branch: str = "",
        attachments: tuple[str, ...] = (),
    ) -> None:
        self.key = key
        self.kind = kind
        self.reasoning_tokens = reasoning_tokens
        self.note = note
        """What became of the turn, below it; empty: nothing to say."""
        self.warning = warning
        self.branch = branch
        """Which of its siblings this turn is, as "2 of 3"; empty: it has none."""
        self.attachments = attachments
        self.folded = len(text) > LONG_PROMPT if kind == "user" else True
        self.streaming = False
        self.fold_line: int | None = None
        """The line that folds and unfolds, counted from the entry's first; None: there is none."""
        self.height: int | None = None
        """Lines as drawn last; None: to be drawn again."""
        self._prompt = text if kind == "user" else ""
        self._body = Column("" if kind == "user" else text)
        self._thinking = Column(reasoning, muted=True)
        self._head: list[Line] = []
        self._fold: list[Line] = []
        self._fold_text = ""
        self._space: list[Line] = []
        self._foot: list[Line] = []
        self._look: tuple[int, Palette] | None = None

    @property
    def text(self) -> str:
        """What the turn says, as the model gave it or the user typed it."""
        return self._prompt or self._body.text

    @property
    def reasoning(self) -> str:
        """What the model thought."""
        return self._thinking.text

    def spots(self, node_id: str, first: int = 0) -> tuple[Spot, ...]:  # noqa: ARG002
        """Tokens of a turn whose alternatives are known, from this one on; only a completion has them."""
        return ()

    def answer_text(self, node_id: str) -> str:  # noqa: ARG002 - a passage holds several turns
        """What one turn says."""
        return self.text

    def append(self, text: str, *, reasoning: bool = False, tokens: int = 0) -> None:
        """More of an answer."""
        if reasoning:
            self._thinking.feed(text)
            self.reasoning_tokens += tokens
            return
        if self._thinking.text and not self._body.text:
            self._thinking.finish()
            text = text.lstrip("\n")
        if text:
            self._body.feed(text)

    def all_was_thinking(self, more: str = "") -> None:
        """What came as the answer was thinking after all: a closing tag came without its opening one."""
        self._thinking.feed(self._body.text + more)
        self._body = Column()
        self.height = None

    def finish(self) -> None:
        """The answer is over."""
        self.streaming = False
        self._thinking.finish()
        self._body.finish()
        self.height = None

    def fold(self) -> bool:
        """Fold what is unfolded and the other way round; False: there is nothing to fold."""
        if self.kind == "user":
            if len(self._prompt) <= LONG_PROMPT:
                return False
        elif not self._thinking.text.strip():
            return False
        self.folded = not self.folded
        self.height = None
        return True

    def estimate(self, width: int) -> int:
        """About how many lines it takes, without drawing any."""
        text = self.text
        if self.folded and self.kind == "user":
            text = text[: FOLDED_LINES * width]
        lines = text.count("\n") + 1 + len(text) // max(1, width)
        around = 1 + (self.kind != "assistant") + bool(self.reasoning) + bool(self.note)
        return lines + around

    def draw(self, width: int, palette: Palette, *, first: bool = False) -> int:
        """Make the lines for this width; returns the first one that may have changed."""
        fresh = self.height is None or self._look is None or self._look[0] != width or self._look[1] is not palette
        if fresh:
            self._look = (width, palette)
            self._head = self._draw_head(width, palette, first=first)
            self._foot = self._draw_foot(width, palette)
            self._fold_text = ""
        changed = self._draw_thinking(width, palette)
        space = 1 if self._fold and self._body.text and self.kind != "user" else 0
        self._space = [padded([], width, palette.text)] * space
        body_changed = self._body.draw(width, palette)
        above = len(self._head) + len(self._fold) + (0 if self._thinking_hidden else len(self._thinking)) + space
        if self._body.text:
            changed = min(changed, above + body_changed)
        self.height = above + len(self._body) + len(self._foot)
        return 0 if fresh else changed

    @property
    def _thinking_hidden(self) -> bool:
        return self.folded or not self._fold

    def _draw_thinking(self, width: int, palette: Palette) -> int:
        """The line that folds the thinking and, unfolded, the thinking; returns the first changed line."""
        if self.kind == "user":
            return 1 << 30
        if not self._thinking.text.strip():
            self._fold, self.fold_line = [], None
            return len(self._head)
        sign = "▸" if self.folded else "▾"
        state = "thinking" if self.streaming and not self._body.text else "thought"
        count = f", {units.counted(self.reasoning_tokens, 'token')}" if self.reasoning_tokens else ""
        text = f"{sign} {state}{count}"
        self.fold_line = len(self._head)
        changed = 1 << 30
        if text != self._fold_text:
            self._fold_text = text
            self._fold = [padded([Segment(text[:width], palette.muted)], width, palette.text)]
            changed = self.fold_line
        if not self.folded:
            changed = min(changed, self.fold_line + 1 + self._thinking.draw(width, palette))
        return changed

    def line(self, n: int) -> Line:
        """The n-th line as it was drawn last."""
        for part in (
            self._head,
            self._fold,
            self._thinking if not self._thinking_hidden and self.kind != "user" else (),
            self._space,
            self._body,
            self._foot,
        ):
            if n < len(part):
                return part.line(n) if isinstance(part, Column) else part[n]
            n -= len(part)
        raise IndexError(n)

    def _draw_head(self, width: int, palette: Palette, *, first: bool) -> list[Line]:
        lines: list[Line] = [] if first else [[]]
        label = LABELS[self.kind]
        if label or self.branch:
            room = width - cell_len(label) - cell_len(self.branch)
            style = palette.primary + _BOLD if self.kind == "user" else palette.muted
            lines.append(
                [Segment(label, style), Segment(" " * max(1, room), palette.text), Segment(self.branch, palette.muted)]
            )
        lines.extend([Segment(f"+ {printable(name)}"[:width], palette.muted)] for name in self.attachments)
        if self.kind == "user":
            self.fold_line = None
            lines.extend(self._draw_prompt(width, palette, len(lines)))
        return [padded(line, width, palette.text) for line in lines]

    def _draw_prompt(self, width: int, palette: Palette, above: int) -> list[Line]:
        shown = self._prompt[:LONGEST_SHOWN]
        if self.folded:
            shown = shown[: FOLDED_LINES * width * 2]
        shown = safe(shown.expandtabs(4))
        lines = wrapped_plain(shown, width, palette.text)
        characters = len(self._prompt)
        if characters <= LONG_PROMPT:
            return lines
        if self.folded:
            lines = lines[:FOLDED_LINES]
            what = f"▸ all of it: {characters:,} characters, {self._prompt.count(chr(10)) + 1:,} lines"
        elif characters > LONGEST_SHOWN:
            what = f"▾ the first {LONGEST_SHOWN:,} of {characters:,} characters; the model reads all of them"
        else:
            what = "▾ fold"
        self.fold_line = above + len(lines)
        return [*lines, [Segment(what[:width], palette.muted)]]

    def _draw_foot(self, width: int, palette: Palette) -> list[Line]:
        if not self.note:
            return []
        style = palette.warning if self.warning else palette.muted
        return [padded(line, width, palette.text) for line in wrapped_plain(safe(self.note), width, style)]


_BOLD = Style(bold=True)


def padded(line: Line, width: int, base: Style) -> Line:
    """A line padded to its width, and cut there should it ever be wider.

    Segments only: a Strip brings eight caches along, which is too much for every line of every answer.
    """
    used = sum(cell_len(segment.text) for segment in line)
    if used < width:
        return [*line, Segment(" " * (width - used), base)]
    return line if used == width else Segment.adjust_line_length(line, width, base)
