"""The words and the memory bar for the cell under the cursor."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from backends.fit import Option
from tui import units
from tui.glyphs import VERDICT_WORDS, glyphs
from tui.widgets.lines import Piece, clean, fitted, joined, line, wrapped
from tui.widgets.memory_bar import PARTS, bar_pieces, legend_pieces

BASIS_WORDS = {
    "measured": "memory as measured here",
    "file": "memory from the weights' own header",
    "catalog": "memory from the catalog's architecture",
    "size": "memory from the parameter count alone: a rough figure",
}
HUB_WORDS = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}


class CellDetail(Widget):
    """One option in words: where it runs, how far, how fast, how we know, and what would help."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "cell-detail--weights",
        "cell-detail--kv-cache",
        "cell-detail--compute",
        "cell-detail--overhead",
        "cell-detail--over",
        "cell-detail--limit",
        "cell-detail--rule",
        "cell-detail--track",
        "cell-detail--muted",
        "cell-detail--gpu",
        "cell-detail--split",
        "cell-detail--cpu",
        "cell-detail--no",
        "cell-detail--cure",
    }

    def __init__(self) -> None:
        super().__init__(id="detail")
        self.option: Option | None = None
        self._disk_note = ""
        self._kv_cache_type = "f16"
        self._waiting = ""
        self._lines_cache: tuple[int, int, list[Strip]] | None = None

    def show(
        self, option: Option | None, *, disk_note: str = "", kv_cache_type: str = "f16", waiting: str = ""
    ) -> None:
        """Show an option; without one, what the screen waits for."""
        state = (option, disk_note, kv_cache_type, waiting)
        if state == (self.option, self._disk_note, self._kv_cache_type, self._waiting):
            return
        self.option, self._disk_note, self._kv_cache_type, self._waiting = state
        self._lines_cache = None
        self.refresh()

    def notify_style_update(self) -> None:
        self._lines_cache = None
        super().notify_style_update()

    def _part_styles(self) -> dict[str, Style]:
        styles = {
            word: self.get_component_rich_style(f"cell-detail--{word.lower().replace(' ', '-')}", partial=True)
            for word, _ in PARTS
        }
        for name in ("over", "limit", "rule", "muted", "track"):
            styles[name] = self.get_component_rich_style(f"cell-detail--{name}", partial=True)
        styles["plain"] = Style.null()
        return styles

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._lines_cache is None or self._lines_cache[:2] != (width, height):
            self._lines_cache = (width, height, self._draw(width, height))
        lines = self._lines_cache[2]
        return lines[y] if y < len(lines) else Strip.blank(width, self.rich_style)

    def _draw(self, width: int, height: int) -> list[Strip]:
        base = self.rich_style
        muted = self.get_component_rich_style("cell-detail--muted", partial=True)
        option = self.option
        if option is None:
            return [line([(f" {clean(self._waiting)}", muted)], width, base)]
        signs = glyphs()
        styles = self._part_styles()
        room = width - 2
        amount = self._amount(option)
        bar_width = max(10, room - len(amount) - 2)
        strips = [
            line(
                [
                    (" ", base),
                    *bar_pieces(option.memory, option.budget_bytes, bar_width, signs, styles),
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
        return f"{about}{needed} of {units.memory(option.budget_bytes)}"

    def _words(self, option: Option, room: int, lines_left: int, muted: Style) -> list[list[Piece]]:
        signs = glyphs()
        between = f" {signs.dot} "
        verdict = self.get_component_rich_style(f"cell-detail--{option.verdict}", partial=True)
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
        if option.reason:
            cure = self.get_component_rich_style("cell-detail--cure", partial=True)
            lines += [[(text, cure)] for text in wrapped(clean(option.reason), room)]
        basis = joined(
            (
                BASIS_WORDS[option.memory.basis],
                f"KV cache {self._kv_cache_type} for {units.count(option.context)} tokens",
            ),
            between,
        )
        tail = [basis, clean(self._disk_note), self._source(option)]
        for text in tail:
            if text:
                lines.append([(fitted(text, room, signs.ellipsis), muted)])
        return lines[: max(1, lines_left)]

    def _source(self, option: Option) -> str:
        between = f" {glyphs().dot} "
        hubs = " or ".join(HUB_WORDS.get(hub, hub) for hub in option.variant.hub_names)
        size = units.file_size(option.download_bytes) if option.download_bytes is not None else None
        return joined((clean(option.variant.model_id), hubs, f"{size} to download" if size else None), between)
