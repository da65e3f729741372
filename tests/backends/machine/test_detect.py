"""Detection as a whole: whatever a probe does, the machine is told."""

from __future__ import annotations

import threading

import pytest

from backends.machine import amd, host, nvidia
from backends.machine.deadline import Late, Question
from backends.machine.detect import detect, with_host_memory
from backends.machine.document import machine_from_json, machine_to_json
from backends.machine.model import Accelerator, Memory

GIB = 1 << 30


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("broken")


def test_this_machine_is_detected_and_its_document_reads_back():
    machine = detect(deadline_seconds=60)
    assert machine.os in {"linux", "darwin"}
    assert machine.label is None
    assert (machine.memory.total_bytes or 0) > (machine.memory.available_bytes or 0) > 0
    assert (machine.cpu.logical_cores or 0) >= (machine.cpu.physical_cores or 1) >= 1
    assert machine_from_json(machine_to_json(machine)) == machine


def test_probes_that_raise_become_warnings_and_hide_nothing_else(monkeypatch):
    monkeypatch.setattr(nvidia, "probe", broken)
    monkeypatch.setattr(amd, "probe", broken)
    monkeypatch.setattr(amd, "intel", broken)
    monkeypatch.setattr("sys.platform", "linux")
    machine = detect(deadline_seconds=60)
    assert machine.memory.total_bytes
    assert [warning.split(" (")[0] for warning in machine.warnings] == [
        "the NVIDIA driver could not be asked",
        "the AMD driver could not be asked",
    ]


def test_a_host_that_cannot_be_asked_is_unknown(monkeypatch):
    monkeypatch.setattr(host, "probe", broken)
    machine = detect(deadline_seconds=60)
    assert machine.memory == Memory(None, None)
    assert machine.cpu.name is None
    assert "memory and processor could not be asked for (RuntimeError: broken)" in machine.warnings


def test_a_host_that_hangs_is_unknown_after_the_deadline(monkeypatch, root):
    released = threading.Event()
    monkeypatch.setattr(host, "probe", lambda _: released.wait())
    monkeypatch.setattr(nvidia, "has_library", lambda: False)
    machine = detect(deadline_seconds=0.2, root=root({}))
    released.set()
    assert machine.memory.total_bytes is None
    assert "the system did not tell its memory and processor within 0.2 s" in machine.warnings[-1]


@pytest.mark.parametrize(
    ("one", "memory", "expected"),
    [
        # (total, free) of the accelerator, (total, available) of the host
        ((None, None), (128, 100), (128, 100)),
        ((96, None), (128, 100), (96, 96)),
        ((96, None), (128, 50), (96, 50)),
        ((96, 90), (128, 50), (96, 50)),
        ((96, 90), (None, None), (96, 90)),
        ((96, None), (None, None), (96, None)),
        ((None, None), (None, None), (None, None)),
    ],
)
def test_a_gpu_on_the_hosts_memory_has_what_the_host_can_give(one, memory, expected):
    gpu = Accelerator(0, "metal", "x", total_bytes=one[0], free_bytes=one[1], unified=True)
    seen = with_host_memory(gpu, Memory(*memory))
    assert (seen.total_bytes, seen.free_bytes) == expected


def test_a_card_with_memory_of_its_own_keeps_it():
    card = Accelerator(0, "cuda", "x", total_bytes=24 * GIB, free_bytes=20 * GIB)
    assert with_host_memory(card, Memory(8 * GIB, GIB)) is card


def test_an_answer_is_given_as_often_as_it_is_asked_for():
    asked = Question(lambda: 7, "seven")
    assert (asked.answer(float("inf")), asked.answer(0)) == (7, 7)


def test_a_question_without_an_answer_is_late_and_answers_later():
    released = threading.Event()
    asked = Question(lambda: released.wait() and 7, "late")
    with pytest.raises(Late):
        asked.answer(0)
    assert not asked.answered
    released.set()
    assert asked.answer(float("inf")) == 7


def test_an_error_is_raised_where_the_answer_is_asked_for():
    with pytest.raises(RuntimeError, match="broken"):
        Question(lambda: broken(), "broken").answer(float("inf"))


def test_a_thread_that_cannot_be_had_is_an_error_of_the_answer(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", broken)
    with pytest.raises(RuntimeError, match="broken"):
        Question(lambda: 7, "seven").answer(float("inf"))
