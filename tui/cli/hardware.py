"""The command `hardware`: what was found, and what could not be known."""

from __future__ import annotations

import argparse

from backends.machine.model import Accelerator, Machine
from tui import units
from tui.cli import choose
from tui.cli.output import clean, document, lines, note

PATIENT_SECONDS = 10.0
"""Who asks for the hardware wants to know what a slow driver says, too."""


def hardware(arguments: argparse.Namespace) -> int:
    """The machine in lines, or as the document that fit --machine reads."""
    machine = choose.machine(arguments, deadline_seconds=PATIENT_SECONDS)
    if arguments.json:
        from backends.machine.document import machine_to_json

        document(machine_to_json(machine))
        return 0
    lines(described(machine))
    for warning in machine.warnings:
        note(warning)
    return 0


def described(machine: Machine) -> list[tuple[str, str]]:
    """The machine as pairs of a name and what it is."""
    memory = machine.memory
    system = f"{machine.os} {machine.arch}" + (f", from {machine.label}" if machine.label else "")
    pairs = [("system", system)]
    if machine.label is None or machine.cpu.name or machine.cpu.physical_cores:  # a preset need not say
        pairs.append(("processor", _processor(machine)))
    amount = f"{units.memory(memory.available_bytes)} free of {units.memory(memory.total_bytes)}"
    measured = machine.host_bandwidth_bytes_per_second
    pairs.append(("memory", amount + (f", {units.bandwidth(measured)} measured" if measured else "")))
    pairs += [(f"{one.kind} {one.index}", _accelerator(one)) for one in machine.accelerators]
    if not machine.accelerators:
        pairs.append(("GPU", "none found; models run on the processor"))
    return pairs


def _processor(machine: Machine) -> str:
    cpu = machine.cpu
    parts = [cpu.name or (units.UNKNOWN if machine.label is None else "")]
    if machine.label is None or cpu.physical_cores is not None:
        parts.append(_counted(cpu.physical_cores, "core"))
    if machine.label is None or cpu.logical_cores is not None:
        parts.append(_counted(cpu.logical_cores, "thread"))
    return ", ".join(part for part in parts if part)


def _counted(number: int | None, noun: str) -> str:
    return f"{units.UNKNOWN} {noun}s" if number is None else units.counted(number, noun)


def _accelerator(one: Accelerator) -> str:
    parts = [one.name, f"{units.memory(one.free_bytes)} free of {units.memory(one.total_bytes)}"]
    if one.unified:
        parts.append("of the unified memory")
    if one.compute_capability:
        parts.append(f"compute capability {one.compute_capability}")
    if one.load_percent is not None:
        parts.append(f"{one.load_percent} % busy")
    for holder in one.holders:
        who = f"{holder.pid}, {holder.user}" if holder.user else f"{holder.pid}"
        parts.append(f"{holder.name or 'a process'} ({who}) holds {units.memory(holder.used_bytes)}")
    return ", ".join(clean(part) for part in parts)
