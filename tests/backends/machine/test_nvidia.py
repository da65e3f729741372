"""NVIDIA cards as the real nvidia-ml-py sees them in the stand-in driver's scenarios."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from backends.machine import nvidia

MIB = 1 << 20


@pytest.mark.parametrize(
    ("scenario", "cards", "warnings"),
    [
        ("rtx4090", 1, 0), ("h100", 1, 0), ("h100x8", 8, 0), ("rtx3090x2", 2, 0), ("laptop8gb", 1, 0), ("mig", 7, 0),
        ("gb10", 1, 0), ("lost_gpu", 3, 1), ("lost_later", 1, 1), ("driver_mismatch", 0, 1),
        ("driver_not_loaded", 0, 1), ("no_gpu", 0, 0), ("none", 0, 0),
    ],
)  # fmt: skip
def test_every_machine_of_the_stand_in_is_seen(detected, scenario, cards, warnings):
    machine = detected(scenario)
    assert (len(machine["accelerators"]), len(machine["warnings"])) == (cards, warnings), machine["warnings"]
    assert machine["memory"]["total_bytes"]
    assert all(one["total_bytes"] for one in machine["accelerators"])


def test_a_card_tells_name_uuid_memory_and_compute_capability(detected):
    (card,) = detected("rtx4090")["accelerators"]
    assert card["index"] == 0
    assert card["kind"] == "cuda"
    assert card["name"] == "NVIDIA GeForce RTX 4090"
    assert card["uuid"] == "GPU-40900000-1111-4222-8333-444455556666"
    assert card["total_bytes"] == 24564 * MIB
    assert card["free_bytes"] == (24564 - 811 - 384) * MIB
    assert card["compute_capability"] == "8.9"
    assert card["load_percent"] == 3
    assert card["unified"] is False


def test_who_holds_memory_is_told_with_the_process(detected):
    (card,) = detected("laptop8gb")["accelerators"]
    assert [(h["pid"], h["used_bytes"]) for h in card["holders"]] == [(4321, 6780 * MIB)]
    assert card["free_bytes"] == (8188 - 7066 - 225) * MIB


def test_eight_cards_are_eight_and_the_busy_ones_say_so(detected):
    cards = detected("h100x8")["accelerators"]
    assert [card["index"] for card in cards] == list(range(8))
    assert [card["load_percent"] for card in cards] == [0] * 6 + [97] * 2
    assert [card["free_bytes"] < 11 << 30 for card in cards] == [False] * 6 + [True] * 2


def test_a_lost_card_hides_no_other_and_says_what_to_do(detected):
    machine = detected("lost_gpu")
    assert [card["uuid"][4:12] for card in machine["accelerators"]] == ["a6000000", "a6000001", "a6000003"]
    (warning,) = machine["warnings"]
    assert warning.startswith("NVIDIA GPU 2 is lost")
    assert "dmesg" in warning


def test_a_card_that_is_lost_behind_its_handle_is_left_out_too(detected):
    machine = detected("lost_later")
    assert len(machine["accelerators"]) == 1
    (warning,) = machine["warnings"]
    assert "NVIDIA GPU 1 (NVIDIA RTX A6000) is lost" in warning


def test_a_card_that_hangs_hides_neither_the_other_nor_the_host(detected, tmp_path):
    scenario = tmp_path / "one_hangs.nvml"
    card = "[gpu]\nname = NVIDIA GeForce RTX 3090\nmemory = 24576\ncc = 8.6\n"
    scenario.write_text(f"{card}fault = nvmlDeviceGetMemoryInfo hang:150\n{card}")
    machine = detected(scenario, seconds=4)
    assert [one["index"] for one in machine["accelerators"]] == [1]
    (warning,) = machine["warnings"]
    assert "NVIDIA GPU 0 (NVIDIA GeForce RTX 3090) did not answer within 4 s when asked for its memory" in warning
    assert machine["memory"]["total_bytes"] > 0


def test_a_driver_that_hangs_at_once_is_a_warning(detected, tmp_path):
    scenario = tmp_path / "all_hangs.nvml"
    scenario.write_text("fault = nvmlInit hang:150\n[gpu]\nname = X\nmemory = 1024\n")
    machine = detected(scenario, seconds=3)
    assert machine["accelerators"] == []
    assert "the NVIDIA driver did not answer within 3 s" in machine["warnings"][0]
    assert machine["cpu"]["logical_cores"] > 0


def test_a_card_whose_processes_cannot_be_listed_in_time_is_still_a_card(detected, tmp_path):
    scenario = tmp_path / "slow.nvml"
    fault = "fault = nvmlDeviceGetComputeRunningProcesses hang:150"
    scenario.write_text(f"[gpu]\nname = NVIDIA L4\nmemory = 23034\nused = 34\ncc = 8.9\n{fault}\n")
    machine = detected(scenario, seconds=3)
    (card,) = machine["accelerators"]
    assert card["free_bytes"] == 23000 * MIB
    assert machine["warnings"] == ["NVIDIA GPU 0 (NVIDIA L4) did not tell its processes within 3 s; try `nvidia-smi`"]


def test_a_process_cannot_write_to_the_terminal_by_its_name(monkeypatch):
    library = SimpleNamespace(
        NVMLError=RuntimeError,
        NVMLLibraryMismatchError=RuntimeError,
        nvmlSystemGetProcessName=lambda _: "/tmp/\x1b[31mred --flag",
    )
    monkeypatch.setattr(nvidia, "_is_host_pid_namespace", lambda: False)
    assert nvidia._whose(library, 7) == ("␛[31mred", None)


def test_a_process_here_is_named_with_its_user(monkeypatch):
    monkeypatch.setattr(nvidia, "_is_host_pid_namespace", lambda: True)
    process = psutil.Process()
    assert nvidia._whose(SimpleNamespace(), process.pid) == (process.name(), process.username())


def test_a_mismatch_after_an_update_says_reboot(detected):
    machine = detected("driver_mismatch")
    assert machine["accelerators"] == []
    assert machine["warnings"] == [nvidia.MISMATCH]
    assert "reboot" in nvidia.MISMATCH


def test_a_driver_that_is_not_loaded_says_modprobe(detected):
    assert detected("driver_not_loaded")["warnings"] == [nvidia.NOT_LOADED]
    assert "modprobe nvidia" in nvidia.NOT_LOADED


def test_a_driver_without_cards_is_nothing_to_warn_of(detected):
    machine = detected("no_gpu")
    assert (machine["accelerators"], machine["warnings"]) == ([], [])


def test_mig_slices_are_accelerators_of_their_own(detected):
    machine = detected("mig")
    slices = machine["accelerators"]
    assert len(slices) == 7
    assert {one["parent_uuid"] for one in slices} == {"GPU-01000000-1111-4222-8333-444455556666"}
    assert {one["name"] for one in slices} == {"NVIDIA H100 80GB HBM3 MIG 1g.10gb"}
    assert slices[0]["uuid"] == "MIG-01000000-1111-5222-8333-444455556666"
    assert slices[0]["total_bytes"] == 9984 * MIB
    assert slices[0]["free_bytes"] < slices[1]["free_bytes"]
    assert all(one["compute_capability"] == "9.0" for one in slices)
    assert all(one["load_percent"] is None for one in slices)


def test_a_card_in_mig_mode_without_slices_says_how_to_make_them(detected, tmp_path):
    scenario = tmp_path / "uncut.nvml"
    scenario.write_text("[gpu]\nname = NVIDIA A100-SXM4-80GB\nmemory = 81920\nmig = on\n")
    machine = detected(scenario)
    assert machine["accelerators"] == []
    assert "nvidia-smi mig" in machine["warnings"][0]


def test_a_card_without_memory_of_its_own_has_the_hosts(detected):
    machine = detected("gb10")
    (card,) = machine["accelerators"]
    assert card["unified"] is True
    assert card["total_bytes"] == machine["memory"]["total_bytes"]
    assert card["free_bytes"] == machine["memory"]["available_bytes"]
    assert card["compute_capability"] == "12.1"


def test_an_old_driver_without_some_functions_still_lists_its_card(detected, tmp_path):
    scenario = tmp_path / "old.nvml"
    faults = "".join(
        f"fault = {name} FUNCTION_NOT_FOUND\n"
        for name in ("nvmlDeviceGetMigMode", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetComputeRunning")
    )
    scenario.write_text(f"[gpu]\nname = Tesla M40\nmemory = 11448\ncc = 5.2\n{faults}")
    (card,) = detected(scenario)["accelerators"]
    assert card["total_bytes"] == 11448 * MIB
    assert card["load_percent"] is None
    assert card["holders"] == []


def test_one_that_does_not_tell_its_memory_for_another_reason_is_named(detected, tmp_path):
    scenario = tmp_path / "odd.nvml"
    scenario.write_text("[gpu]\nname = NVIDIA L4\nmemory = 23034\nfault = nvmlDeviceGetMemoryInfo UNKNOWN\n")
    machine = detected(scenario)
    assert machine["accelerators"] == []
    assert "NVIDIA GPU 0 (NVIDIA L4) did not tell its memory" in machine["warnings"][0]


def test_cuda_visible_devices_filters_and_orders(detected):
    machine = detected("h100x8", CUDA_VISIBLE_DEVICES="7,GPU-01000002")
    assert [(card["index"], card["uuid"][4:12]) for card in machine["accelerators"]] == [
        (0, "01000007"),
        (1, "01000002"),
    ]
    assert machine["warnings"] == ["CUDA_VISIBLE_DEVICES='7,GPU-01000002' hides 6 of 8 NVIDIA GPUs"]


def test_cuda_visible_devices_can_name_a_slice(detected):
    machine = detected("mig", CUDA_VISIBLE_DEVICES="MIG-01000003-1111-5222-8333-444455556666")
    (one,) = machine["accelerators"]
    assert (one["index"], one["uuid"]) == (0, "MIG-01000003-1111-5222-8333-444455556666")


def test_nvml_is_opened_once_for_all_cards_and_closed_after_them(under_nvml):
    code = """
import pynvml
init, shutdown = pynvml.nvmlInit, pynvml.nvmlShutdown
calls = []
def counted(call, step):
    def run():
        call()
        calls.append(step)
    return run
pynvml.nvmlInit, pynvml.nvmlShutdown = counted(init, 1), counted(shutdown, -1)
from backends.machine.detect import detect
cards = len(detect(deadline_seconds=60).accelerators)
import threading
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join()
depths = [sum(calls[:n + 1]) for n in range(len(calls))]
print(cards, depths.count(0), depths[-1])
"""
    assert under_nvml("h100x8", code).split() == ["8", "1", "0"]


def test_unlike_cards_are_said_to_be_counted_otherwise_perhaps(detected, tmp_path):
    scenario = tmp_path / "unlike.nvml"
    scenario.write_text(
        "[gpu]\nname = NVIDIA GeForce RTX 3060\nmemory = 12288\n[gpu]\nname = NVIDIA GeForce RTX 4090\nmemory = 24564\n"
    )
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in detected(scenario)["warnings"][0]
    assert detected(scenario, CUDA_DEVICE_ORDER="PCI_BUS_ID")["warnings"] == []


def test_the_python_library_is_not_imported_where_there_is_no_driver(under_nvml):
    code = (
        "import sys; from backends.machine import nvidia; nvidia.has_library = lambda: False\n"
        "from backends.machine.detect import detect\n"
        "detect(deadline_seconds=60); print('pynvml' in sys.modules)"
    )
    assert under_nvml("none", code).strip() == "False"


def test_importing_detection_imports_no_heavy_library(under_nvml):
    code = "import sys, backends.machine.detect as d; print(*sorted({'pynvml','psutil','ctypes'} & set(sys.modules)))"
    assert under_nvml("none", code).strip() == ""


@pytest.mark.parametrize(
    ("files", "there_is_one"),
    [
        ({}, False),
        ({"proc/driver/nvidia/version": "NVRM version: 570"}, True),
        (
            {"sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de", "sys/bus/pci/devices/0000:01:00.0/class": "0x030000"},
            True,
        ),
        (
            {"sys/bus/pci/devices/0000:01:00.1/vendor": "0x10de", "sys/bus/pci/devices/0000:01:00.1/class": "0x040300"},
            False,
        ),
        (
            {"sys/bus/pci/devices/0000:02:00.0/vendor": "0x8086", "sys/bus/pci/devices/0000:02:00.0/class": "0x030000"},
            False,
        ),
    ],
)
def test_a_card_without_a_driver_is_seen_on_the_bus(files, there_is_one, root):
    assert nvidia.has_card(root(files)) is there_is_one


def test_a_card_without_the_library_is_said_and_no_card_is_not(root, monkeypatch):
    def no_library(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    until = float("inf")
    assert nvidia.probe(until, seconds=1, environment={}, root=root({})) == ((), ())
    with_card = root({"proc/driver/nvidia/version": "x"})
    assert nvidia.probe(until, seconds=1, environment={}, root=with_card) == ((), (nvidia.NO_LIBRARY,))
    assert Path(with_card).exists()
