"""The live strip's samples: cheap ones of the same cards, through drivers that change under them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from backends.machine import apple
from backends.machine.model import Accelerator, Cpu, Machine, Memory
from backends.machine.watch import Watch, refresh_memory

GIB = 1 << 30
MIB = 1 << 20
CARD = "[gpu]\nname = NVIDIA RTX A6000\nuuid = GPU-{0}\nmemory = 49140\nused = {1}\ncc = 8.6\nutil = {2}\n{3}\n"
HEAD = """
import json, os, sys
from pathlib import Path
from backends.machine.detect import detect
from backends.machine.document import machine_to_json
from backends.machine.watch import Watch, refresh_memory
scenario, card = Path(os.environ["FAKE_NVML"]), os.environ["CARD"].encode().decode("unicode_escape")
def now(*cards):
    beside = scenario.with_suffix(".new")
    beside.write_text("".join(card.format(*one) for one in cards))
    beside.replace(scenario)
def say(machine):
    print(json.dumps(machine_to_json(machine)))
now(("aa", 12, 0, ""), ("bb", 12, 0, ""))
machine = detect(deadline_seconds=60, root=Path("/nowhere"))
watch = Watch(machine, deadline_seconds=60)
"""


@pytest.fixture
def samples(under_nvml, tmp_path):
    """What a program that watches two cards prints, machine by machine."""

    def run(code: str) -> list[dict]:
        scenario = tmp_path / "changing.nvml"
        scenario.write_text("")
        printed = under_nvml(scenario, HEAD + code, CARD=CARD.replace("\n", "\\n"))
        return [json.loads(line) for line in printed.splitlines()]

    return run


def test_a_sample_shows_memory_load_and_holders_as_they_are_now(samples):
    (machine,) = samples('now(("aa", 40000, 97, "process = 77 39000"), ("bb", 12, 0, ""))\nsay(watch.sample())')
    busy, idle = machine["accelerators"]
    assert busy["free_bytes"] == (49140 - 40000) * MIB
    assert busy["load_percent"] == 97
    assert [(holder["pid"], holder["used_bytes"]) for holder in busy["holders"]] == [(77, 39000 * MIB)]
    assert idle["free_bytes"] == (49140 - 12) * MIB


def test_a_card_lost_later_leaves_the_other_and_comes_back_when_it_does(samples):
    lost, back = samples(
        'now(("aa", 12, 0, ""), ("bb", 12, 0, "fault = * GPU_IS_LOST"))\nsay(watch.sample())\n'
        'now(("aa", 12, 0, ""), ("bb", 500, 0, ""))\nsay(watch.sample())'
    )
    assert [card["uuid"] for card in lost["accelerators"]] == ["GPU-aa"]
    assert "NVIDIA GPU 1 (NVIDIA RTX A6000) is lost" in lost["warnings"][0]
    assert [card["uuid"] for card in back["accelerators"]] == ["GPU-aa", "GPU-bb"]
    assert back["warnings"] == []


def test_a_card_that_hangs_keeps_its_place_with_unknown_figures(samples):
    first, second = samples(
        'now(("aa", 40, 0, ""), ("bb", 12, 0, "fault = nvmlDeviceGetMemoryInfo hang:150"))\n'
        "watch = Watch(machine, deadline_seconds=3)\nsay(watch.sample())\nsay(watch.sample())\nwatch.close()"
    )
    for machine in (first, second):
        answering, hanging = machine["accelerators"]
        assert answering["free_bytes"] == 49100 * MIB
        assert (hanging["total_bytes"], hanging["free_bytes"], hanging["load_percent"]) == (49140 * MIB, None, None)
        assert "NVIDIA GPU 1 (NVIDIA RTX A6000) has not answered for 3 s" in machine["warnings"][0]


def test_an_error_that_is_no_loss_keeps_the_card(samples):
    (machine,) = samples('now(("aa", 12, 0, ""), ("bb", 12, 0, "fault = * UNKNOWN"))\nsay(watch.sample())')
    assert machine["accelerators"][1]["free_bytes"] is None
    assert "cannot be asked now" in machine["warnings"][0]


def test_a_driver_that_goes_away_is_told_for_each_card_and_found_again(samples):
    gone, back = samples(
        "import pynvml\nwatch.sample()\npynvml.nvmlShutdown()\nsay(watch.sample())\n"
        "pynvml.nvmlInit()\nsay(watch.sample())"
    )
    assert [card["free_bytes"] for card in gone["accelerators"]] == [None, None]
    assert len(gone["warnings"]) == 2
    assert [card["free_bytes"] for card in back["accelerators"]] == [49128 * MIB] * 2


def test_samples_after_closing_are_what_was_detected(samples):
    before, after = samples(
        'say(machine)\nwatch.sample()\nwatch.close()\nwatch.close()\nnow(("aa", 9, 9, ""))\nsay(watch.sample())'
    )
    assert before == after


def test_closing_gives_nvml_back(samples):
    (machine,) = samples(
        "import pynvml\nwatch.sample()\nwatch.close()\n"
        "try: pynvml.nvmlDeviceGetCount()\n"
        "except pynvml.NVMLError_Uninitialized: say(machine)"
    )
    assert machine["os"] == "linux"


def test_memory_is_refreshed_once_before_a_load(samples):
    (machine,) = samples(
        'now(("aa", 30000, 0, ""), ("bb", 12, 0, ""))\nsay(refresh_memory(machine, deadline_seconds=60))'
    )
    assert machine["accelerators"][0]["free_bytes"] == 19140 * MIB


def test_samples_from_many_threads_take_turns(samples):
    machines = samples(
        "import threading\nfound = []\n"
        "threads = [threading.Thread(target=lambda: found.append(watch.sample())) for _ in range(8)]\n"
        "for one in threads: one.start()\n"
        "for one in threads: one.join()\n"
        "for one in found: say(one)"
    )
    assert len(machines) == 8
    assert all(len(machine["accelerators"]) == 2 and machine["warnings"] == [] for machine in machines)


def test_slices_are_sampled_like_cards(under_nvml):
    code = (
        "from backends.machine.detect import detect\nfrom backends.machine.watch import Watch\n"
        "machine = detect(deadline_seconds=60)\n"
        "print(Watch(machine, deadline_seconds=60).sample().accelerators == machine.accelerators)"
    )
    assert under_nvml("mig", code).strip() == "True"


def a_machine(*accelerators: Accelerator, label: str | None = None) -> Machine:
    return Machine("linux", "x86_64", Cpu(None, 4, 8), Memory(32 * GIB, 20 * GIB), accelerators, label=label)


@pytest.fixture
def busy_host(monkeypatch):
    """32 GiB with 5 free."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=32 * GIB, available=5 * GIB))


def test_a_machine_that_is_not_this_one_stays_as_it_is(busy_host):
    preset = a_machine(Accelerator(0, "cuda", "NVIDIA GeForce RTX 4090", uuid="GPU-x"), label="RTX 4090")
    assert refresh_memory(preset) is preset


def test_the_hosts_memory_is_sampled(busy_host, root):
    machine = Watch(a_machine(), root=root({})).sample()
    assert machine.memory == Memory(32 * GIB, 5 * GIB)


def test_a_macs_gpu_has_what_is_free_below_its_limit(busy_host, root):
    limit_bytes = apple.default_limit(32 * GIB)
    gpu = Accelerator(0, "metal", "Apple M2 Max", total_bytes=limit_bytes, free_bytes=limit_bytes, unified=True)
    (now,) = Watch(a_machine(gpu), root=root({})).sample().accelerators
    assert (now.total_bytes, now.free_bytes) == (limit_bytes, 5 * GIB)


def test_an_amd_cards_memory_and_load_are_sampled(busy_host, root):
    folder = "sys/bus/pci/devices/0000:03:00.0"
    files = {"vendor": "0x1002", "class": "0x030000", "product_name": "AMD Radeon RX 7900 XT", "gpu_busy_percent": "88"}
    files |= {"mem_info_vram_total": str(20 * GIB), "mem_info_vram_used": str(15 * GIB)}
    slash = root({f"{folder}/{name}": text for name, text in files.items()} | {"dev/kfd": ""})
    card = Accelerator(0, "rocm", "AMD Radeon RX 7900 XT", total_bytes=20 * GIB, free_bytes=20 * GIB)
    (now,) = Watch(a_machine(card), deadline_seconds=60, root=slash, environment={}).sample().accelerators
    assert (now.free_bytes, now.load_percent) == (5 * GIB, 88)


def test_a_host_that_does_not_answer_leaves_its_memory_unknown(monkeypatch, root):
    def broken() -> None:
        raise OSError

    monkeypatch.setattr(psutil, "virtual_memory", broken)
    assert Watch(a_machine(), root=root({})).sample().memory == Memory(32 * GIB, None)


def test_a_watch_leaves_no_thread_behind(busy_host, root):
    before = threading.active_count()
    watch = Watch(a_machine(), root=root({}))
    watch.sample()
    watch.close()
    assert threading.active_count() == before
    assert Path("/").exists()
