"""Machines that one can ask about without having them: named ones, and ones put together from devices by name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from backends.machine.apple import default_limit
from backends.machine.bandwidth import bandwidth_of, channels_bandwidth
from backends.machine.devices import Device, devices, devices_named
from backends.machine.document import machine_from_json
from backends.machine.model import Accelerator, Cpu, Machine, Memory

_GIB = 1 << 30
_MIB = 1 << 20
_MOST_CARDS = 64
_MOST_FILE_BYTES = 4 << 20

_REPORTED_MIB = {
    # What NVML reports as a card's total, where it is not what the card is sold as. Source: nvidia-smi's listings.
    "GeForce RTX 4060": 8188,
    "GeForce RTX 4060 Laptop GPU": 8188,
    "GeForce RTX 4070": 12282,
    "GeForce RTX 4080": 16376,
    "GeForce RTX 4090": 24564,
    "GeForce RTX 5070": 12227,
    "GeForce RTX 5080": 16303,
    "GeForce RTX 5090": 32607,
    "RTX A6000": 49140,
    "RTX 6000 Ada Generation": 49140,
    "RTX PRO 6000 Blackwell Workstation Edition": 97887,
    "Tesla T4": 15360,
    "L4": 23034,
    "L40S": 46068,
    "A40": 46068,
    "H100 80GB HBM3": 81559,
    "H100 PCIe": 81559,
    "H200": 143771,
    "B200": 183359,
}

_WORKING_SET_BYTES = {
    # What Metal recommends by default on current macOS, by the Mac's memory in GiB. Source: llama.cpp's start-up
    # lines (recommendedMaxWorkingSetSize, in MB of 1e6) that users published.
    8: 5_726_630_000,
    16: 12_713_120_000,
    24: 19_069_000_000,
    48: 40_200_896_512,
    64: 55_662_800_000,
    128: 115_448_730_000,
    256: 223_338_300_000,
    512: 498_216_200_000,
}


@dataclass(frozen=True, slots=True)
class Preset:
    """A machine under a name of its own."""

    name: str
    source: str
    """Where its figures are published."""
    text: str | None = None
    """What it is put together from; None: built below."""


_NVIDIA_SHEETS = "NVIDIA's product pages and data sheets; NVML's totals from nvidia-smi listings"
_APPLE_PAGES = "Apple's technical specifications; Metal's working sets as llama.cpp logs them"

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset("laptop 16 GB no GPU", "a common office laptop; nothing published is claimed of its speed"),
            Preset("Raspberry Pi 5 8 GB", "Raspberry Pi 5 product brief"),
            *(
                Preset(name, _NVIDIA_SHEETS, name)
                for name in (
                    "RTX 4060 Laptop",
                    "RTX 3060 12 GB",
                    "RTX 4060 Ti 16 GB",
                    "RTX 5070",
                    "RTX 4080",
                    "RTX 5080",
                    "RTX 3090",
                    "RTX 4090",
                    "RTX 5090",
                    "2x RTX 3090",
                    "4x RTX 3090",
                    "2x RTX 4090",
                    "Tesla T4",
                    "Tesla P40",
                    "2x Tesla P40",
                    "L4",
                    "RTX A6000",
                    "L40S",
                    "RTX PRO 6000 Blackwell",
                    "A100 40 GB",
                    "A100 80 GB",
                    "8x A100 80 GB",
                    "H100",
                    "8x H100",
                    "H200",
                    "8x H200",
                    "8x B200",
                )
            ),
            *(
                Preset(name, "AMD's product pages", name)
                for name in ("RX 7900 XT", "RX 7900 XTX", "RX 9070 XT", "8x MI300X")
            ),
            Preset("EPYC 9654 384 GB", "AMD's product page: 12 channels of DDR5-4800, 460.8 GB/s"),
            Preset("DGX Spark (GB10)", "NVIDIA's DGX Spark data sheet: 128 GB at 273 GB/s"),
            Preset("Ryzen AI Max+ 395 128 GB", "AMD's product page: 128 GB at 256 GB/s, up to 96 GB of it for the GPU"),
            *(
                Preset(name, _APPLE_PAGES, name)
                for name in (
                    "M1 8 GB",
                    "M1 16 GB",
                    "M2 Pro 16 GB",
                    "M3 Pro 36 GB",
                    "M4 16 GB",
                    "M4 Pro 24 GB",
                    "M4 Pro 48 GB",
                    "M1 Max 64 GB",
                    "M3 Max 64 GB",
                    "M4 Max 128 GB",
                    "M5 Max 128 GB",
                    "M2 Ultra 192 GB",
                    "M3 Ultra 512 GB",
                )
            ),
        )
    }
)
"""Named machines by their name, small ones first within each kind."""

_MAC = re.compile(
    r"(?:apple\s+)?(m\d+(?:\s+(?:pro|max|ultra))?)(?:\s+(\d+)\s*gi?b)?(?:\s+(?:ram|memory))?", re.IGNORECASE
)
_TOGETHER = re.compile(r"(?:\b|(?<=\dx))(rtx|gtx|rx)(?=\d)", re.IGNORECASE)
"""Series that people write without the space before the number."""
_SERVER = re.compile(
    r"(?:(?:amd|intel) )?((?:epyc|threadripper|xeon) [a-z0-9 -]*?\d[\w-]*\+?(?: v\d)?)(?:[ ,]+(\d+) ?([gt])b)?( ram)?",
    re.IGNORECASE,
)
_RAM = re.compile(r"(\d+(?:\.\d+)?)\s*([gt])i?b\s+(?:of\s+)?(?:ram|memory)", re.IGNORECASE)
_COUNTED = re.compile(r"(\d{1,3})\s*[x×*]\s*(\S.*)", re.IGNORECASE)
_WITH_MEMORY = re.compile(r"(.+?)[\s,]*\(?(\d+)\s*gi?b\)?", re.IGNORECASE)


def load_machine(text: str) -> Machine:
    """The machine of a JSON file, if the text is one's path, else of a preset.

    Raises:
        ValueError: a file that cannot be read or is wrong, or a name that is not known, with the nearest ones.
    """
    path: Path | None
    try:
        path = Path(text).expanduser()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, nobody's home: no path, then
        path, is_file = None, False
    if path is not None and is_file:
        return _read(path)
    if "/" in text or text.lower().endswith(".json"):
        what = f"{text} is no file" if path is not None and path.exists() else f"there is no file {text}"
        raise ValueError(f"{what}; `modeldeck hardware --json` prints one to start from")
    return preset(text)


def preset(name: str) -> Machine:
    """The machine of this name, or put together from devices: "2x RTX 3090", "RTX 4090 + RTX 3060 12 GB, 64 GB RAM".

    What is not said of the host is assumed, and a warning says so: memory twice the cards', up to a power of two.

    Raises:
        ValueError: a name that is not known, with the nearest ones.
    """
    wanted = _TOGETHER.sub(r"\1 ", " ".join(name.split()))
    if not wanted or len(wanted) > 200:
        raise ValueError('no machine is named; write for example "2x RTX 3090" or "M4 Pro 48 GB"')
    named = next((known for known in PRESETS.values() if known.name.lower() == wanted.lower()), None)
    built = _system((named.name if named else wanted).lower())
    if built is not None:
        return built
    text = named.text if named is not None and named.text else wanted
    machine = _mac(text) or _assembled(text)
    return replace(machine, label=named.name) if named else machine


def _system(wanted: str) -> Machine | None:
    """Machines on one board, which are more than their devices."""
    plain = re.sub(r"[^a-z0-9]+", " ", wanted).strip()
    if re.fullmatch(r"laptop 16 ?gb( ram)?( no gpu)?", plain):
        return Machine("linux", "x86_64", Cpu(None, None, None), _memory(16 * _GIB), label="laptop 16 GB no GPU")
    if match := re.fullmatch(r"raspberry pi 5(?: (\d+) ?gb)?", plain):
        gigabytes = int(match[1] or 8)
        if gigabytes not in {2, 4, 8, 16}:
            raise ValueError(f"a Raspberry Pi 5 is sold with 2, 4, 8 or 16 GB, not {gigabytes}")
        cpu = Cpu("Raspberry Pi 5 (Cortex-A76)", 4, 4)
        return Machine("linux", "aarch64", cpu, _memory(gigabytes * _GIB), label=f"Raspberry Pi 5 {gigabytes} GB")
    if re.fullmatch(r"(nvidia )?(dgx spark( gb10)?|gb10)( 128 ?gb)?", plain):
        # Linux shows 119.7 GiB of its 128 GB.
        return _unified(
            "DGX Spark (GB10)",
            arch="aarch64",
            name="NVIDIA GB10",
            cpu=Cpu(None, 20, 20, 10),
            memory_bytes=int(119.7 * _GIB),
            capability="12.1",
        )
    if (match := _SERVER.fullmatch(wanted)) and channels_bandwidth(Cpu(match[1], None, None)):
        return _server(match[1], match[2], match[3])
    if match := re.fullmatch(r"(?:amd )?(?:ryzen ai max 395|strix halo)(?: (\d+) ?gb)?", plain):
        gigabytes = int(match[1] or 128)
        if gigabytes not in {32, 64, 96, 128}:
            raise ValueError(f"a Ryzen AI Max+ 395 is sold with 32, 64, 96 or 128 GB, not {gigabytes}")
        cpu = Cpu("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 16, 32)
        return _unified(
            f"Ryzen AI Max+ 395 {gigabytes} GB",
            arch="x86_64",
            name="AMD Radeon 8060S Graphics",
            cpu=Cpu("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 16, 32),
            memory_bytes=gigabytes * _GIB,
            limit_bytes=gigabytes * 3 // 4 * _GIB,
        )
    return None


def _server(name: str, amount: str | None, unit: str | None) -> Machine:
    """A server without a card, by its processor, whose memory channels are taken to be all populated."""
    titles = {"epyc": "EPYC", "pro": "PRO", "xeon": "Xeon"}
    words = (titles.get(word, word.upper() if re.search(r"\d", word) else word.title()) for word in name.split())
    title = " ".join(words)
    if amount is None:
        raise ValueError(f'servers have many sizes of memory: write for example "{title} 384 GB"')
    memory_bytes = int(amount[:6]) * (_GIB if unit == "g" else 1024 * _GIB)
    if not _GIB <= memory_bytes <= 1 << 46:
        raise ValueError(f"{amount} {unit}B is no amount of memory that a server has")
    cpu = Cpu(f"{'Intel' if title.startswith('Xeon') else 'AMD'} {title}", None, None)
    return Machine("linux", "x86_64", cpu, _memory(memory_bytes), label=f"{title} {_amount(memory_bytes)}")


def _unified(
    label: str,
    *,
    arch: str,
    name: str,
    cpu: Cpu,
    memory_bytes: int,
    limit_bytes: int | None = None,
    capability: str | None = None,
) -> Machine:
    """A machine whose GPU works on the host's memory; without a limit all of it."""
    memory = _memory(memory_bytes)
    total_bytes = min(memory_bytes, limit_bytes or memory_bytes)
    gpu = Accelerator(
        index=0,
        kind="cuda" if capability else "rocm",
        name=name,
        total_bytes=total_bytes,
        free_bytes=min(total_bytes, memory.available_bytes or total_bytes),
        compute_capability=capability,
        unified=True,
        bandwidth_bytes_per_second=bandwidth_of(name),
    )
    return Machine("linux", arch, cpu, memory, (gpu,), label=label)


def _mac(text: str) -> Machine | None:
    """A Mac by chip and memory; None: the text names something else."""
    match = _MAC.fullmatch(text)
    if match is None:
        return None
    chip = " ".join(word.capitalize() for word in match[1].split())
    rows = devices_named(f"Apple {chip}")
    if not rows:
        raise ValueError(_unknown(text))
    if match[2] is None:
        raise ValueError(f'Apple\'s {chip} is sold with several sizes of memory: write for example "{chip} 16 GB"')
    gigabytes = int(match[2])
    if not 8 <= gigabytes <= 1024:
        raise ValueError(f"no Mac with an {chip} has {gigabytes} GB of memory")
    memory = _memory(gigabytes * _GIB)
    limit_bytes = _WORKING_SET_BYTES.get(gigabytes) or default_limit(gigabytes * _GIB)
    gpu = Accelerator(
        index=0,
        kind="metal",
        name=rows[0].name,
        total_bytes=limit_bytes,
        free_bytes=min(limit_bytes, memory.available_bytes or limit_bytes),
        unified=True,
        bandwidth_bytes_per_second=bandwidth_of(rows[0].name, memory_bytes=gigabytes * _GIB),
    )
    cpu = Cpu(rows[0].name, None, None)
    return Machine("darwin", "arm64", cpu, memory, (gpu,), label=f"{chip} {gigabytes} GB")


def _assembled(text: str) -> Machine:
    """Cards, and host memory where it is said."""
    cards: list[Device] = []
    words: list[str] = []
    ram_bytes: int | None = None
    for term in (part.strip() for part in re.split(r"[+,]", text)):
        ram = _RAM.fullmatch(term)
        if ram is not None:
            ram_bytes = int(float(ram[1]) * (_GIB if ram[2].lower() == "g" else _GIB * 1024))
            if not _GIB // 2 <= ram_bytes <= 1 << 46:
                raise ValueError(f"{term} is no amount of memory that a machine has")
            continue
        counted = _COUNTED.fullmatch(term)
        count, name = (int(counted[1]), counted[2]) if counted else (1, term)
        if _MAC.fullmatch(name) and devices_named(f"Apple {name.split(' ')[0]}"):
            raise ValueError(f"{term} cannot be put together with other devices: a Mac is a whole machine")
        device = _device(name)
        if not 1 <= count <= _MOST_CARDS or len(cards) + count > _MOST_CARDS:
            raise ValueError(f"{text!r} asks for more than {_MOST_CARDS} cards or for none")
        cards += [device] * count
        words.append(f"{count}x {_short(device)}" if count > 1 else _short(device))
    if not cards and ram_bytes is None:
        raise ValueError(_unknown(text))
    card_bytes = sum((device.memory_gib or 0) * _GIB for device in cards)
    assumed_bytes = max(32 * _GIB, 1 << (max(1, 2 * card_bytes) - 1).bit_length())
    label = " + ".join(words) or "no GPU"
    warnings: tuple[str, ...] = ()
    if ram_bytes is None:
        otherwise = f"{label}, 64 GB RAM"
        warnings = (f"{_amount(assumed_bytes)} of host memory are assumed; say otherwise with {otherwise!r}",)
    else:
        label += f", {_amount(ram_bytes)} RAM"
    return Machine(
        os="linux",
        arch="aarch64" if any(device.name.startswith(("GH", "GB")) for device in cards) else "x86_64",
        cpu=Cpu(None, None, None),
        memory=_memory(ram_bytes or assumed_bytes),
        accelerators=tuple(_card(index, device) for index, device in enumerate(cards)),
        warnings=warnings,
        label=label,
    )


def _device(name: str) -> Device:
    """One card by name, and by memory where it is sold with several."""
    rows = devices_named(name)
    if not rows and (match := _WITH_MEMORY.fullmatch(name)):
        sold = devices_named(match[1])
        rows = tuple(row for row in sold if row.memory_gib == int(match[2][:6]))
        if sold and not rows:
            sizes = " or ".join(f"{gib} GB" for gib in sorted({row.memory_gib for row in sold if row.memory_gib}))
            if sizes:
                raise ValueError(
                    f"{match[1]} is sold with {sizes}, not {match[2]} GB; describe others in a machine file"
                )
            rows = sold
    if not rows:
        raise ValueError(_unknown(name))
    device = rows[0]
    if device.kind == "intel":
        raise ValueError(f"{device.title} is not supported: the engines here have no backend for Intel GPUs")
    if device.memory_gib is None:
        raise ValueError(f"{device.title} works on the memory of its board: describe the machine in a file")
    return device


def _card(index: int, device: Device) -> Accelerator:
    total_bytes = _REPORTED_MIB.get(device.name, (device.memory_gib or 0) * 1024) * _MIB
    # What drivers keep for themselves grows from 225 MiB of 8 GiB to 551 of 80. Source: NVML's reserved memory.
    reserved_bytes = 225 * _MIB + total_bytes // 200
    return Accelerator(
        index=index,
        kind=device.kind,
        name=device.title,
        total_bytes=total_bytes,
        free_bytes=total_bytes - reserved_bytes,
        compute_capability=device.compute_capability,
        bandwidth_bytes_per_second=device.bandwidth_bytes_per_second,
    )


def _memory(total_bytes: int) -> Memory:
    """Host memory with an idle system on it: an eighth, from 1 to 4 GiB, is taken to be in use."""
    in_use_bytes = min(4 * _GIB, max(_GIB, total_bytes // 8))
    return Memory(total_bytes, max(0, total_bytes - in_use_bytes))


def _short(device: Device) -> str:
    """What people call a card, with its memory where that tells it from another."""
    name = device.also[0] if device.also else device.name
    name = re.sub(r"^(GeForce|Radeon|Instinct) ", "", name).replace(" Laptop GPU", " Laptop")
    several = len({row.memory_gib for row in devices_named(name)}) > 1
    return f"{name} {device.memory_gib} GB" if several else name


def _amount(ram_bytes: int) -> str:
    gibibytes = ram_bytes / _GIB
    return f"{gibibytes / 1024:g} TB" if gibibytes >= 1024 else f"{gibibytes:g} GB"


def _unknown(name: str) -> str:
    from specs.text import one_line

    shown = one_line(name)[:80]
    near = difflib.get_close_matches(shown.lower(), _known_names(), n=4, cutoff=0.5)
    listed = _known_names()
    hint = (
        f"near it: {', '.join(listed[one] for one in near)}"
        if near
        else f"known are for example {', '.join(list(PRESETS)[:6])}"
    )
    return f"no machine or device is named {shown!r}; {hint}"


@cache
def _known_names() -> dict[str, str]:
    """Every name that may be meant, by its small letters."""
    names = [
        *PRESETS,
        *(_short(device) for device in devices() if device.kind in {"cuda", "rocm"} and device.memory_gib),
    ]
    return {name.lower(): name for name in names}


def _read(path: Path) -> Machine:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(raw) > _MOST_FILE_BYTES:
        raise ValueError(f"{path} is larger than {_MOST_FILE_BYTES >> 20} MiB, so it is no machine file")
    try:
        document = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: no JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON that can be read: numbers too long or brackets too deep") from error
    try:
        return machine_from_json(document, path.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
