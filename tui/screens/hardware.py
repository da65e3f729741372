"""The hardware in full: every device, who holds its memory, and what could not be known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from backends.machine.model import Accelerator, Machine
from tui import units
from tui.glyphs import bar, glyphs
from tui.screens.dialog import Dialog
from tui.widgets.lines import clean, joined, plain

BAR_CELLS = 24


def _accelerator(card: Accelerator) -> Iterator[tuple[str, str]]:
    signs = glyphs()
    yield f"{card.index}  {clean(card.name)}\n", "bold"
    if card.total_bytes and card.free_bytes is not None:
        share = 1 - card.free_bytes / card.total_bytes
        yield f"   {signs.bar_start}{bar(share, BAR_CELLS, signs)}{signs.bar_end} ", "$primary"
        yield f"{units.memory(card.free_bytes)} of {units.memory(card.total_bytes)} free\n", ""
    else:
        yield f"   memory: {units.memory(card.total_bytes)}, free: {units.memory(card.free_bytes)}\n", ""
    facts = (
        card.kind,
        "memory shared with the host" if card.unified else None,
        f"compute capability {card.compute_capability}" if card.compute_capability else None,
        units.bandwidth(card.bandwidth_bytes_per_second) if card.bandwidth_bytes_per_second else None,
        f"{card.load_percent} % busy" if card.load_percent is not None else None,
        f"slice of {clean(card.parent_uuid)}" if card.parent_uuid else None,
    )
    yield f"   {joined(facts, f' {signs.dot} ')}\n", "$muted"
    for holder in card.holders:
        who = joined(
            (clean(holder.name or "a process"), f"pid {holder.pid}", clean(holder.user) if holder.user else None), ", "
        )
        yield f"   {signs.pointer} {units.memory(holder.used_bytes)} held by {who}\n", ""
    yield "\n", ""


def describe(machine: Machine) -> Content:
    """A machine in words and bars, as literal text."""
    cpu, memory = machine.cpu, machine.memory
    cores = joined(
        (
            f"{cpu.physical_cores} cores" if cpu.physical_cores else None,
            f"{cpu.logical_cores} threads" if cpu.logical_cores else None,
        ),
        ", ",
    )
    parts: list[tuple[str, str]] = []
    if machine.label:
        parts.append((f"{clean(machine.label)}: not this machine\n\n", "bold $accent"))
    parts.append((f"{clean(cpu.name or 'processor unknown')}\n", "bold"))
    parts.append((f"   {joined((machine.os, machine.arch, cores), ' ' + glyphs().dot + ' ')}\n", "$muted"))
    parts.append((f"   RAM {units.memory(memory.available_bytes)} of {units.memory(memory.total_bytes)} free", ""))
    measured = machine.host_bandwidth_bytes_per_second
    parts.append((f" {glyphs().dot} {units.bandwidth(measured)} measured\n\n" if measured else "\n\n", "$muted"))
    if not machine.accelerators:
        parts.append(("no GPU found: models run on the CPU, in RAM\n\n", ""))
    for card in machine.accelerators:
        parts += list(_accelerator(card))
    if machine.warnings:
        parts.append(("what could not be known\n", "bold"))
        parts += [(f"   {clean(warning)}\n", "$warning") for warning in machine.warnings]
    return Content.assemble(*parts).rstrip()


class Hardware(Dialog[None]):
    """A page to read and leave; of this machine its figures are live."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,w,enter", "dismiss", "close", id="hardware.close")]

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine
        self.shows_machine = machine.label is None

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box") as box:
            box.border_title = plain("Hardware")
            box.border_subtitle = plain("esc closes")
            yield Static(describe(self._machine))

    def on_mount(self) -> None:
        if self.shows_machine:
            self.watch(self.app, "machine", self._show, init=False)

    def _show(self, machine: Machine | None) -> None:
        if machine is not None:
            self.query_one(Static).update(describe(machine))

    async def action_dismiss(self, result: None = None) -> None:
        self.dismiss(result)
