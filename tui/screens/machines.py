"""The machine picker: this one, or another to judge for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from backends.machine.model import Machine
from tui import units
from tui.glyphs import glyphs
from tui.screens.dialog import Dialog
from tui.services import Services
from tui.widgets.hardware_strip import gauges
from tui.widgets.inks import ink
from tui.widgets.line_list import LineList
from tui.widgets.lines import clean, fitted, line, plain


class MachineList(LineList):
    """Machines by row: what they are called, and the memory of their parts. Letters filter them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "judge for it", id="machines.choose"),
        Binding("escape", "leave", "close", id="machines.close"),
    ]

    class Answered(Message):
        """A machine was chosen; None: things stay as they are."""

        def __init__(self, machine: Machine | None) -> None:
            super().__init__()
            self.machine = machine

    def __init__(self, services: Services, machines: Sequence[Machine], cursor: int) -> None:
        super().__init__()
        self._services = services
        self._all = machines
        self._machines = machines
        self._text = ""
        self._hint: str | None = None
        """What stands instead of rows: what is wrong with a name, or what enter does with a path."""
        self.set_reactive(LineList.cursor, cursor)

    def on_mount(self) -> None:
        self._retitle()

    def _retitle(self) -> None:
        typed = (f" {glyphs().dash} / {self._text}", "bold $accent") if self._text else ""
        self.border_title = plain("What if: judge for another machine", typed)
        self.border_subtitle = plain("letters filter   enter chooses   esc leaves things as they are")

    @property
    def row_count(self) -> int:
        return len(self._machines) or int(self._hint is not None)

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        machine = self._machines[row]
        name_cells = max(18, width * 2 // 5)
        words = self._parts(machine, width - name_cells - 3)
        if machine.label is None:
            name, style = f"{glyphs().tick} this machine", ink(self, "primary")
        else:
            name, style = f"  {clean(machine.label)}", Style.null()
        ellipsis = glyphs().ellipsis
        pieces = [
            (f" {fitted(name, name_cells, ellipsis)} ", style),
            (fitted(words, width - name_cells - 3, ellipsis), ink(self, "muted")),
        ]
        return line(pieces, width, base)

    @staticmethod
    def _parts(machine: Machine, width: int) -> str:
        """Each part and its memory; the longest name gives way, for the memory is what decides."""
        parts = [(clean(gauge.name), units.memory(gauge.total_bytes)) for gauge in gauges(machine)]
        separator = f" {glyphs().dot} "
        over = cell_len(separator.join(" ".join(part) for part in parts)) - width
        if over > 0:
            longest = max(range(len(parts)), key=lambda at: cell_len(parts[at][0]))
            name, memory = parts[longest]
            if (left := cell_len(name) - over) > 1:
                parts[longest] = fitted(name, left, glyphs().ellipsis), memory
        return separator.join(" ".join(part) for part in parts)

    def draw_line(self, y: int, width: int, base: Style) -> Strip:
        if not self._machines and y == 0 and self._hint is not None:
            return line([(fitted(f"  {self._hint}", width, glyphs().ellipsis), ink(self, "warning"))], width, base)
        return super().draw_line(y, width, base)

    def check_consume_key(self, key: str, character: str | None) -> bool:  # noqa: ARG002
        """Every printable key is the filter's."""
        return character is not None and character.isprintable()

    def on_key(self, event: events.Key) -> None:
        if event.key == "backspace":
            self._text = self._text[:-1]
        elif event.is_printable and event.character is not None:
            self._text += event.character
        else:
            return
        event.stop()
        event.prevent_default()
        words = self._text.lower().split()
        self._machines = [
            machine for machine in self._all if all(word in (machine.label or "this machine").lower() for word in words)
        ]
        self._hint = None
        if not self._machines and self._names_a_file():
            self._hint = "enter reads this file"
        elif not self._machines:
            # No preset: devices put together, as "RTX 3090 + RTX 3060", or the nearest names.
            self._load()
        self._retitle()
        self.rows_changed(0)

    def _names_a_file(self) -> bool:
        return "/" in self._text or self._text.strip().lower().endswith(".json")

    def _load(self) -> None:
        try:
            self._machines = [self._services.load_machine(self._text.strip())]
        except ValueError as error:
            self._hint = clean(str(error))

    def on_line_list_chosen(self) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        if not self._machines and self._names_a_file():
            self._load()
            self.rows_changed(0)
        if self._machines:
            self.post_message(self.Answered(self._machines[self.cursor]))

    def action_leave(self) -> None:
        self.post_message(self.Answered(None))


class MachinePicker(Dialog[Machine | None]):
    """Choose a machine; escape leaves things as they are."""

    DEFAULT_CSS = """
    MachineList {
        height: 24; background: $surface;
        scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
    }
    """

    def __init__(self, services: Services, here: Machine | None, chosen: Machine | None) -> None:
        super().__init__()
        self._services = services
        presets = list(services.presets())
        self._machines = [here, *presets] if here is not None else presets
        labels = [machine.label for machine in self._machines]
        self._start = labels.index(chosen.label) if chosen is not None and chosen.label in labels else 0

    def compose(self) -> ComposeResult:
        machines = MachineList(self._services, self._machines, self._start)
        machines.add_class("box")
        yield machines

    def on_machine_list_answered(self, message: MachineList.Answered) -> None:
        self.dismiss(message.machine)
