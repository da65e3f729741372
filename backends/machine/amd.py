"""AMD cards and APUs through the amdgpu driver's files, and GPUs of Intel's by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from backends.machine.bandwidth import bandwidth_of
from backends.machine.model import Accelerator
from backends.machine.visible import Listed, visible

_AMD = "0x1002"
_INTEL = "0x8086"
_DRIVER_FILES = ("usr/share/libdrm/amdgpu.ids", "usr/local/share/libdrm/amdgpu.ids")
_PCI_FILES = ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids", "usr/share/pci.ids")

_UNIFIED_TARGETS = frozenset(
    {90002, 90003, 90012, 100303, 100305, 100306, 100307, 110003, 110500, 110501, 110502, 110503}
)
"""gfx_target_version of APUs, whose memory is the host's: gfx902 to gfx1153. Source: LLVM's AMDGPU usage guide."""

_UNIFIED_NAME = re.compile(r"radeon(\(tm\))?\s+(\d{3}m\b|80[456]0s\b|vega\s+\d+\s+graphics|graphics\b)", re.IGNORECASE)


def probe(environment: Mapping[str, str], root: Path = Path("/")) -> tuple[tuple[Accelerator, ...], tuple[str, ...]]:
    """AMD's GPUs as ROCm would count them, and what is to be said about them."""
    found: list[Accelerator] = []
    warnings: list[str] = []
    for device in _display_devices(root):
        if _line(device / "vendor") != _AMD:
            continue
        if (device / "mem_info_vram_total").exists():
            found.append(_accelerator(device, len(found), root))
        else:
            warnings.append(
                f"{_pci_name(device, root) or 'an AMD GPU'} is not driven by amdgpu, so it cannot be used: "
                "install the kernel's amdgpu driver and its firmware"
            )
    if found and not (root / "dev/kfd").exists():
        warnings.append(
            "/dev/kfd is missing, so ROCm cannot use the AMD GPU: load the amdgpu driver with ROCm's support; "
            "in a container, start it with `--device /dev/kfd --device /dev/dri`"
        )
    for variable in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        choices, _odd = visible(environment.get(variable), [Listed(gpu.uuid) for gpu in found])
        if len(choices) < len(found):
            warnings.append(f"{variable}={environment[variable]!r} hides {len(found) - len(choices)} AMD GPUs")
        found = [replace(found[number], index=index) for index, (number, _part) in enumerate(choices)]
    return tuple(found), tuple(warnings)


def intel(root: Path = Path("/")) -> tuple[str, ...]:
    """Names of Intel's GPUs, which no engine here can use."""
    devices = [device for device in _display_devices(root) if _line(device / "vendor") == _INTEL]
    return tuple(_pci_name(device, root) or "an Intel GPU" for device in devices)


def _display_devices(root: Path) -> list[Path]:
    """PCI folders of display controllers, by bus number as ROCm counts them."""
    try:
        devices = sorted((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return []
    # 0x03: display controllers; 0x1200: processing accelerators, as Instinct cards call themselves.
    return [d for d in devices if (_line(d / "class") or "").startswith(("0x03", "0x1200"))]


def _accelerator(device: Path, index: int, root: Path) -> Accelerator:
    unique = _line(device / "unique_id")
    name = _line(device / "product_name") or _driver_name(device, root) or _pci_name(device, root) or "AMD GPU"
    name = name if name.upper().startswith("AMD") else f"AMD {name}"
    total_bytes, used_bytes = _number(device / "mem_info_vram_total"), _number(device / "mem_info_vram_used")
    is_unified = _target(device, root) in _UNIFIED_TARGETS or bool(_UNIFIED_NAME.search(name))
    if is_unified and total_bytes is not None:
        # An APU has what the firmware carved out for it and, through the GTT, a share of the host's memory.
        total_bytes += _number(device / "mem_info_gtt_total") or 0
        used_bytes = (used_bytes or 0) + (_number(device / "mem_info_gtt_used") or 0)
    free_bytes = max(0, total_bytes - used_bytes) if total_bytes is not None and used_bytes is not None else None
    load_percent = _number(device / "gpu_busy_percent")
    return Accelerator(
        index=index,
        kind="rocm",
        name=name,
        uuid=f"GPU-{unique}" if unique else None,
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        unified=is_unified,
        load_percent=None if load_percent is None else min(100, load_percent),
        bandwidth_bytes_per_second=bandwidth_of(name, memory_bytes=total_bytes),
    )


def _target(device: Path, root: Path) -> int | None:
    """gfx_target_version of the compute driver's node with this device's address."""
    match = re.fullmatch(r"([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", device.name)
    if match is None:
        return None
    location = int(match[2], 16) << 8 | int(match[3], 16) << 3 | int(match[4])
    try:
        nodes = sorted((root / "sys/class/kfd/kfd/topology/nodes").iterdir())
    except OSError:
        return None
    for node in nodes:
        said = dict(line.split(" ", 1) for line in _text(node / "properties").splitlines() if " " in line)
        if said.get("vendor_id", "").strip() == "4098" and said.get("location_id", "").strip() == str(location):
            target = said.get("gfx_target_version", "").strip()
            return int(target) if target.isdigit() else None
    return None


def _driver_name(device: Path, root: Path) -> str | None:
    """The product's name in libdrm's list, whose lines are "744C, C8, AMD Radeon RX 7900 XTX"."""
    model, revision = (_line(device / "device") or "")[2:].lower(), (_line(device / "revision") or "")[2:].lower()
    for file in _DRIVER_FILES:
        for line in _text(root / file).splitlines():
            parts = [part.strip() for part in line.split(",", 2)]
            if len(parts) == 3 and [parts[0].lower(), parts[1].lower()] == [model, revision]:
                return parts[2]
    return None


def _pci_name(device: Path, root: Path) -> str | None:
    """The device's name in the PCI list: vendors at the margin, their devices one tab in."""
    vendor, model = (_line(device / "vendor") or "")[2:].lower(), (_line(device / "device") or "")[2:].lower()
    maker = {"1002": "AMD", "8086": "Intel"}.get(vendor, "")
    for file in _PCI_FILES:
        is_ours = False
        for line in _text(root / file).splitlines():
            if not line.startswith(("\t", "#")):
                is_ours = line[:4].lower() == vendor
            elif is_ours and line[1:5].lower() == model:
                return f"{maker} {line[5:].strip()}".strip()
    return None


def _number(path: Path) -> int | None:
    text = _line(path)
    return int(text) if text is not None and text.isdigit() else None


def _line(path: Path) -> str | None:
    return _text(path).strip() or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
