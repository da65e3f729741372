"""Loads that were measured, and the corrections made from them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from machines import LAPTOP, RTX_4090

from backends import home as places
from backends.measurements import Load, clear, correction, corrections, fingerprint, record, speeds


def load(ratio: float, engine: str = "llama.cpp", speed: float | None = None) -> Load:
    return Load(engine, "ggufv2", "a/8B/ggufv2/Q4_K_M/x", 8192, 1_000_000, round(1_000_000 * ratio), speed)


def test_the_median_of_the_loads_corrects() -> None:
    for ratio in (1.1, 1.2, 3.0):
        record(LAPTOP, load(ratio))
    found = correction(LAPTOP, "llama.cpp", "ggufv2")
    assert found is not None
    assert found.ratio == pytest.approx(1.2)
    assert len(found.loads) == 3
    assert correction(LAPTOP, "MLX", "mlx") is None
    assert correction(RTX_4090, "llama.cpp", "ggufv2") is None


def test_a_measurement_of_something_else_is_left_out() -> None:
    record(LAPTOP, load(40.0))
    assert correction(LAPTOP, "llama.cpp", "ggufv2") is None


def test_nothing_is_written_by_asking() -> None:
    assert corrections(LAPTOP) == {}
    assert not places.database_file().exists()


def test_a_wrong_correction_can_be_cleared() -> None:
    record(LAPTOP, load(2.0))
    record(LAPTOP, load(1.0, "MLX"))
    assert clear(LAPTOP, engine="llama.cpp") == 1
    assert list(corrections(LAPTOP)) == [("MLX", "ggufv2")]
    assert clear() == 1


def test_the_latest_speed_is_kept() -> None:
    record(LAPTOP, load(1.0, speed=10.0))
    record(LAPTOP, load(1.0, speed=12.0))
    found = speeds(LAPTOP)[("a/8B/ggufv2/Q4_K_M/x", "llama.cpp")]
    assert (found.value, found.basis) == (12.0, "measured")


def test_hardware_names_itself_the_same_whatever_is_free() -> None:
    assert fingerprint(LAPTOP) == fingerprint(LAPTOP)
    assert fingerprint(LAPTOP) != fingerprint(RTX_4090)


WRITE_SOME = """
from machines import LAPTOP
from backends.measurements import Load, record

for _ in range(20):
    record(LAPTOP, Load("llama.cpp", "ggufv2", "a/8B/ggufv2/Q4_K_M/x", 8192, 1_000_000, 1_000_000, None))
"""


def test_two_processes_may_record_at_once(home: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    others = [subprocess.Popen([sys.executable, "-c", WRITE_SOME], env=environment) for _ in range(2)]
    assert [other.wait(60) for other in others] == [0, 0]
    found = correction(LAPTOP, "llama.cpp", "ggufv2")
    assert found is not None
    assert len(found.loads) == 20
    assert clear() == 40
