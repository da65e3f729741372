"""Memory and processors inside containers, from folders that look like /proc and /sys."""

from __future__ import annotations

import os
from types import SimpleNamespace

import psutil
import pytest

from backends.machine import cgroup, host

GIB = 1 << 30
UNLIMITED = "9223372036854771712\n"


@pytest.fixture
def big_host(monkeypatch):
    """64 GiB with 48 free, 16 threads on 8 cores."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GIB, available=48 * GIB))
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 16 if logical else 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


def topology(pairs: int) -> dict[str, str]:
    """Cores of two threads each: processor n and n + pairs are siblings."""
    return {
        f"sys/devices/system/cpu/cpu{n}/topology/core_cpus_list": f"{n % pairs},{n % pairs + pairs}\n"
        for n in range(2 * pairs)
    }


def v2(path: str, folder: str, **files: str) -> dict[str, str]:
    named = {f"sys/fs/cgroup{folder}/{name.replace('_', '.', 1)}": text for name, text in files.items()}
    return {"proc/self/cgroup": f"0::{path}\n", **named}


def test_a_version_2_limit_narrows_the_hosts_memory(root, big_host):
    files = v2("/", "", memory_max=f"{8 * GIB}\n", memory_current=f"{3 * GIB}\n", memory_stat=f"inactive_file {GIB}\n")
    assert host.memory(root(files)) == host.Memory(8 * GIB, 6 * GIB)


def test_page_cache_that_can_be_dropped_is_not_used_memory(root):
    files = v2(
        "/", "", memory_max=f"{4 * GIB}", memory_current=f"{4 * GIB}", memory_stat=f"anon 5\ninactive_file {3 * GIB}\n"
    )
    limit = cgroup.memory_limit(root(files))
    assert limit is not None
    assert limit.available_bytes == 3 * GIB


def test_the_narrowest_level_counts(root):
    files = v2("/system.slice/app.service", "/system.slice/app.service", memory_max="max\n", memory_current="1000\n")
    files |= v2("/system.slice/app.service", "/system.slice", memory_max=f"{2 * GIB}\n", memory_current=f"{GIB}\n")
    limit = cgroup.memory_limit(root(files))
    assert limit == cgroup.MemoryLimit(2 * GIB, GIB)


def test_max_means_no_limit(root, big_host):
    assert host.memory(root(v2("/", "", memory_max="max\n", memory_current="5\n"))).total_bytes == 64 * GIB


def test_a_path_of_the_host_that_is_not_mounted_here_falls_back_to_the_root(root):
    files = v2("/docker/0123", "", memory_max=f"{GIB}\n", memory_current="0\n")
    assert cgroup.memory_limit(root(files)) == cgroup.MemoryLimit(GIB, GIB)


def test_a_path_that_climbs_out_is_taken_from_the_root(root):
    files = v2("/../../other", "", memory_max=f"{GIB}\n", memory_current="0\n")
    assert cgroup.memory_limit(root(files)) == cgroup.MemoryLimit(GIB, GIB)


def v1(limit: str, used: str = "0", inactive: int = 0) -> dict[str, str]:
    folder = "sys/fs/cgroup/memory/docker/0123"
    return {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/0123\n4:memory:/docker/0123\n0::/\n",
        f"{folder}/memory.limit_in_bytes": limit,
        f"{folder}/memory.usage_in_bytes": used,
        f"{folder}/memory.stat": f"cache 7\ninactive_file 1\ntotal_inactive_file {inactive}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED,
    }


def test_a_version_1_limit_narrows_it_too(root, big_host):
    files = v1(f"{16 * GIB}\n", f"{5 * GIB}\n", inactive=GIB)
    assert host.memory(root(files)) == host.Memory(16 * GIB, 12 * GIB)


def test_version_1_writes_a_large_number_for_no_limit(root):
    assert cgroup.memory_limit(root(v1(UNLIMITED))) is None


def test_a_limit_above_the_hosts_memory_changes_nothing(root, big_host):
    assert host.memory(root(v1(f"{900 * GIB}\n"))) == host.Memory(64 * GIB, 48 * GIB)


def test_a_machine_without_control_groups_has_no_limit(root):
    assert cgroup.memory_limit(root({})) is None
    assert cgroup.cpu_limit(root({})) is None


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("200000 100000\n", 2.0),
        ("150000 100000\n", 1.5),
        ("max 100000\n", None),
        ("", None),
        ("x y\n", None),
        ("1 0", None),
    ],
)
def test_processor_time_of_version_2(text, cpus, root):
    assert cgroup.cpu_limit(root(v2("/", "", cpu_max=text))) == cpus


def test_processor_time_of_version_1(root):
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/0123"
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/0123\n",
        f"{folder}/cpu.cfs_quota_us": "300000\n",
        f"{folder}/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    }
    assert cgroup.cpu_limit(root(files)) == 3.0


def test_all_cores_count_where_nothing_limits(root, big_host):
    cpu = host.cpu(root(topology(8)))
    assert (cpu.physical_cores, cpu.logical_cores) == (8, 16)


def test_a_quota_limits_cores(root, big_host):
    cpu = host.cpu(root(topology(8) | v2("/", "", cpu_max="250000 100000\n")))
    assert (cpu.physical_cores, cpu.logical_cores) == (2, 3)


def test_a_quota_below_one_processor_leaves_one(root, big_host):
    cpu = host.cpu(root(v2("/", "", cpu_max="50000 100000\n")))
    assert (cpu.physical_cores, cpu.logical_cores) == (1, 1)


def test_affinity_to_both_threads_of_two_cores_is_two_cores(root, big_host, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 8, 1, 9})
    cpu = host.cpu(root(topology(8)))
    assert (cpu.physical_cores, cpu.logical_cores) == (2, 4)


def test_performance_cores_of_a_hybrid_processor_are_counted(root, big_host):
    cpu = host.cpu(root(topology(8) | {"sys/devices/cpu_core/cpus": "0-3,8-11\n"}))
    assert (cpu.performance_cores, cpu.physical_cores) == (4, 8)


def test_boards_whose_cores_psutil_cannot_count_have_one_a_thread(root, monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 4 if logical else None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="aarch64"))
    cpuinfo = "processor\t: 0\nBogoMIPS\t: 108.00\n\nRevision\t: d04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
    cpu = host.cpu(root({"proc/cpuinfo": cpuinfo}))
    assert cpu == host.Cpu("Raspberry Pi 5 Model B Rev 1.0", 4, 4)


def test_cores_that_nobody_tells_are_unknown(root, monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 4 if logical else None)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert host.cpu(root({})).physical_cores is None


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (
            {"proc/cpuinfo": "processor : 0\nmodel name\t: AMD  Ryzen 9 7950X\nmodel name : other\n"},
            "AMD Ryzen 9 7950X",
        ),
        ({"proc/device-tree/model": "NVIDIA DGX Spark\0"}, "NVIDIA DGX Spark"),
        ({}, None),
    ],
)
def test_the_processors_name(files, name, root, big_host):
    assert host.cpu(root(files)).name == name
