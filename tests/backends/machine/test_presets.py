"""Machines to ask about without having them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.machine.document import machine_from_json, machine_to_json
from backends.machine.presets import PRESETS, load_machine, preset

GIB = 1 << 30
MIB = 1 << 20


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_machine_with_its_name_and_a_source(name):
    machine = preset(name)
    assert machine.label == name
    assert PRESETS[name].source
    assert machine.memory.total_bytes is not None
    assert all(one.total_bytes and one.free_bytes and one.bandwidth_bytes_per_second for one in machine.accelerators)
    assert machine_from_json(json.loads(json.dumps(machine_to_json(machine)))) == machine


@pytest.mark.parametrize("name", PRESETS)
def test_names_are_taken_in_any_case_and_spacing(name):
    assert preset(f"  {name.upper().replace(' ', '  ')} ") == preset(name)


@pytest.mark.parametrize("name", ["rtx3090", "RTX3090 + RTX3060 12GB", "2xrtx4090", "gtx1080 ti", "rx7900 xtx"])
def test_a_series_may_stand_beside_its_number(name):
    assert len(preset(name).accelerators) in {1, 2}


def test_a_server_is_its_processor_and_memory():
    machine = preset("Xeon Gold 6430 512 GB")
    assert machine.label == "Xeon Gold 6430 512 GB"
    assert machine.cpu.name == "Intel Xeon Gold 6430"
    assert machine.memory.total_bytes == 512 * GIB
    assert machine.accelerators == ()
    with pytest.raises(ValueError, match='"EPYC 9654 384 GB"'):
        preset("epyc 9654")


def test_several_of_one_card():
    machine = preset("3x rtx 3090")
    assert machine.label == "3x RTX 3090"
    assert [one.index for one in machine.accelerators] == [0, 1, 2]
    assert {one.name for one in machine.accelerators} == {"NVIDIA GeForce RTX 3090"}
    assert {one.total_bytes for one in machine.accelerators} == {24576 * MIB}
    assert {one.compute_capability for one in machine.accelerators} == {"8.6"}


def test_unlike_cards_together():
    machine = preset("RTX 4090 + RTX 3060 12 GB")
    assert [one.name for one in machine.accelerators] == ["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3060"]
    assert [one.total_bytes for one in machine.accelerators] == [24564 * MIB, 12288 * MIB]
    assert machine.label == "RTX 4090 + RTX 3060 12 GB"


def test_host_memory_can_be_said():
    machine = preset("8x H100 80GB, 1 TB RAM")
    assert len(machine.accelerators) == 8
    assert machine.memory.total_bytes == 1024 * GIB
    assert machine.label == "8x H100, 1 TB RAM"
    assert machine.warnings == ()


def test_host_memory_that_is_not_said_is_assumed_and_said_so():
    machine = preset("2x RTX 3090")
    assert machine.memory.total_bytes == 128 * GIB
    (warning,) = machine.warnings
    assert warning.startswith("128 GB of host memory are assumed")


def test_a_machine_without_cards_is_its_memory():
    machine = preset("64 GB RAM")
    assert (machine.accelerators, machine.memory.total_bytes) == ((), 64 * GIB)


@pytest.mark.parametrize(
    ("name", "memory_gib", "working_set_megabytes", "gigabytes_a_second"),
    [
        ("M1 8 GB", 8, 5726.63, 68.25),
        ("M2 Pro 16 GB", 16, 12713.12, 200),
        ("M4 Pro 48 GB", 48, 40200.9, 273),
        ("Apple M3 Max 64GB", 64, 55662.8, 400),
        ("m4 max 128 gb", 128, 115448.73, 546),
        ("M3 Ultra 512 GB", 512, 498216.2, 819),
        ("M3 Max 36 GB", 36, 28991.03, 300),
    ],
)
def test_a_mac_may_use_the_working_set_that_metal_gives(name, memory_gib, working_set_megabytes, gigabytes_a_second):
    """Working sets as llama.cpp logged them on such Macs, and three quarters where no log is known."""
    machine = preset(name)
    (gpu,) = machine.accelerators
    assert (machine.os, machine.arch, gpu.kind, gpu.unified) == ("darwin", "arm64", "metal", True)
    assert machine.memory.total_bytes == memory_gib * GIB
    assert gpu.total_bytes == pytest.approx(working_set_megabytes * 1e6, rel=1e-5)
    assert gpu.bandwidth_bytes_per_second == gigabytes_a_second * 1e9


def test_a_board_with_one_memory_is_unified():
    (gpu,) = preset("DGX Spark (GB10)").accelerators
    assert (gpu.unified, gpu.kind, gpu.compute_capability) == (True, "cuda", "12.1")
    (gpu,) = preset("Ryzen AI Max+ 395 128 GB").accelerators
    assert (gpu.unified, gpu.kind, gpu.total_bytes) == (True, "rocm", 96 * GIB)


@pytest.mark.parametrize(
    ("text", "cards"),
    [
        ("4090", ["NVIDIA GeForce RTX 4090"]),
        ("2 x p40", ["Tesla P40"] * 2),
        ("2×3090", ["NVIDIA GeForce RTX 3090"] * 2),
        ("A100 80 GB", ["NVIDIA A100-SXM4-80GB"]),
        ("A100 40GB", ["NVIDIA A100-SXM4-40GB"]),
        ("NVIDIA A100 80GB PCIe", ["NVIDIA A100 80GB PCIe"]),
        ("RTX 4060 Laptop", ["NVIDIA GeForce RTX 4060 Laptop GPU"]),
        ("7900 XTX", ["AMD Radeon RX 7900 XTX"]),
        ("rx 7900 xtx", ["AMD Radeon RX 7900 XTX"]),
        ("MI300X", ["AMD Instinct MI300X"]),
    ],
)
def test_cards_are_known_by_what_people_call_them(text, cards):
    assert [one.name for one in preset(text).accelerators] == cards


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("RTX 309", "no machine or device is named 'RTX 309'; near it: RTX 3090"),
        ("", "no machine is named"),
        ("frob", "no machine or device is named 'frob'; known are for example"),
        ("M4 Pro", "Apple's M4 Pro is sold with several sizes of memory"),
        ("2x M4 Pro 48 GB", "2x M4 Pro 48 GB cannot be put together"),
        ("RTX 3090 48 GB", "RTX 3090 is sold with 24 GB, not 48 GB"),
        ("RTX 3060 9 GB", "RTX 3060 is sold with 8 GB or 12 GB, not 9 GB"),
        ("Arc B580", "Intel Arc B580 is not supported"),
        ("0x RTX 3090", "'0x RTX 3090' asks for more than 64 cards or for none"),
        ("999999999999x RTX 3090", "no machine or device is named '999999999999x RTX 3090'"),
        ("RTX 3090 +", "no machine or device is named ''"),
        ("9999999999 TB RAM", "9999999999 TB RAM is no amount of memory"),
        ("\x1b[31mred", "no machine or device is named '␛[31mred'"),
        ("Raspberry Pi 5 3 GB", "a Raspberry Pi 5 is sold with"),
        ("x" * 5000, "no machine is named"),
    ],
)
def test_what_is_not_known_is_said_with_the_nearest(text, sentence):
    with pytest.raises(ValueError, match=r".") as caught:
        load_machine(text)
    assert str(caught.value).startswith(sentence)


@given(
    st.one_of(st.text(max_size=30), st.from_regex(r"\d{0,3} ?x? ?(RTX|M4|A100|H100)? ?\d{0,5} ?(GB|TB)?( RAM)?[+,]?"))
)
def test_no_text_raises_anything_but_a_sentence(text):
    try:
        assert load_machine(text).label
    except ValueError as error:
        assert str(error)


def test_a_file_is_read_and_named_after_itself(tmp_path):
    path = tmp_path / "server.json"
    path.write_text(json.dumps(machine_to_json(preset("2x RTX 3090"))))
    machine = load_machine(str(path))
    assert machine.label == "server"
    assert machine.accelerators == preset("2x RTX 3090").accelerators


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", ":1: no JSON"),
        (b'{\n"os": linux}', ":2: no JSON"),
        (b"\xff\xfe\x00", " is not UTF-8 text (byte 0)"),
        (b"[" * 200_000, " is no JSON that can be read"),
        (
            b'{"os": "linux", "arch": "x86_64", "memory": {"total_bytes": ' + b"9" * 10_000 + b"}}",
            " is no JSON that can be read",
        ),
        (b" " * (5 << 20), " is larger than 4 MiB"),
        (b'{"os": "linux", "arch": "x86_64", "memory": {"total_bytes": -5}}', ": memory.total_bytes is -5"),
        (b"[]", ": the machine is a list"),
    ],
)
def test_a_bad_file_is_said_with_its_name(raw, sentence, tmp_path):
    path = tmp_path / "machine.json"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r".") as caught:
        load_machine(str(path))
    assert str(caught.value).startswith(f"{path}{sentence}")


@pytest.mark.parametrize("text", ["/nowhere/machine.json", "mine.json", "a/b"])
def test_a_file_that_is_not_there_is_said(text):
    with pytest.raises(ValueError, match="there is no file"):
        load_machine(text)
