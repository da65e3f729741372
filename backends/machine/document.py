"""A machine as the JSON document that `hardware --json` prints and `fit --machine FILE` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from backends.machine.bandwidth import bandwidth_of, compute_capability_of
from backends.machine.model import Accelerator, Cpu, Holder, Machine, Memory
from specs.text import printable

_MOST_BYTES = 1 << 50
"""One pebibyte; a figure above it is a slip (bits, or KiB taken for bytes)."""
_MOST_CORES = 1 << 16
_MOST_ACCELERATORS = 1024
_MOST_BANDWIDTH = 1 << 50
_MOST_LETTERS = 1000


def machine_to_json(machine: Machine) -> dict[str, Any]:
    """The document of a machine: whole bytes, null for what is not known.

    Beyond the contract's keys: label, host_bandwidth_bytes_per_second, performance_cores, and an accelerator's
    load_percent, holders, parent_uuid and bandwidth_bytes_per_second.
    """
    cpu, memory = machine.cpu, machine.memory
    document: dict[str, Any] = {
        "os": machine.os,
        "arch": machine.arch,
        "cpu": {
            "name": cpu.name,
            "physical_cores": cpu.physical_cores,
            "logical_cores": cpu.logical_cores,
            "performance_cores": cpu.performance_cores,
        },
        "memory": {"total_bytes": memory.total_bytes, "available_bytes": memory.available_bytes},
        "accelerators": [_accelerator_to_json(one) for one in machine.accelerators],
        "warnings": list(machine.warnings),
    }
    if machine.label is not None:
        document["label"] = machine.label
    if machine.host_bandwidth_bytes_per_second is not None:
        document["host_bandwidth_bytes_per_second"] = machine.host_bandwidth_bytes_per_second
    return document


def machine_from_json(document: object, label: str | None = None) -> Machine:
    """The machine that a document describes.

    Keys that are not known are skipped; optional ones may be missing or null. An accelerator's compute capability and
    bandwidth are looked up by its name where their keys are missing; null says that they are unknown.

    Args:
        document: What json.loads made of the file.
        label: Name to show for it; None: the document's own.

    Raises:
        ValueError: one sentence that names the key, what stands there and what was expected.
    """
    top = _object(document, "the machine")
    cpu = _object(top.get("cpu", {}), "cpu")
    memory = _memory(_object(top.get("memory", {}), "memory"))
    listed = _list(top.get("accelerators", []), "accelerators", _MOST_ACCELERATORS)
    own_label = _text(top, "label", "label", required=False)
    return Machine(
        os=_one_of(top, "os", ("linux", "darwin")),
        arch=_text(top, "arch", "arch", required=True) or "",
        cpu=_cpu(cpu),
        memory=memory,
        accelerators=_accelerators(listed, memory),
        warnings=tuple(_strings(top.get("warnings", []), "warnings")),
        label=label if label is not None else own_label,
        host_bandwidth_bytes_per_second=_whole(
            top, "host_bandwidth_bytes_per_second", "host_bandwidth_bytes_per_second", 1, _MOST_BANDWIDTH
        ),
    )


def _accelerator_to_json(one: Accelerator) -> dict[str, Any]:
    return {
        "index": one.index,
        "kind": one.kind,
        "name": one.name,
        "uuid": one.uuid,
        "total_bytes": one.total_bytes,
        "free_bytes": one.free_bytes,
        "compute_capability": one.compute_capability,
        "unified": one.unified,
        "load_percent": one.load_percent,
        "parent_uuid": one.parent_uuid,
        "bandwidth_bytes_per_second": one.bandwidth_bytes_per_second,
        "holders": [
            {"pid": holder.pid, "name": holder.name, "user": holder.user, "used_bytes": holder.used_bytes}
            for holder in one.holders
        ],
    }


def _cpu(cpu: Mapping[str, object]) -> Cpu:
    physical = _count(cpu, "physical_cores", "cpu.physical_cores", _MOST_CORES)
    logical = _count(cpu, "logical_cores", "cpu.logical_cores", _MOST_CORES)
    fast = _count(cpu, "performance_cores", "cpu.performance_cores", _MOST_CORES)
    if physical is not None and logical is not None and physical > logical:
        raise ValueError(f"cpu.physical_cores is {physical}, more than cpu.logical_cores, which is {logical}")
    if physical is not None and fast is not None and fast > physical:
        raise ValueError(f"cpu.performance_cores is {fast}, more than cpu.physical_cores, which is {physical}")
    return Cpu(_text(cpu, "name", "cpu.name", required=False), physical, logical, fast)


def _memory(memory: Mapping[str, object]) -> Memory:
    total = _size(memory, "total_bytes", "memory.total_bytes")
    available = _size(memory, "available_bytes", "memory.available_bytes", may_be_zero=True)
    if total is not None and available is not None and available > total:
        raise ValueError(f"memory.available_bytes is {available}, more than memory.total_bytes, which is {total}")
    return Memory(total, available)


def _accelerators(listed: Sequence[object], memory: Memory) -> tuple[Accelerator, ...]:
    found: list[Accelerator] = []
    numbers: dict[tuple[str, int], int] = {}
    for place, one in enumerate(listed):
        accelerator = _accelerator(one, place, memory)
        number = (accelerator.kind, accelerator.index)
        if number in numbers:
            # The verdict names the cards by their numbers, and so do the engines.
            raise ValueError(
                f"accelerators[{place}].index is {accelerator.index}, as is that of accelerators[{numbers[number]}]; "
                f"give each {accelerator.kind} card a number of its own"
            )
        numbers[number] = place
        found.append(accelerator)
    return tuple(found)


def _accelerator(value: object, place: int, memory: Memory) -> Accelerator:
    where = f"accelerators[{place}]"
    one = _object(value, where)
    index = _whole(one, "index", f"{where}.index", 0, 1 << 20)
    total = _size(one, "total_bytes", f"{where}.total_bytes")
    free = _size(one, "free_bytes", f"{where}.free_bytes", may_be_zero=True)
    if total is not None and free is not None and free > total:
        raise ValueError(f"{where}.free_bytes is {free}, more than {where}.total_bytes, which is {total}")
    capability = _text(one, "compute_capability", f"{where}.compute_capability", required=False)
    if capability is not None and not re.fullmatch(r"\d{1,3}\.\d{1,3}", capability, re.ASCII):
        raise ValueError(f'{where}.compute_capability is {_shown(capability)}; expected a text such as "8.9", or null')
    kind = _text(one, "kind", f"{where}.kind", required=True) or ""
    name = _text(one, "name", f"{where}.name", required=True) or ""
    if kind == "cuda" and "compute_capability" not in one:
        capability = compute_capability_of(name)
    unified = one.get("unified", False)
    if not isinstance(unified, bool):
        raise ValueError(f"{where}.unified is {_shown(unified)}; expected true or false")
    bandwidth = _whole(one, "bandwidth_bytes_per_second", f"{where}.bandwidth_bytes_per_second", 1, _MOST_BANDWIDTH)
    if "bandwidth_bytes_per_second" not in one:
        bandwidth = bandwidth_of(name, memory_bytes=memory.total_bytes if unified else total)
    holders = _list(one.get("holders", []), f"{where}.holders", 1 << 16)
    return Accelerator(
        index=place if index is None else index,
        kind=kind,
        name=name,
        uuid=_text(one, "uuid", f"{where}.uuid", required=False),
        total_bytes=total,
        free_bytes=free,
        compute_capability=capability,
        unified=unified,
        load_percent=_whole(one, "load_percent", f"{where}.load_percent", 0, 100),
        holders=tuple(_holder(holder, f"{where}.holders[{number}]") for number, holder in enumerate(holders)),
        parent_uuid=_text(one, "parent_uuid", f"{where}.parent_uuid", required=False),
        bandwidth_bytes_per_second=bandwidth,
    )


def _holder(value: object, where: str) -> Holder:
    holder = _object(value, where)
    pid = _whole(holder, "pid", f"{where}.pid", 0, 1 << 32)
    if pid is None:
        raise ValueError(f"{where}.pid is missing; expected a process number")
    return Holder(
        pid,
        _text(holder, "name", f"{where}.name", required=False),
        _text(holder, "user", f"{where}.user", required=False),
        _size(holder, "used_bytes", f"{where}.used_bytes", may_be_zero=True),
    )


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {_shown(value)}; expected an object in braces")
    return value


def _list(value: object, where: str, most: int) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is {_shown(value)}; expected a list in brackets")
    if len(value) > most:
        raise ValueError(f"{where} has {len(value)} entries; expected at most {most}")
    return value


def _strings(value: object, where: str) -> list[str]:
    strings = _list(value, where, 1 << 16)
    for number, text in enumerate(strings):
        if not isinstance(text, str):
            raise ValueError(f"{where}[{number}] is {_shown(text)}; expected a text")
    return [printable(text) for text in strings if isinstance(text, str)]


def _text(holder: Mapping[str, object], key: str, where: str, *, required: bool) -> str | None:
    value = holder.get(key)
    if value is None and not required:
        return None
    if key not in holder:
        raise ValueError(f"{where} is missing; expected a text")
    if isinstance(value, str) and len(value) > _MOST_LETTERS:
        raise ValueError(f"{where} has {len(value)} letters; expected at most {_MOST_LETTERS}")
    if not isinstance(value, str) or (required and not value.strip()):
        raise ValueError(f"{where} is {_shown(value)}; expected a text{'' if required else ' or null'}")
    return printable(value)


def _one_of(holder: Mapping[str, object], key: str, words: tuple[str, ...]) -> str:
    listed = " or ".join(f'"{word}"' for word in words)
    if key not in holder:
        raise ValueError(f"{key} is missing; expected {listed}")
    value = holder[key]
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{key} is {_shown(value)}; expected {listed}")
    return value


def _size(holder: Mapping[str, object], key: str, where: str, *, may_be_zero: bool = False) -> int | None:
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{where} is {_shown(value)}; expected whole bytes, or null for unknown")
    if value < 0:
        raise ValueError(f"{where} is {_shown(value)}; a size cannot be negative")
    if value == 0 and not may_be_zero:
        raise ValueError(f"{where} is 0; write null when it is not known")
    if value > _MOST_BYTES:
        raise ValueError(f"{where} is {_shown(value)}, more than a pebibyte; expected bytes")
    return value


def _count(holder: Mapping[str, object], key: str, where: str, most: int) -> int | None:
    return _whole(holder, key, where, 1, most)


def _whole(holder: Mapping[str, object], key: str, where: str, least: int, most: int) -> int | None:
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{where} is {_shown(value)}; expected a whole number from {least} to {most}, or null")
    return value


def _shown(value: object) -> str:
    """A value as JSON names it, short enough for one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) > 1 << 64:
        return "a very large number"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
