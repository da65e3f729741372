"""The measured bandwidth of the host's memory, kept from run to run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from backends import home
from backends.machine.document import machine_from_json, machine_to_json
from backends.machine.host_bandwidth import with_measured_bandwidth, with_remembered_bandwidth
from backends.machine.model import Cpu, Machine, Memory

GIB = 1 << 30
SERVER = Machine("linux", "x86_64", Cpu("AMD EPYC", 2, 2), Memory(24 * GIB, 20 * GIB))


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELDECK_HOME", str(tmp_path))


def kept() -> dict[str, dict[str, int]]:
    return json.loads((home.cache_folder() / "host-bandwidth.json").read_text())


def test_what_was_measured_is_remembered_for_the_next_start():
    assert with_remembered_bandwidth(SERVER) is SERVER
    measured = with_measured_bandwidth(SERVER)
    assert measured.host_bandwidth_bytes_per_second is not None
    assert with_remembered_bandwidth(SERVER) == measured
    more_cores = replace(SERVER, cpu=Cpu("AMD EPYC", 4, 4))
    assert with_remembered_bandwidth(more_cores) is more_cores


def test_the_best_of_three_runs_counts_and_a_fourth_measures_nothing():
    found = [with_measured_bandwidth(SERVER).host_bandwidth_bytes_per_second or 0 for _ in range(4)]
    assert found == sorted(found)
    assert found[3] == found[2]
    assert [entry["times"] for entry in kept().values()] == [3]


def test_other_machines_and_soldered_memory_are_not_measured():
    elsewhere = replace(SERVER, label="a server")
    mac = replace(SERVER, cpu=Cpu("Apple M4 Pro", 12, 12))
    assert with_measured_bandwidth(elsewhere) is elsewhere
    assert with_measured_bandwidth(mac) is mac
    assert not (home.cache_folder() / "host-bandwidth.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"AMD EPYC, 2 cores, 25769803776 bytes": {"bytes_per_second": -1}}'])
def test_a_broken_file_is_measured_anew(text):
    home.cache_folder().mkdir(parents=True)
    (home.cache_folder() / "host-bandwidth.json").write_text(text)
    assert with_remembered_bandwidth(SERVER) is SERVER
    assert with_measured_bandwidth(SERVER).host_bandwidth_bytes_per_second is not None


def test_a_machines_document_carries_what_was_measured():
    measured = replace(SERVER, host_bandwidth_bytes_per_second=45_000_000_000)
    assert machine_from_json(machine_to_json(measured)) == measured
