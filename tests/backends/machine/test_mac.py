"""Macs as sysctl, psutil and Metal's working set describe them in the stand-in's scenarios."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fake_macos
import pytest

from backends.machine import apple

GIB = 1 << 30
REPOSITORY = Path(__file__).resolve().parents[3]
_ASK = """
import json
from backends.machine.detect import detect
from backends.machine.document import machine_to_json
print(json.dumps(machine_to_json(detect(deadline_seconds=120))))
"""


def detected(scenario: str, tmp_path: Path) -> dict:
    environment = {**os.environ, **fake_macos.scenario_env(scenario, tmp_path)}
    environment["PYTHONPATH"] = f"{environment['PYTHONPATH']}{os.pathsep}{REPOSITORY}"
    done = subprocess.run(
        [sys.executable, "-c", _ASK], env=environment, capture_output=True, text=True, timeout=200, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("scenario", fake_macos.SCENARIOS)
def test_the_gpu_may_use_its_working_set_and_no_more(scenario, tmp_path):
    mac = fake_macos.SCENARIOS[scenario]
    machine = detected(scenario, tmp_path)
    (gpu,) = machine["accelerators"]
    assert (machine["os"], machine["arch"]) == ("darwin", "arm64")
    assert (gpu["kind"], gpu["name"], gpu["unified"]) == ("metal", mac.chip, True)
    assert gpu["total_bytes"] == mac.working_set
    assert gpu["free_bytes"] == min(mac.working_set, mac.available)
    assert machine["memory"] == {"total_bytes": mac.memory, "available_bytes": mac.available}
    assert machine["cpu"] == {
        "name": mac.chip,
        "physical_cores": mac.cores,
        "logical_cores": mac.cores,
        "performance_cores": mac.performance_cores,
    }
    assert machine["warnings"] == []


@pytest.mark.parametrize(
    ("memory", "wired", "asked", "expected"),
    [
        (8 * GIB, None, None, 8 * GIB * 2 // 3),
        (8 * GIB, None, 5726633984, 5726633984),
        (16 * GIB, None, None, 16 * GIB * 74 // 100),
        (64 * GIB, None, None, 48 * GIB),
        (64 * GIB, 60 * GIB, None, 60 * GIB),
        (64 * GIB, 100 * GIB, None, 64 * GIB),
        (64 * GIB, 100 * GIB, 100 * GIB, 64 * GIB),
        (None, None, 12 * GIB, 12 * GIB),
        (None, None, None, None),
    ],
)
def test_the_limit_is_metals_word_then_the_users_then_the_least_default(memory, wired, asked, expected):
    assert apple.gpu_limit(memory, wired, asked) == expected


@pytest.mark.parametrize(
    ("memory_gb", "logged_megabytes"),
    [(8, 5726.63), (16, 12713.12), (24, 19069), (48, 40200.9), (64, 55662.8), (128, 115448.73), (512, 498216.2)],
)
def test_the_default_never_promises_more_than_metal_gave(memory_gb, logged_megabytes):
    """Working sets that llama.cpp logged on such machines, in MB."""
    assert apple.default_limit(memory_gb * GIB) <= (logged_megabytes + 1) * 1e6


def test_under_rosetta_the_gpu_is_named_and_the_cure_is_said(monkeypatch):
    monkeypatch.setattr(apple, "working_set", lambda _: None)
    monkeypatch.setattr(
        apple, "chip", lambda _: apple.Chip("Apple M1", 16 * GIB, 8, 4, is_apple_silicon=True, is_translated=True)
    )
    (gpu,), warnings = apple.probe()
    assert gpu.name == "Apple M1"
    assert warnings == (apple.ROSETTA,)


def test_an_intel_mac_has_no_gpu_for_us(monkeypatch):
    monkeypatch.setattr(apple, "chip", lambda _: apple.Chip("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", 16 * GIB))
    assert apple.probe() == ((), (apple.INTEL_MAC,))


def test_a_system_without_sysctl_is_no_error(monkeypatch):
    monkeypatch.setattr(apple, "_SYSCTL", "/nowhere/sysctl")
    assert apple.chip().name is None
