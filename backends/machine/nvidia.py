"""NVIDIA cards and their MIG slices, asked through NVML: each card apart, none able to hide another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from backends.machine.bandwidth import bandwidth_of
from backends.machine.deadline import Late, Question
from backends.machine.model import Accelerator, Holder
from backends.machine.visible import Listed, names_by_index, order_is_certain, visible
from specs.text import one_line

_LIBRARY = "libnvidia-ml.so.1"
# Where WSL and NixOS keep the library when the loader's cache does not know it.
_FURTHER_PLACES = (f"/usr/lib/wsl/lib/{_LIBRARY}", f"/run/opengl-driver/lib/{_LIBRARY}")
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"

MISMATCH = (
    "the NVIDIA driver's library and its kernel module are of different versions, as after an update, "
    "so no NVIDIA GPU can be used: reboot"
)
NOT_LOADED = (
    "the NVIDIA driver is installed but its kernel module is not loaded, so no NVIDIA GPU can be used: "
    "run `sudo modprobe nvidia`; if that fails, reinstall the driver for the running kernel"
)
NO_PERMISSION = "the system does not let this user ask the NVIDIA driver: look at /dev/nvidia*'s permissions"
NO_LIBRARY = (
    f"there is an NVIDIA card but not the driver's library {_LIBRARY}: install NVIDIA's driver; "
    "in a container, install the NVIDIA Container Toolkit and start it with `--gpus all`"
)
NO_CARD_SHOWN = (
    "the NVIDIA driver runs but shows no card, though one is on the PCI bus: "
    "in a container, start it with `--gpus all`; else look for NVRM in `dmesg`"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What changes from one second to the next on one card or slice; None: not told."""

    total_bytes: int | None
    free_bytes: int | None
    load_percent: int | None
    holders: tuple[Holder, ...]
    is_unified: bool = False
    """Whether the card has no memory of its own to report, as on GB10: the host's memory is it."""


@dataclass(slots=True)
class _Card:
    """One card while it is being asked; filled by its thread, read by whoever waits for it."""

    number: int
    asked_for: str = "its name"
    name: str | None = None
    uuid: str | None = None
    compute_capability: str | None = None
    is_cut: bool = False
    whole: Accelerator | None = None
    slices: list[Accelerator] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"NVIDIA GPU {self.number}" + (f" ({self.name})" if self.name else "")


def probe(
    until: float,
    *,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    root: Path = Path("/"),
) -> tuple[tuple[Accelerator, ...], tuple[str, ...]]:
    """Every card and slice that a CUDA process of ours would see, and what is to be said about the others.

    Args:
        until: Time of time.monotonic() at which to go on without the cards that have not answered.
        seconds: How long that is, for the warnings.
        environment: Where CUDA_VISIBLE_DEVICES is looked up; None: this process's.
        root: Where / is, to look for cards that no driver serves.
    """
    environment = os.environ if environment is None else environment
    try:
        opened = Question(_open_and_count, "nvml").answer(until)
    except Late:
        return (), (
            f"the NVIDIA driver did not answer within {seconds:g} s, so its GPUs are left out: try `nvidia-smi`; "
            "if that hangs too, look for Xid in `dmesg` and reboot; "
            "if it is only slow, `sudo nvidia-smi -pm 1` keeps the cards awake",
        )
    except Exception as error:  # noqa: BLE001 - told to the user
        warning = _why_no_driver(error, root)
        return (), (warning,) if warning else ()
    if opened is None:
        return (), (NO_LIBRARY,) if has_card(root) else ()
    library, count = opened
    try:
        if count == 0:
            return (), (NO_CARD_SHOWN,) if has_card(root) else ()
        return _shown(_asked(count, until, seconds), environment)
    finally:
        # Nobody waits for it: cards that still hang hold the library open for themselves.
        Question(library.nvmlShutdown, "nvml")


def _asked(count: int, until: float, seconds: float) -> list[_Card]:
    """All cards, each asked in its own thread, with what went wrong."""
    cards = [_Card(number) for number in range(count)]
    questions = [Question(lambda card=card: _ask(card), f"nvml-{card.number}") for card in cards]  # type: ignore[misc]
    for card, question in zip(cards, questions, strict=True):
        _collect(card, question, until, seconds)
    return cards


def has_library() -> bool:
    """Whether the driver's library is there; cheap, so that machines without one never import pynvml (95 ms)."""
    import ctypes

    for place in (_LIBRARY, *_FURTHER_PLACES):
        try:
            # Loaded from its full path it is also found by its bare name afterwards, which pynvml asks for.
            ctypes.CDLL(place, mode=ctypes.RTLD_GLOBAL if place != _LIBRARY else ctypes.DEFAULT_MODE)
        except OSError:
            continue
        return True
    return False


def has_card(root: Path = Path("/")) -> bool:
    """Whether an NVIDIA display controller is on the PCI bus, driver or not."""
    if (root / "proc/driver/nvidia/version").exists():
        return True
    try:
        devices = sorted((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return False
    return any(_text(d / "vendor") == "0x10de" and _text(d / "class").startswith("0x03") for d in devices)


@contextmanager
def nvml() -> Iterator[Any]:
    """pynvml, initialised for as long as the block lasts.

    NVML counts initialisations, so every thread takes and gives back its own: a card that hangs keeps the library
    open for its thread alone, and nobody closes it under another's question.
    """
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        with suppress(pynvml.NVMLError):  # a driver that went away while we asked: nothing is left to close
            pynvml.nvmlShutdown()


def _open_and_count() -> tuple[Any, int] | None:
    """pynvml, initialised and to be closed by the caller, and how many cards it lists; None: no driver library here.

    It stays open until all cards are asked: without persistence mode every first opening wakes all cards, for seconds.
    """
    if not has_library():
        return None
    library = _open()
    try:
        return library, int(library.nvmlDeviceGetCount())
    except Exception:
        library.nvmlShutdown()
        raise


def is_lost(error: Exception) -> bool:
    """Whether this is NVML's word for a card that fell off the bus or wants a reset."""
    return type(error).__name__ in {"NVMLError_GpuIsLost", "NVMLError_ResetRequired", "NVMLError_GpuNotFound"}


def lost_sentence(title: str) -> str:
    """What to say of a lost card."""
    return (
        f"{title} is lost (it has fallen off the bus or wants a reset) and is left out: "
        "look for Xid in `dmesg`, check its power and seat, and reboot"
    )


def late_sentence(title: str, asked_for: str, seconds: float) -> str:
    """What to say of a card that hangs."""
    return (
        f"{title} did not answer within {seconds:g} s when asked for {asked_for}, and is left out: "
        "try `nvidia-smi`; if that hangs too, look for Xid in `dmesg` and reboot"
    )


def read(library: Any, handle: Any) -> Reading:
    """Memory and load of one card or slice, without its holders: naming those can hang apart from the driver.

    Raises:
        NVMLError: the card is lost, or its memory cannot be asked for.
    """
    try:
        memory = library.nvmlDeviceGetMemoryInfo(handle)
    except library.NVMLError_NotSupported:
        return Reading(None, None, _load(library, handle), (), is_unified=True)
    # v1 counts what the driver reserves as used; free is the same in v1 and v2, and free is what counts.
    return Reading(int(memory.total), int(memory.free), _load(library, handle), ())


class Reader:
    """Asks the same cards again and again, with the library open and their handles kept.

    A card that still owes an answer is not asked again, so a hanging driver costs one thread a card and no more.
    """

    def __init__(self) -> None:
        self._library: Question[Any] | None = None
        self._handles: dict[str, Any] = {}
        self._asked: dict[str, Question[Reading]] = {}

    def read(self, uuids: Sequence[str], until: float) -> dict[str, Reading | Exception]:
        """A reading of each card or slice, or what went wrong: Late, or NVML's error."""
        if self._library is None:
            self._library = Question(_open, "nvml")
        try:
            library = self._library.answer(until)
        except Exception as error:  # noqa: BLE001 - given to the caller, for each card
            if not isinstance(error, Late):
                self._library = None  # asked anew next time: the driver may be back by then
            return dict.fromkeys(uuids, error)
        for uuid in uuids:
            if uuid not in self._asked or self._asked[uuid].answered:
                self._asked[uuid] = Question(lambda uuid=uuid: self._read(library, uuid), "nvml")  # type: ignore[misc]
        readings: dict[str, Reading | Exception] = {}
        for uuid in uuids:
            try:
                readings[uuid] = self._asked[uuid].answer(until)
            except Exception as error:  # noqa: BLE001 - given to the caller, for this card
                readings[uuid] = error
        return readings

    def close(self, until: float) -> None:
        """Give the library back, unless a card still hangs in it: closing it under a question is undefined."""
        opened, self._library = self._library, None
        if opened is None or not opened.answered or not all(asked.answered for asked in self._asked.values()):
            return
        try:
            library = opened.answer(until)
            Question(library.nvmlShutdown, "nvml").answer(until)
        except Exception:  # noqa: BLE001, S110 - closing a library that is gone, or never came, loses nothing
            pass

    def _read(self, library: Any, uuid: str) -> Reading:
        """One reading; runs in the card's thread. A handle that failed is fetched anew next time."""
        handle = self._handles.pop(uuid, None) or library.nvmlDeviceGetHandleByUUID(uuid)
        reading = read(library, handle)
        reading = replace(reading, holders=holders(library, handle))
        self._handles[uuid] = handle
        return reading


def _open() -> Any:
    """pynvml, initialised."""
    has_library()  # makes a library that only its full path finds known by its name
    import pynvml  # 95 ms

    pynvml.nvmlInit()
    return pynvml


def _why_no_driver(error: Exception, root: Path) -> str | None:
    match type(error).__name__:
        case "NVMLError_LibraryNotFound":
            return NO_LIBRARY if has_card(root) else None
        case "NVMLError_LibRmVersionMismatch":
            return MISMATCH
        case "NVMLError_DriverNotLoaded":
            return NOT_LOADED
        case "NVMLError_NoPermission":
            return NO_PERMISSION
    return f"the NVIDIA driver cannot be asked ({error or type(error).__name__}): try `nvidia-smi`"


def _collect(card: _Card, question: Question[None], until: float, seconds: float) -> None:
    """Wait for one card, and turn what went wrong into a warning."""
    try:
        question.answer(until)
    except Late:
        if card.whole is None and not card.slices:
            card.warnings = [*card.warnings, late_sentence(card.title, card.asked_for, seconds)]
        else:
            what = f"{card.title} did not tell {card.asked_for} within {seconds:g} s; try `nvidia-smi`"
            card.warnings = [*card.warnings, what]
    except Exception as error:  # noqa: BLE001 - told to the user
        card.whole, card.slices = None, []
        what = f"{card.title} did not tell {card.asked_for} ({error or type(error).__name__}) and is left out"
        what = lost_sentence(card.title) if is_lost(error) else f"{what}: try `nvidia-smi`"
        card.warnings = [*card.warnings, what]


def _ask(card: _Card) -> None:
    """Fill one card; runs in its thread."""
    with nvml() as library:
        handle = library.nvmlDeviceGetHandleByIndex(card.number)
        card.name = str(library.nvmlDeviceGetName(handle))
        card.asked_for = "its UUID"
        card.uuid = _told(library, lambda: str(library.nvmlDeviceGetUUID(handle)))
        card.asked_for = "its compute capability"
        capability = _told(library, lambda: library.nvmlDeviceGetCudaComputeCapability(handle))
        card.compute_capability = f"{capability[0]}.{capability[1]}" if capability else None
        card.asked_for = "its MIG mode"
        mode = _told(library, lambda: library.nvmlDeviceGetMigMode(handle))
        card.is_cut = bool(mode and mode[0] == library.NVML_DEVICE_MIG_ENABLE)
        if card.is_cut:
            _ask_slices(library, handle, card)
            return
        card.asked_for = "its memory"
        card.whole = _accelerator(card, card.name, card.uuid, read(library, handle))
        card.asked_for = "its processes"
        card.whole = replace(card.whole, holders=holders(library, handle))


def _ask_slices(library: Any, handle: Any, card: _Card) -> None:
    card.asked_for = "its MIG slices"
    most = _told(library, lambda: int(library.nvmlDeviceGetMaxMigDeviceCount(handle))) or 0
    for place in range(most):
        try:
            part = library.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
            name = str(library.nvmlDeviceGetName(part))
            uuid = str(library.nvmlDeviceGetUUID(part))
            reading = replace(read(library, part), holders=holders(library, part))
            slice_ = _accelerator(card, name, uuid, reading, parent_uuid=card.uuid)
        except library.NVMLError_NotFound:
            continue
        except library.NVMLError as error:
            if is_lost(error):
                raise
            card.warnings = [*card.warnings, f"MIG slice {place} of {card.title} cannot be asked ({error}); left out"]
            continue
        card.slices.append(slice_)
    if not card.slices:
        card.warnings = [
            *card.warnings,
            f"{card.title} is in MIG mode without a slice, so nothing can run on it: make slices with "
            "`sudo nvidia-smi mig -cgi PROFILE -C` or turn the mode off with `sudo nvidia-smi -mig 0`",
        ]


def _accelerator(
    card: _Card, name: str, uuid: str | None, reading: Reading, parent_uuid: str | None = None
) -> Accelerator:
    return Accelerator(
        index=card.number,
        kind="cuda",
        name=name,
        uuid=uuid,
        total_bytes=reading.total_bytes,
        free_bytes=reading.free_bytes,
        compute_capability=card.compute_capability,
        unified=reading.is_unified,
        load_percent=reading.load_percent,
        holders=reading.holders,
        parent_uuid=parent_uuid,
        bandwidth_bytes_per_second=bandwidth_of(name, memory_bytes=reading.total_bytes),
    )


def _shown(cards: list[_Card], environment: Mapping[str, str]) -> tuple[tuple[Accelerator, ...], tuple[str, ...]]:
    """What CUDA_VISIBLE_DEVICES leaves, numbered as the engines will number it."""
    warnings = [warning for card in cards for warning in card.warnings]
    value = environment.get("CUDA_VISIBLE_DEVICES")
    listed = [Listed(card.uuid, tuple(s.uuid or "" for s in card.slices), card.is_cut) for card in cards]
    choices, odd = visible(value, listed)
    shown = []
    for index, (number, part) in enumerate(choices):
        card = cards[number]
        one = card.whole if part is None else card.slices[part]
        if one is not None:
            shown.append(replace(one, index=index))
    if odd:
        warnings.append(odd)
    hidden = len(cards) - len({number for number, _ in choices})
    if value is not None and hidden and not odd:
        warnings.append(f"CUDA_VISIBLE_DEVICES={value!r} hides {hidden} of {len(cards)} NVIDIA GPUs")
    names = [card.name for card in cards if card.name]
    if not order_is_certain(environment, names) and (value is None or names_by_index(value)):
        warnings.append(
            "these NVIDIA GPUs are unlike, and CUDA may number them fastest first instead of as listed here: "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID to be sure"
        )
    return tuple(shown), tuple(warnings)


def _told(library: Any, ask: Callable[[], Any]) -> Any:
    """An answer that a card need not have; None where it or an old driver does not know it.

    Raises:
        NVMLError: the card is lost, which no answer makes up for.
    """
    try:
        return ask()
    except library.NVMLError as error:
        if is_lost(error):
            raise
        return None
    except library.NVMLLibraryMismatchError:
        return None


def _load(library: Any, handle: Any) -> int | None:
    rates = _told(library, lambda: library.nvmlDeviceGetUtilizationRates(handle))
    return None if rates is None else min(100, int(rates.gpu))


def holders(library: Any, handle: Any) -> tuple[Holder, ...]:
    """Who holds memory, the largest first; a process that computes and draws is one holder."""
    held: dict[int, int | None] = {}
    for kind in ("Compute", "Graphics"):
        for version in ("_v3", "_v2"):
            ask = getattr(library, f"nvmlDeviceGet{kind}RunningProcesses{version}", None)
            processes = _told(library, lambda ask=ask: ask(handle)) if ask else None  # type: ignore[misc]
            if processes is not None:
                for process in processes:
                    used = process.usedGpuMemory
                    held[int(process.pid)] = None if used is None else int(used)
                break
    named = [Holder(pid, *_whose(library, pid), used_bytes) for pid, used_bytes in held.items()]
    return tuple(sorted(named, key=lambda holder: -(holder.used_bytes or 0)))


def _whose(library: Any, pid: int) -> tuple[str | None, str | None]:
    """Name and user of a process.

    In a container NVML gives the host's process numbers, which mean other processes or none in here.
    """
    if _is_host_pid_namespace():
        import psutil

        try:
            process = psutil.Process(pid)
            return one_line(process.name()), _user_name(process.uids().real)
        except (psutil.Error, KeyError, OSError):
            pass
    try:
        path = _told(library, lambda: str(library.nvmlSystemGetProcessName(pid)))
    except UnicodeDecodeError:
        return None, None
    return (one_line(Path(path.split(" ")[0]).name) or None) if path else None, None


@cache
def _user_name(uid: int) -> str:
    """The name of a user; asked once, since a network's directory may take seconds."""
    import pwd

    try:
        return one_line(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)


def _is_host_pid_namespace() -> bool:
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _INITIAL_PID_NAMESPACE
    except OSError:
        return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip().lower()
    except OSError:
        return ""
