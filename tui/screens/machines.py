"""The machine picker: this one, or another to judge for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.strip import Strip

from backends.machine.model import Machine
from tui import units
from tui.glyphs import glyphs
from tui.services import Services
from tui.widgets.hardware_strip import gauges
from tui.widgets.line_list import LineList
from tui.widgets.lines import clean, fitted, line, plain


class MachineList(LineList):
    """Machines by row: what they are called, and the memory of their parts."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"machine-list--muted", "machine-list--here"}

    def __init__(self, machines: Sequence[Machine], cursor: int) -> None:
        super().__init__()
        self._machines = machines
        self.set_reactive(LineList.cursor, cursor)

    @property
    def row_count(self) -> int:
        return len(self._machines)

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        machine = self._machines[row]
        muted = self.get_component_rich_style("machine-list--muted", partial=True)
        words = f" {glyphs().dot} ".join(
            f"{clean(gauge.name)} {units.memory(gauge.total_bytes)}" for gauge in gauges(machine)
        )
        name_cells = max(18, width * 2 // 5)
        if machine.label is None:
            name = f"{glyphs().tick} this machine"
            style = self.get_component_rich_style("machine-list--here", partial=True)
        else:
            name, style = f"  {clean(machine.label)}", Style.null()
        ellipsis = glyphs().ellipsis
        return line(
            [
                (f" {fitted(name, name_cells, ellipsis)} ", style),
                (fitted(words, width - name_cells - 3, ellipsis), muted),
            ],
            width,
            base,
        )


class MachinePicker(ModalScreen[Machine | None]):
    """Choose a machine; escape leaves things as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "judge for it", id="machines.choose"),
        Binding("escape,q,m", "leave", "close", id="machines.close"),
    ]
    DEFAULT_CSS = """
    MachineList {
        height: auto; max-height: 24; min-height: 3; background: $surface;
        scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
        .line-list--cursor { background: $cursor; text-style: bold; }
        .machine-list--muted { color: $muted; }
        .machine-list--here { color: $primary; }
    }
    """

    def __init__(self, services: Services, here: Machine | None, chosen: Machine | None) -> None:
        super().__init__()
        presets = list(services.presets())
        self._machines = [here, *presets] if here is not None else presets
        labels = [machine.label for machine in self._machines]
        self._start = labels.index(chosen.label) if chosen is not None and chosen.label in labels else 0

    def compose(self) -> ComposeResult:
        machines = MachineList(self._machines, self._start)
        machines.add_class("box")
        machines.border_title = plain("What if: judge for another machine")
        machines.border_subtitle = plain("enter chooses   esc leaves things as they are")
        yield machines

    def on_line_list_chosen(self) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        self.dismiss(self._machines[self.query_one(MachineList).cursor] if self._machines else None)

    def action_leave(self) -> None:
        self.dismiss(None)
