"""AMD and Intel GPUs from folders that look like the amdgpu driver's."""

from __future__ import annotations

import pytest

from backends.machine import amd, nvidia
from backends.machine.detect import detect

GIB = 1 << 30
CARD = "sys/bus/pci/devices/0000:03:00.0"


@pytest.fixture(autouse=True)
def no_nvidia(monkeypatch):
    """No NVIDIA driver, whatever the machine that tests run on has."""
    monkeypatch.setattr(nvidia, "has_library", lambda: False)


def device(folder: str = CARD, **files: str) -> dict[str, str]:
    named = {"vendor": "0x1002", "class": "0x030000", "device": "0x744c", "revision": "0xc8"} | files
    return {f"{folder}/{name}": f"{text}\n" for name, text in named.items()} | {"dev/kfd": ""}


XTX = device(
    mem_info_vram_total=str(24 * GIB), mem_info_vram_used=str(2 * GIB), gpu_busy_percent="17", unique_id="3f1e42"
)
NAMES = {
    "usr/share/libdrm/amdgpu.ids": "1.0.0\n744C,\tC8,\tAMD Radeon RX 7900 XTX\n744C,\tCC,\tAMD Radeon RX 7900 XT\n"
}


def test_a_card_tells_name_memory_and_load(root):
    (card,), warnings = amd.probe({}, root(XTX | NAMES))
    assert (card.kind, card.name, card.uuid) == ("rocm", "AMD Radeon RX 7900 XTX", "GPU-3f1e42")
    assert (card.total_bytes, card.free_bytes, card.load_percent) == (24 * GIB, 22 * GIB, 17)
    assert card.unified is False
    assert warnings == ()


def test_the_drivers_own_product_name_comes_first(root):
    (card,), _ = amd.probe({}, root(XTX | NAMES | {f"{CARD}/product_name": "AMD Instinct MI210\n"}))
    assert card.name == "AMD Instinct MI210"


def test_the_pci_list_names_what_the_driver_does_not(root):
    ids = "1000  Broadcom\n\t744c  No\n1002  Advanced Micro Devices\n\t744c  Navi 31 [Radeon RX 7900 XTX]\n"
    (card,), _ = amd.probe({}, root(XTX | {"usr/share/misc/pci.ids": ids}))
    assert card.name == "AMD Navi 31 [Radeon RX 7900 XTX]"


def test_an_apu_shares_the_hosts_memory(root):
    files = device(
        device="0x1586",
        revision="0xc1",
        mem_info_vram_total=str(8 * GIB),
        mem_info_vram_used=str(GIB),
        mem_info_gtt_total=str(56 * GIB),
        mem_info_gtt_used=str(3 * GIB),
    )
    node = "sys/class/kfd/kfd/topology/nodes/1/properties"
    files[node] = "vendor_id 4098\nlocation_id 768\ngfx_target_version 110501\n"
    (gpu,), _ = amd.probe({}, root(files))
    assert gpu.unified is True
    assert (gpu.total_bytes, gpu.free_bytes) == (64 * GIB, 60 * GIB)


def test_an_apu_is_known_by_its_name_too(root):
    files = device(mem_info_vram_total=str(GIB), mem_info_vram_used="0", product_name="AMD Radeon 890M Graphics")
    (gpu,), _ = amd.probe({}, root(files))
    assert gpu.unified is True


def test_a_card_that_amdgpu_does_not_drive_says_so(root):
    found, (warning,) = amd.probe({}, root(device()))
    assert found == ()
    assert "amdgpu" in warning


def test_a_container_without_the_compute_device_says_how_to_get_it(root):
    files = {name: text for name, text in XTX.items() if name != "dev/kfd"}
    _, (warning,) = amd.probe({}, root(files))
    assert "--device /dev/kfd" in warning


INTEL = device(vendor="0x8086", device="0x56a0") | {
    "usr/share/hwdata/pci.ids": "8086  Intel Corporation\n\t56a0  DG2 [Arc A770]\n"
}


def test_an_intel_gpu_is_named_as_not_used(root):
    machine = detect(deadline_seconds=60, root=root(INTEL), environment={})
    assert machine.accelerators == ()
    assert "Intel DG2 [Arc A770] is not used: the engines here have no backend for Intel GPUs" in machine.warnings


def test_an_intel_gpu_beside_a_card_is_not_worth_a_word(root):
    slash = root(INTEL | {name.replace("03:00", "04:00"): text for name, text in (XTX | NAMES).items()})
    machine = detect(deadline_seconds=60, root=slash, environment={})
    assert [one.name for one in machine.accelerators] == ["AMD Radeon RX 7900 XTX"]
    assert not [warning for warning in machine.warnings if "Intel" in warning]


def test_a_gpu_in_the_processor_is_left_to_the_screen_beside_a_card(root):
    second = "sys/bus/pci/devices/0000:10:00.0"
    files = device(second, mem_info_vram_total=str(GIB), mem_info_vram_used="0", product_name="AMD Radeon Graphics")
    machine = detect(deadline_seconds=60, root=root(XTX | NAMES | files), environment={})
    assert [one.name for one in machine.accelerators] == ["AMD Radeon RX 7900 XTX"]
    assert "AMD Radeon Graphics, which is built into the processor, is left to the screen" in machine.warnings


def test_screens_of_servers_and_virtual_machines_are_passed_over(root):
    files = device(vendor="0x1a03") | device("sys/bus/pci/devices/0000:00:02.0", vendor="0x1234")
    assert amd.probe({}, root(files)) == ((), ())


def test_hip_visible_devices_hides_cards(root):
    files = XTX | NAMES
    second = "sys/bus/pci/devices/0000:0a:00.0"
    files |= device(second, revision="0xcc", mem_info_vram_total=str(20 * GIB), mem_info_vram_used="0")
    (card,), (warning,) = amd.probe({"HIP_VISIBLE_DEVICES": "1"}, root(files))
    assert (card.index, card.name) == (0, "AMD Radeon RX 7900 XT")
    assert warning == "HIP_VISIBLE_DEVICES='1' hides 1 AMD GPUs"


def test_a_machine_without_pci_has_none(root):
    assert amd.probe({}, root({})) == ((), ())
