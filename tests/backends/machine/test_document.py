"""The machine's JSON document: out and back again, and one sentence for each thing wrong in a file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.machine.document import machine_from_json, machine_to_json
from backends.machine.model import Accelerator, Cpu, Holder, Machine, Memory
from specs.text import printable

texts = st.text(max_size=20).map(printable)
names = texts.filter(str.strip)
sizes = st.integers(1, 1 << 50)


@st.composite
def amounts(draw: st.DrawFn) -> tuple[int | None, int | None]:
    """A whole and a part of it, either of them perhaps unknown."""
    whole = draw(st.none() | sizes)
    return whole, draw(st.none() | st.integers(0, whole if whole is not None else 1 << 50))


@st.composite
def accelerators(draw: st.DrawFn) -> Accelerator:
    total, free = draw(amounts())
    holders = st.builds(
        Holder, st.integers(0, 1 << 22), st.none() | texts, st.none() | texts, st.none() | st.integers(0, 1 << 40)
    )
    return Accelerator(
        index=draw(st.integers(0, 64)),
        kind=draw(names),
        name=draw(names),
        uuid=draw(st.none() | texts),
        total_bytes=total,
        free_bytes=free,
        compute_capability=draw(st.none() | st.sampled_from(["5.2", "8.9", "12.1"])),
        unified=draw(st.booleans()),
        load_percent=draw(st.none() | st.integers(0, 100)),
        holders=tuple(draw(st.lists(holders, max_size=3))),
        parent_uuid=draw(st.none() | texts),
        bandwidth_bytes_per_second=draw(st.none() | st.integers(1, 1 << 45)),
    )


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    logical = draw(st.none() | st.integers(1, 512))
    physical = draw(st.none() | st.integers(1, logical or 512))
    fast = draw(st.none() | st.integers(1, physical or 512))
    return Machine(
        os=draw(st.sampled_from(["linux", "darwin"])),
        arch=draw(names),
        cpu=Cpu(draw(st.none() | texts), physical, logical, fast),
        memory=Memory(*draw(amounts())),
        accelerators=tuple(draw(st.lists(accelerators(), max_size=4, unique_by=lambda one: (one.kind, one.index)))),
        warnings=tuple(draw(st.lists(texts, max_size=3))),
        label=draw(st.none() | texts),
    )


@given(machines())
def test_what_goes_out_comes_back(machine):
    assert machine_from_json(json.loads(json.dumps(machine_to_json(machine)))) == machine


def test_the_document_has_the_promised_keys():
    document = machine_to_json(
        Machine("linux", "x86_64", Cpu(None, 8, 16), Memory(1, 1), (Accelerator(0, "cuda", "NVIDIA L4"),))
    )
    assert list(document) == ["os", "arch", "cpu", "memory", "accelerators", "warnings"]
    assert {"name", "physical_cores", "logical_cores"} <= document["cpu"].keys()
    assert list(document["memory"]) == ["total_bytes", "available_bytes"]
    assert list(document["accelerators"][0])[:8] == [
        "index",
        "kind",
        "name",
        "uuid",
        "total_bytes",
        "free_bytes",
        "compute_capability",
        "unified",
    ]
    assert document["accelerators"][0]["total_bytes"] is None


def test_a_short_handwritten_file_is_enough():
    machine = machine_from_json(
        {
            "os": "linux",
            "arch": "x86_64",
            "memory": {"total_bytes": 1 << 35},
            "accelerators": [
                {"kind": "cuda", "name": "Tesla P40", "total_bytes": 24 << 30},
                {"kind": "cuda", "name": "x"},
            ],
            "somebody's own key": 1,
        },
        "my server",
    )
    assert machine.label == "my server"
    assert [one.index for one in machine.accelerators] == [0, 1]
    assert machine.memory == Memory(1 << 35, None)


def test_the_given_label_stands_above_the_documents_own():
    document = {"os": "linux", "arch": "x86_64", "label": "own"}
    assert machine_from_json(document).label == "own"
    assert machine_from_json(document, "given").label == "given"


def test_a_device_that_is_known_by_name_needs_no_figures():
    (known,) = machine_from_json(
        {"os": "linux", "arch": "x86_64", "accelerators": [{"kind": "cuda", "name": "NVIDIA GeForce RTX 4090"}]}
    ).accelerators
    assert (known.compute_capability, known.bandwidth_bytes_per_second) == ("8.9", 1_008_000_000_000)


def test_text_of_a_file_cannot_speak_to_the_terminal():
    machine = machine_from_json(
        {"os": "linux", "arch": "x86_64", "warnings": ["\x1b[31mred"], "cpu": {"name": "a\x07b"}}
    )
    assert machine.warnings == ("␛[31mred",)
    assert machine.cpu.name == "a␇b"


def wrong(**changes: Any) -> dict[str, Any]:
    return {"os": "linux", "arch": "x86_64", **changes}


def card(**changes: Any) -> dict[str, Any]:
    return wrong(accelerators=[{"kind": "cuda", "name": "NVIDIA L4", **changes}])


def test_cards_of_two_kinds_may_have_the_same_number():
    cards = [{"kind": "cuda", "name": "NVIDIA L4", "index": 0}, {"kind": "rocm", "name": "AMD Radeon", "index": 0}]
    assert [one.index for one in machine_from_json(wrong(accelerators=cards)).accelerators] == [0, 0]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "the machine is a list; expected an object in braces"),
        (None, "the machine is null; expected an object in braces"),
        ({}, 'os is missing; expected "linux" or "darwin"'),
        (wrong(os="windows"), 'os is \'windows\'; expected "linux" or "darwin"'),
        (wrong(arch=64), "arch is 64; expected a text"),
        (wrong(arch=None), "arch is null; expected a text"),
        (wrong(memory=8), "memory is 8; expected an object in braces"),
        (
            wrong(memory={"total_bytes": "16 GB"}),
            "memory.total_bytes is '16 GB'; expected whole bytes, or null for unknown",
        ),
        (wrong(memory={"total_bytes": 1.5e9}), "memory.total_bytes is 1500000000.0; expected whole bytes"),
        (wrong(memory={"total_bytes": True}), "memory.total_bytes is true; expected whole bytes"),
        (wrong(memory={"total_bytes": -1}), "memory.total_bytes is -1; a size cannot be negative"),
        (wrong(memory={"total_bytes": 0}), "memory.total_bytes is 0; write null when it is not known"),
        (wrong(memory={"total_bytes": 10**16}), "memory.total_bytes is 10000000000000000, more than a pebibyte"),
        (wrong(memory={"total_bytes": 10**5000}), "memory.total_bytes is a very large number, more than a pebibyte"),
        (
            wrong(memory={"total_bytes": 5, "available_bytes": 6}),
            "memory.available_bytes is 6, more than memory.total_bytes",
        ),
        (wrong(cpu={"physical_cores": 0}), "cpu.physical_cores is 0; expected a whole number from 1"),
        (wrong(cpu={"physical_cores": 9, "logical_cores": 8}), "cpu.physical_cores is 9, more than cpu.logical_cores"),
        (wrong(accelerators={}), "accelerators is an object; expected a list in brackets"),
        (wrong(accelerators=[[]]), "accelerators[0] is a list; expected an object in braces"),
        (wrong(accelerators=[{}] * 5000), "accelerators has 5000 entries; expected at most 1024"),
        (card(kind=None), "accelerators[0].kind is null; expected a text"),
        (card(name=" "), "accelerators[0].name is ' '; expected a text"),
        (card(total_bytes=4, free_bytes=5), "accelerators[0].free_bytes is 5, more than accelerators[0].total_bytes"),
        (card(compute_capability=8.9), "accelerators[0].compute_capability is 8.9; expected a text or null"),
        (
            card(compute_capability="ada"),
            "accelerators[0].compute_capability is 'ada'; expected a text such as \"8.9\"",
        ),
        (card(unified="yes"), "accelerators[0].unified is 'yes'; expected true or false"),
        (card(unified=None), "accelerators[0].unified is null; expected true or false"),
        (card(load_percent=101), "accelerators[0].load_percent is 101; expected a whole number from 0 to 100"),
        (card(index=-1), "accelerators[0].index is -1; expected a whole number from 0"),
        (
            wrong(accelerators=[{"kind": "cuda", "name": "A", "index": 0}, {"kind": "cuda", "name": "B", "index": 0}]),
            "accelerators[1].index is 0, as is that of accelerators[0]; give each cuda card a number of its own",
        ),
        (card(holders=[{}]), "accelerators[0].holders[0].pid is missing; expected a process number"),
        (
            card(bandwidth_bytes_per_second="fast"),
            "accelerators[0].bandwidth_bytes_per_second is 'fast'; expected a whole",
        ),
        (wrong(warnings=[1]), "warnings[0] is 1; expected a text"),
        (wrong(label=7), "label is 7; expected a text or null"),
        (card(name="A" * 100_000), "accelerators[0].name has 100000 letters; expected at most 1000"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(document, sentence):
    with pytest.raises(ValueError) as caught:
        machine_from_json(document)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["os", "arch", "cpu", "memory", "accelerators", "total_bytes", "kind", "name", "holders", "pid"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_document_raises_anything_but_a_sentence(document):
    try:
        machine_from_json(document)
    except ValueError as error:
        assert str(error)
