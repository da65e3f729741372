"""The words and the memory bar for the cell under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.style import Style
from textual.strip import Strip

from tui import units
from tui.glyphs import VERDICT_WORDS, glyphs
from tui.widgets.drawn import DrawnLines
from tui.widgets.inks import VERDICT_INKS, ink
from tui.widgets.lines import Piece, clean, fitted, joined, line, wrapped
from tui.widgets.memory_bar import PARTS, bar_pieces, legend_pieces

if TYPE_CHECKING:
    from backends.fit import Option

BASIS_WORDS = {
    "measured": "memory corrected by what loads here took",
    "file": "memory from the weights' own header",
    "catalog": "memory from the catalog's architecture",
    "size": "memory from the parameter count alone: a rough figure",
}
HUB_WORDS = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}


class CellDetail(DrawnLines):
    """One option in words: where it runs, how far, how fast, how we know, and what would help."""

    def __init__(self) -> None:
        super().__init__(id="detail")
        self.option: Option | None = None
        self._disk_note = ""
        self._kv_cache_type = "f16"
        self._waiting = ""
        self._room_note = ""
        self._lines_cache: tuple[int, int, list[Strip]] | None = None

    def show(
        self,
        option: Option | None,
        *,
        disk_note: str = "",
        kv_cache_type: str = "f16",
        waiting: str = "",
        room_note: str = "",
    ) -> None:
        """Show an option; without one, what the screen waits for.

        Args:
            room_note: What would make room for it at once, which stands before every other cure; "": nothing.
        """
        state = (option, disk_note, kv_cache_type, waiting, room_note)
        if state == (self.option, self._disk_note, self._kv_cache_type, self._waiting, self._room_note):
            return
        self.option, self._disk_note, self._kv_cache_type, self._waiting, self._room_note = state
        self._lines_cache = None
        self.redraw()

    def notify_style_update(self) -> None:
        self._lines_cache = None
        super().notify_style_update()

    def _part_styles(self) -> dict[str, Style]:
        names = dict(zip((word for word, _ in PARTS), ("primary", "success", "accent", "foreground"), strict=True))
        names |= {"over": "error", "rule": "faint", "muted": "muted"}
        styles = {word: ink(self, name) for word, name in names.items()}
        return {
            **styles,
            "limit": ink(self, "error", bold=True),
            "track": ink(self, on="panel"),
            "plain": Style.null(),
        }

    def draw_line(self, y: int, width: int, base: Style) -> Strip:
        height = self.size.height
        if self._lines_cache is None or self._lines_cache[:2] != (width, height):
            self._lines_cache = (width, height, self._draw(width, height))
        lines = self._lines_cache[2]
        return lines[y] if y < len(lines) else Strip.blank(width, base)

    def _draw(self, width: int, height: int) -> list[Strip]:
        base = self.rich_style
        muted = ink(self, "muted")
        option = self.option
        if option is None:
            return [line([(f" {clean(self._waiting)}", muted)], width, base)]
        signs = glyphs()
        styles = self._part_styles()
        room = width - 2
        amount = self._amount(option)
        bar_width = max(10, room - len(amount) - 2)
        budget = option.budget_bytes
        if budget is not None and option.verdict != "no":
            # Places keep a process's own share apart: what fits may print some MiB more than it has to share.
            budget = max(budget, option.memory.total_bytes)
        strips = [
            line(
                [
                    (" ", base),
                    *bar_pieces(option.memory, budget, bar_width, signs, styles),
                    (f"  {amount}", base),
                ],
                width,
                base,
            )
        ]
        legend = legend_pieces(option.memory, signs, styles)
        if sum(len(text) for text, _ in legend) > room:
            legend = legend_pieces(option.memory, signs, styles, " ")
        strips.append(line([(" ", base), *legend], width, base))
        for pieces in self._words(option, room, height - len(strips), muted):
            strips.append(line([(" ", base), *pieces], width, base))  # noqa: PERF401
        return strips

    def _amount(self, option: Option) -> str:
        about = "about " if option.about else ""
        needed = units.memory(option.memory.total_bytes)
        if option.budget_bytes is None:
            return f"{about}{needed}"
        budget = units.memory(option.budget_bytes)
        number, _, unit = needed.partition(" ")
        return f"{about}{number if budget.endswith(f' {unit}') else needed} of {budget}"

    def _words(self, option: Option, room: int, lines_left: int, muted: Style) -> list[list[Piece]]:
        signs = glyphs()
        between = f" {signs.dot} "
        verdict = ink(self, "error" if option.verdict == "no" else VERDICT_INKS[option.verdict], bold=True)
        where = clean(option.where) or VERDICT_WORDS[option.verdict]
        facts = []
        if option.max_context is not None and option.verdict != "no":
            facts.append(f"context up to {units.count(option.max_context)}")
        if option.tokens_per_second is not None:
            about = "" if option.tokens_per_second.basis == "measured" else "about "
            measured = ", measured" if option.tokens_per_second.basis == "measured" else ""
            facts.append(f"{about}{units.tokens_per_second(option.tokens_per_second.value)}{measured}")
        elif option.verdict != "no":
            facts.append("speed unknown")
        head = f"{signs.verdict(option.verdict)} {where}"
        rest = joined(facts, between)
        lines: list[list[Piece]] = []
        if len(head) + len(rest) + 3 <= room or not rest:
            lines.append([(head, verdict), (f"{between}{rest}" if rest else "", Style.null())])
        else:
            lines += [
                [(fitted(head, room, signs.ellipsis), verdict)],
                [("  " + fitted(rest, room - 2, signs.ellipsis), Style.null())],
            ]
        cure = ink(self, "foreground")
        for words in (self._room_note, option.reason):
            if words:
                lines += [[(text, cure)] for text in wrapped(clean(words), room)]
        if option.install_line and option.verdict != "no":
            lines += [[(text, muted)] for text in wrapped(f"to install: {clean(option.install_line)}", room)]
        basis = joined(
            (
                BASIS_WORDS[option.memory.basis],
                f"compute by llama.cpp {option.compute_by} itself" if option.compute_by else "",
                f"KV cache {self._kv_cache_type} for {units.count(option.context)} tokens",
            ),
            between,
        )
        for text in (self._place_on_disk(room), self._source(option), basis):
            lines += [[(part, muted)] for part in wrapped(clean(text), room)[:2]]
        return lines[: max(1, lines_left)]

    def _place_on_disk(self, room: int) -> str:
        """Where it lies in one line: of a long path the end, which tells files apart."""
        note = clean(self._disk_note)
        words, colon, path = note.partition(": ")
        left = room - len(words) - len(colon) - 1
        return note if len(note) <= room or left < 8 else f"{words}{colon}{glyphs().ellipsis}{path[-left:]}"

    def _source(self, option: Option) -> str:
        between = f" {glyphs().dot} "
        hubs = " or ".join(HUB_WORDS.get(hub, hub) for hub in option.variant.hub_names)
        size = units.file_size(option.download_bytes) if option.download_bytes and not self._disk_note else None
        return joined((clean(option.variant.model_id), hubs, f"{size} to download" if size else None), between)
