"""Published bandwidths by the names that drivers give."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from backends.machine.bandwidth import (
    bandwidth_of,
    channels_bandwidth,
    compute_capability_of,
    host_bandwidth,
    measure_host_bandwidth,
)
from backends.machine.devices import devices, find_device, plain
from backends.machine.model import Cpu, Machine, Memory

GIB = 1 << 30
TRUTH = Path(__file__).resolve().parents[2] / "truth" / "decode_speed.csv"


@pytest.mark.parametrize(
    ("name", "gigabytes_a_second", "capability"),
    [
        # nvidia.com's comparison tables
        ("NVIDIA GeForce RTX 4090", 1008, "8.9"),
        ("NVIDIA GeForce RTX 3090", 936, "8.6"),
        ("NVIDIA GeForce RTX 5090", 1792, "12.0"),
        ("NVIDIA GeForce RTX 5070", 672, "12.0"),
        ("NVIDIA GeForce GTX 1050 Ti", 112, "6.1"),
        ("GeForce GTX 1080 Ti", 484, "6.1"),
        ("NVIDIA GeForce RTX 2080 Super with Max-Q Design", 352, "7.5"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 256, "8.9"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 672, "8.9"),
        # NVIDIA's data sheets
        ("Tesla P40", 346, "6.1"),
        ("Tesla T4", 320, "7.5"),
        ("Tesla V100-SXM2-32GB", 900, "7.0"),
        ("NVIDIA A100-SXM4-80GB", 2039, "8.0"),
        ("NVIDIA A100 80GB PCIe", 1935, "8.0"),
        ("NVIDIA A100-SXM4-40GB", 1555, "8.0"),
        ("NVIDIA H100 80GB HBM3", 3350, "9.0"),
        ("NVIDIA H100 PCIe", 2000, "9.0"),
        ("NVIDIA H200", 4800, "9.0"),
        ("NVIDIA RTX A6000", 768, "8.6"),
        ("NVIDIA RTX 6000 Ada Generation", 960, "8.9"),
        ("Quadro RTX 6000", 672, "7.5"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 1792, "12.0"),
        ("NVIDIA GB10", 273, "12.1"),
        # apple.com's technical specifications
        ("Apple M1", 68.25, None),
        ("Apple M2 Ultra", 800, None),
        ("Apple M4 Pro", 273, None),
        ("Apple M5 Pro", 307, None),
        # amd.com's product pages
        ("AMD Radeon RX 7900 XT", 800, None),
        ("AMD Radeon(TM) 8060S Graphics", 256, None),
        ("AMD Instinct MI300X", 5300, None),
        ("AMD Radeon Graphics", None, None),
        ("NVIDIA GeForce RTX 9999", None, None),
        ("", None, None),
    ],
)
def test_a_device_has_its_published_bandwidth(name, gigabytes_a_second, capability):
    expected = None if gigabytes_a_second is None else round(gigabytes_a_second * 1e9)
    assert bandwidth_of(name) == expected
    assert compute_capability_of(name) == capability


@pytest.mark.parametrize(
    ("name", "memory_gib", "gigabytes_a_second"),
    [
        ("NVIDIA GeForce RTX 3060", 12, 360),
        ("NVIDIA GeForce RTX 3060", 8, 240),
        ("NVIDIA GeForce RTX 3050", 5.9, 168),
        ("NVIDIA GeForce RTX 3080", 12, 912),
        ("Apple M3 Max", 36, 300),
        ("Apple M3 Max", 64, 400),
        ("Apple M4 Max", 36, 410),
        ("Apple M4 Max", 128, 546),
        ("AMD Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M]", 20, 800),
        ("AMD Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M]", 24, 960),
        ("AMD Navi 21 [Radeon RX 6800/6800 XT / 6900 XT]", 16, 512),
        ("AMD Ellesmere [Radeon RX 470/480/570/570X/580/580X/590]", 8, 256),
    ],
)
def test_memory_tells_models_of_one_name_apart(name, memory_gib, gigabytes_a_second):
    assert bandwidth_of(name, memory_bytes=int(memory_gib * GIB)) == gigabytes_a_second * 10**9


def test_gpu_cores_tell_two_buses_of_one_chip_apart():
    assert bandwidth_of("Apple M3 Max", gpu_cores=30) == 300 * 10**9
    assert bandwidth_of("Apple M3 Max", gpu_cores=40) == 400 * 10**9


@pytest.mark.parametrize(
    ("name", "card", "eighths"),
    [
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA H100 80GB HBM3", 1),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "NVIDIA H100 80GB HBM3", 4),
        ("NVIDIA H100 80GB HBM3 MIG 7g.80gb", "NVIDIA H100 80GB HBM3", 8),
        ("NVIDIA A100-SXM4-40GB MIG 2g.10gb", "NVIDIA A100-SXM4-40GB", 2),
        ("NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb", "NVIDIA A100-SXM4-40GB", 4),
        ("NVIDIA A30 MIG 1g.6gb", "NVIDIA A30", 2),
        ("NVIDIA H200 MIG 1g.18gb", "NVIDIA H200", 1),
    ],
)
def test_a_slice_has_the_share_of_bandwidth_that_it_has_of_memory(name, card, eighths):
    assert bandwidth_of(name) == round((bandwidth_of(card) or 0) * eighths / 8)
    assert compute_capability_of(name) == compute_capability_of(card)


def test_a_slice_of_an_unknown_card_is_unknown():
    assert bandwidth_of("NVIDIA X900 MIG 1g.10gb") is None


def test_every_device_of_the_measured_speeds_is_known():
    with TRUTH.open(encoding="utf-8") as file:
        names = {row["hardware"] for row in csv.DictReader(file)}
    assert names
    assert {name for name in names if bandwidth_of(name) is None} == set()


def test_every_row_is_found_by_its_drivers_name_and_is_sound():
    for device in devices():
        found = find_device(device.title, memory_bytes=(device.memory_gib or 0) * GIB or None)
        assert found is not None, device.title
        assert found.bandwidth_bytes_per_second == device.bandwidth_bytes_per_second, device
        assert 30e9 <= device.bandwidth_bytes_per_second <= 9e12
        assert (device.compute_capability is not None) == (device.kind == "cuda")


def test_names_are_compared_without_what_makers_add():
    assert plain("NVIDIA GeForce RTX 3060") == plain("GeForce RTX 3060") == plain("rtx 3060")
    assert plain("AMD Radeon(TM) RX 7900 XT") == plain("radeon rx 7900 xt")
    assert plain("H100 80 GB HBM3") == plain("NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("cpu", "gigabytes_a_second"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", 17.1),
        ("Apple M4 Pro", 273),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 256),
        ("Intel(R) Core(TM) i9-13900K", None),
        ("AMD EPYC", None),
        (None, None),
    ],
)
def test_a_hosts_bandwidth_is_told_only_where_its_memory_is_soldered(cpu, gigabytes_a_second):
    machine = Machine("linux", "x86_64", Cpu(cpu, 4, 4), Memory(8 * GIB, 4 * GIB))
    expected = None if gigabytes_a_second is None else round(gigabytes_a_second * 1e9)
    assert host_bandwidth(cpu, machine) == expected


def test_a_hosts_bandwidth_can_be_measured():
    measured = measure_host_bandwidth(2, rounds=2, seconds=0.001)
    assert measured is not None
    assert 10**8 < measured < 10**13


def test_a_host_without_free_memory_is_not_measured():
    assert measure_host_bandwidth(2, 64 << 20) is None


@pytest.mark.parametrize(
    ("name", "cores", "gigabytes_a_second"),
    [
        ("AMD EPYC 9554 64-Core Processor", 64, 460.8),
        ("AMD EPYC 7763 64-Core Processor", 64, 204.8),
        ("AMD EPYC 7R13 Processor", 4, 100),
        ("Intel(R) Xeon(R) Platinum 8480+", 56, 307.2),
        ("Intel(R) Xeon(R) Gold 6226R CPU @ 2.90GHz", 16, 140.8),
        ("Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", 14, 76.8),
        ("AMD Ryzen Threadripper PRO 5975WX 32-Cores", None, 204.8),
        ("AMD EPYC", 2, None),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", 2, None),
        ("AMD Ryzen 9 7950X 16-Core Processor", 16, None),
        (None, None, None),
    ],
)
def test_a_servers_bandwidth_is_that_of_its_channels_or_of_the_cores_one_has(name, cores, gigabytes_a_second):
    expected = None if gigabytes_a_second is None else round(gigabytes_a_second * 1e9)
    assert channels_bandwidth(Cpu(name, cores, cores)) == expected
