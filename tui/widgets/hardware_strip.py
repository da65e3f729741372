"""The strip on top of the screens: memory of every card and of the host, and the context asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from tui import units
from tui.glyphs import bar, glyphs
from tui.widgets.drawn import DrawnLines
from tui.widgets.inks import ink
from tui.widgets.lines import Piece, clean, fitted, line

if TYPE_CHECKING:
    from backends.machine.model import Accelerator, Machine

BAR_CELLS = 10
SHORT_BAR_CELLS = 4
INKS = {
    "title": "primary",
    "bar": "primary",
    "high": "warning",
    "muted": "muted",
    "whatif": "accent",
    "notice": "warning",
}


class Gauge(NamedTuple):
    """Memory of one place, or of several alike."""

    name: str
    free_bytes: int | None
    total_bytes: int | None
    load_percent: int | None = None
    """How busy the busiest of them is; None: not known."""

    @property
    def used_share(self) -> float | None:
        """Share that is taken, 0 to 1; None: not known."""
        if self.free_bytes is None or not self.total_bytes:
            return None
        return 1 - self.free_bytes / self.total_bytes


def short_name(name: str) -> str:
    """A device's name without its maker: "RTX 4090" of "NVIDIA GeForce RTX 4090"."""
    for word in ("NVIDIA ", "GeForce ", "AMD ", "Radeon ", "Apple ", "Intel(R) ", "Graphics"):
        name = name.replace(word, "")
    return name.strip() or "GPU"


def gauges(machine: Machine) -> list[Gauge]:
    """One gauge a kind of card, those that are alike taken together, then the host's memory."""
    alike: dict[str, list[Accelerator]] = {}
    for accelerator in machine.accelerators:
        alike.setdefault(short_name(accelerator.name), []).append(accelerator)
    result = []
    for name, cards in alike.items():
        free = [card.free_bytes for card in cards if card.free_bytes is not None]
        total = [card.total_bytes for card in cards if card.total_bytes is not None]
        label = f"{len(cards)}x {name}" if len(cards) > 1 else name
        loads = [card.load_percent for card in cards if card.load_percent is not None]
        result.append(
            Gauge(
                label,
                sum(free) if len(free) == len(cards) else None,
                sum(total) if len(total) == len(cards) else None,
                max(loads, default=None),
            )
        )
    unified = any(card.unified for card in machine.accelerators)
    result.append(
        Gauge("unified RAM" if unified else "RAM", machine.memory.available_bytes, machine.memory.total_bytes)
    )
    return result


class HardwareStrip(DrawnLines):
    """One line that never changes its layout when its numbers do."""

    def __init__(self) -> None:
        super().__init__(id="hardware")
        self._machine: Machine | None = None
        self._right = ""
        self._notices = 0

    def show(self, machine: Machine | None, right: str = "", notices: int = 0) -> None:
        """Show a machine, what stands at the right end, and how many notices wait to be read."""
        if (machine, right, notices) != (self._machine, self._right, self._notices):
            self._machine, self._right, self._notices = machine, right, notices
            self.redraw()

    async def on_click(self, event: Click) -> None:
        """The notices at the right end, everything about the devices elsewhere."""
        right = sum(cell_len(text) for text, _ in self._right_pieces())
        if self._notices and event.x >= self.size.width - right:
            await self.app.run_action("notices")
        elif hasattr(self.screen, "action_hardware"):
            await self.app.run_action("hardware", self.screen)

    def draw_line(self, y: int, width: int, base: Style) -> Strip:
        if y:
            return Strip.blank(width, base)
        right = self._right_pieces()
        right_width = sum(cell_len(text) for text, _ in right)
        left = self._left_pieces(width - right_width)
        left_width = sum(cell_len(text) for text, _ in left)
        gap = max(0, width - left_width - right_width)
        return line([*left, (" " * gap, Style.null()), *right], width, base)

    def _style(self, name: str) -> Style:
        return ink(self, INKS[name], bold=name in {"title", "whatif"})

    def _right_pieces(self) -> list[Piece]:
        pieces: list[Piece] = []
        if self._notices:
            noun = " notice" if self._notices == 1 else " notices"
            pieces.append((f"  f8 {self._notices}{noun if self.size.width >= 100 else '!'}", self._style("notice")))
        if self._right:
            pieces.append((f"  {self._right} ", self._style("title")))
        return pieces

    def _left_pieces(self, room: int) -> list[Piece]:
        pieces: list[Piece] = [(" modeldeck", self._style("title"))]
        machine = self._machine
        if machine is None:
            return [*pieces, ("   looking at the hardware", self._style("muted"))]
        if machine.label:
            before, after = "  what if: ", ", not this machine"
            label = clean(machine.label)
            # The words that it is not this one, and what stands at the right end, matter more than all of a long name.
            left = room - sum(cell_len(text) for text in (pieces[0][0], before, after))
            if cell_len(label) > left:
                label = fitted(label, max(8, left), glyphs().ellipsis)
            pieces.append((f"{before}{label}{after}", self._style("whatif")))
        room -= sum(cell_len(text) for text, _ in pieces)
        for cells, wordy in ((BAR_CELLS, True), (BAR_CELLS, False), (6, False), (SHORT_BAR_CELLS, False), (0, False)):
            drawn = self._gauges(machine, cells, wordy)
            if sum(cell_len(text) for text, _ in drawn) <= room:
                return pieces + drawn
        kept: list[Piece] = []
        for text, style in self._gauges(machine, 0, False):
            if sum(cell_len(t) for t, _ in kept) + cell_len(text) > room:
                break
            kept.append((text, style))
        return pieces + kept

    def _gauges(self, machine: Machine, cells: int, wordy: bool) -> list[Piece]:
        signs = glyphs()
        muted = self._style("muted")
        pieces: list[Piece] = []
        if not machine.accelerators:
            pieces.append(("   no GPU", muted))
        for gauge in gauges(machine):
            pieces.append(
                (f"  {fitted(clean(gauge.name), min(24, cell_len(clean(gauge.name))), signs.ellipsis)} ", Style.null())
            )
            share = gauge.used_share
            if cells and share is not None:
                level = self._style("high" if share > 0.9 else "bar")
                pieces += [
                    (signs.bar_start, muted),
                    (bar(share, cells, signs), level + ink(self, on="rule")),
                    (signs.bar_end, muted),
                    (" ", Style.null()),
                ]
            pieces.append((self._amount(gauge, wordy), muted))
            if cells and gauge.load_percent is not None:
                # Three places whatever it is, so that nothing moves when it changes.
                pieces.append(
                    (f" {gauge.load_percent:>3} %", self._style("high") if gauge.load_percent > 90 else muted)
                )
        return pieces

    def _amount(self, gauge: Gauge, wordy: bool) -> str:
        if gauge.total_bytes is None:
            return units.UNKNOWN
        total = units.memory(gauge.total_bytes)
        if gauge.free_bytes is None:
            return f"{total}, free unknown"
        same = units.memory(gauge.free_bytes).split()[-1] == total.split()[-1]
        free = units.memory(gauge.free_bytes, unit=not same)
        if wordy:
            return f"{free} of {total} free"
        return f"{free}/{units.memory(gauge.total_bytes, unit=False)}".replace(".0", "")
