"""A text that a base model continues: what the user wrote, what the model added, and what could have stood there."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style

from backends.conversation import Node, Spot
from backends.engines.engine import Alternative
from specs.text import printable
from tui.widgets.entry import Entry, padded, safe
from tui.widgets.inline import breaks, cut, wrapped_plain
from tui.widgets.markdown_lines import Line
from tui.widgets.markdown_pieces import LONGEST_LINE
from tui.widgets.palette import Palette


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the text that came at once."""

    text: str
    node_id: str
    offset: int
    """Characters of the same turn before it."""
    generated: bool
    alternatives: tuple[Alternative, ...] = ()
    """What could have stood here instead, the most probable first."""
    differs: bool = False
    """Whether another variant of the model would have gone on otherwise here."""


class Passage(Entry):
    """The whole text as one entry of a transcript."""

    def __init__(self, key: str = "passage", *, note: str = "", warning: bool = False) -> None:
        super().__init__(key, "assistant", note=note, warning=warning)
        self.parts: list[Part] = []
        self.spot: int | None = None
        """The part under the token cursor; None: the cursor is not shown."""
        self._node_id = key
        self._written: dict[str, str] = {}
        self._spots: dict[str, list[Spot]] = {}
        self._lines: list[list[tuple[str, int]]] = [[]]
        self._drawn_lines: list[list[Line]] = []
        self._starts: list[int] = []
        self._end_column = 0
        self._wrap: tuple[int, Palette] | None = None
        self._note_lines: list[Line] = []

    def begin(self, node_id: str) -> None:
        """What comes now belongs to this turn."""
        self._node_id = node_id
        self._written.setdefault(node_id, "")

    def add(
        self,
        node_id: str,
        text: str,
        *,
        generated: bool,
        alternatives: Sequence[Alternative] = (),
        differs: bool = False,
    ) -> None:
        """More text at the end."""
        written = self._written.get(node_id, "")
        self.parts.append(Part(text, node_id, len(written), generated, tuple(alternatives), differs))
        self._written[node_id] = written + text
        if alternatives:
            self._spots.setdefault(node_id, []).append(Spot(len(written), text, tuple(alternatives)))
        index = len(self.parts) - 1
        first, *rest = safe(text).expandtabs(4).split("\n")
        self._extend(first, index)
        for line in rest:
            self._lines.append([])
            self._end_column = 0
            self._extend(line, index)
        self._forget_line(len(self._lines) - 1 - len(rest))

    def _extend(self, text: str, index: int) -> None:
        while text:
            room = LONGEST_LINE - self._end_column
            if room <= 0:
                self._lines.append([])
                self._end_column, room = 0, LONGEST_LINE
            self._lines[-1].append((text[:room], index))
            self._end_column += len(text[:room])
            text = text[room:]

    def add_turn(self, turn: Node) -> None:
        """A whole turn at the end, with the alternatives that are known of it."""
        generated, at = turn.role == "assistant", 0
        for spot in turn.spots:
            end = spot.offset + len(spot.text)
            if spot.offset < at or turn.text[spot.offset : end] != spot.text:
                continue
            if spot.offset > at:
                self.add(turn.id, turn.text[at : spot.offset], generated=generated)
            self.add(turn.id, spot.text, generated=generated, alternatives=spot.alternatives)
            at = end
        if at < len(turn.text):
            self.add(turn.id, turn.text[at:], generated=generated)

    def append(self, text: str, *, reasoning: bool = False, tokens: int = 0) -> None:  # noqa: ARG002
        """More of what the model writes; a base model's thinking is text as well."""
        self.add(self._node_id, text, generated=True)

    def append_spots(self, pieces: Iterable[tuple[str, Sequence[Alternative]]]) -> None:
        """More of what the model writes, token by token, with what else could have stood there."""
        for text, alternatives in pieces:
            if text:
                self.add(self._node_id, text, generated=True, alternatives=alternatives)

    def all_was_thinking(self, more: str = "") -> None:
        """Nothing changes: thinking stands in the text like everything else."""
        if more:
            self.append(more)

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)

    def spots(self, node_id: str, first: int = 0) -> tuple[Spot, ...]:
        return tuple(self._spots.get(node_id, ())[first:])

    def answer_text(self, node_id: str) -> str:
        return self._written.get(node_id, "")

    def finish(self) -> None:
        self.streaming = False
        self.height = None

    def fold(self) -> bool:
        return False

    def move_spot(self, step: int) -> Part | None:
        """The token cursor to the next or previous token that has alternatives."""
        spots = [i for i, part in enumerate(self.parts) if part.alternatives]
        if not spots:
            return None
        if self.spot is None:
            target = spots[-1] if step < 0 else spots[0]
        else:
            at = bisect_right(spots, self.spot - 1) if step < 0 else bisect_right(spots, self.spot)
            target = spots[max(0, min(len(spots) - 1, at - 1 if step < 0 else at))]
        self._mark(self.spot)
        self.spot = target
        self._mark(target)
        return self.parts[target]

    def leave_spot(self) -> None:
        """Take the token cursor away."""
        self._mark(self.spot)
        self.spot = None

    def spot_line(self) -> int | None:
        """The drawn line in which the token cursor stands."""
        if self.spot is None:
            return None
        for n, line in enumerate(self._lines):
            if any(index == self.spot for _, index in line):
                return self._starts[n] if n < len(self._starts) else None
        return None

    def _mark(self, spot: int | None) -> None:
        if spot is None:
            return
        for n, line in enumerate(self._lines):
            if any(index == spot for _, index in line):
                self._forget_line(n)
                return

    def _forget_line(self, n: int) -> None:
        del self._drawn_lines[n:], self._starts[n:]

    def estimate(self, width: int) -> int:
        return sum(1 + sum(len(text) for text, _ in line) // max(1, width) for line in self._lines)

    def draw(self, width: int, palette: Palette, *, first: bool = False) -> int:  # noqa: ARG002
        if self._wrap is None or self._wrap[0] != width or self._wrap[1] is not palette:
            self._wrap = (width, palette)
            self._forget_line(0)
        changed = self._starts[-1] + len(self._drawn_lines[-1]) if self._starts else 0
        total = changed
        looks = self._looks(palette)
        for n in range(len(self._drawn_lines), len(self._lines)):
            line = self._lines[n]
            styled = (
                (text, looks["spot"] if index == self.spot else looks[self._look_of(self.parts[index])])
                for text, index in line
            )
            source = "".join(text for text, _ in line)
            drawn = [padded(part, width, palette.text) for part in cut(styled, breaks(source, width))]
            self._starts.append(total)
            self._drawn_lines.append(drawn)
            total += len(drawn)
        style = palette.warning if self.warning else palette.muted
        self._note_lines = []
        if self.note:
            noted = [[Segment("", style)], *wrapped_plain(safe(self.note), width, style)]
            self._note_lines = [padded(line, width, palette.text) for line in noted]
        self.height = total + len(self._note_lines)
        return changed

    @staticmethod
    def _look_of(part: Part) -> str:
        return "differs" if part.differs else "generated" if part.generated else "given"

    @staticmethod
    def _looks(palette: Palette) -> dict[str, Style]:
        return {
            "spot": palette.text + Style(reverse=True),
            "differs": palette.warning + Style(bold=True, underline=True),
            "generated": palette.text,
            "given": palette.primary + Style(bold=True),
        }

    def line(self, n: int) -> Line:
        last = self._starts[-1] + len(self._drawn_lines[-1]) if self._starts else 0
        if n >= last:
            return self._note_lines[n - last]
        at = bisect_right(self._starts, n) - 1
        return self._drawn_lines[at][n - self._starts[at]]


def tokens_of(text: str, alternatives: Sequence[Sequence[Alternative]]) -> list[tuple[str, Sequence[Alternative]]]:
    """The text of one chunk cut at its tokens, as far as their alternatives tell where they end."""
    if len(alternatives) <= 1:
        return [(text, alternatives[0] if alternatives else ())]
    pieces: list[tuple[str, Sequence[Alternative]]] = []
    rest = text
    for n, choices in enumerate(alternatives):
        if n == len(alternatives) - 1:
            pieces.append((rest, choices))
            break
        found = max((a.text for a in choices if a.text and rest.startswith(a.text)), key=len, default="")
        if not found:
            pieces.append((rest, choices))
            break
        pieces.append((found, choices))
        rest = rest[len(found) :]
    return pieces


def share(alternative: Alternative) -> float:
    """Its probability, 0 to 1."""
    return math.exp(min(0.0, alternative.logprob))


def quoted(text: str) -> str:
    """A token as one sees where it begins and ends."""
    return f'"{printable(repr(text)[1:-1])}"' if text else "(end)"


def alternatives_rows(passage: Passage) -> list[tuple[str, str, float]]:
    """The alternatives at the token cursor: the digit that chooses it, the token, its probability."""
    if passage.spot is None:
        return []
    choices = passage.parts[passage.spot].alternatives
    return [(str(n), quoted(a.text), share(a)) for n, a in enumerate(choices, 1)]
