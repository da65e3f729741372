"""What the screens ask of the backends: one value of callables, so that tests bring their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # nothing here needs them to run, and together they take 40 ms
    from backends.at_work import Crashed
    from backends.downloads import Job, Plan
    from backends.engines.cluster import Node
    from backends.engines.engine import Adapter, EngineStatus
    from backends.fit import Correction, Knowledge, Option, Speed, Verdict, Wish
    from backends.hubs.hub import RepoSummary
    from backends.hubs.repository import Found
    from backends.library import Adopted, Entry, RemovalPlan, Verification
    from backends.library import Library as Stock
    from backends.machine.model import Machine
    from backends.measurements import Load
    from specs.catalog import Catalog
    from specs.model import ModelFamily, Variant


class Library(Protocol):
    """What lies on this disk, read once."""

    def path(self, variant: Variant) -> Path | None:
        """The weights of a variant when all of them are whole; asks no network."""
        ...

    def checked(self, variant: Variant) -> str | None:
        """How that is known: "sum", or "size" alone; None: they are not here."""
        ...


class NothingHere:
    """The library where the disk could not be read."""

    def path(self, variant: Variant) -> Path | None:  # noqa: ARG002
        return None

    def checked(self, variant: Variant) -> str | None:  # noqa: ARG002
        return None


class MachineWatch(Protocol):
    """Cheap looks at this machine, with the drivers' handles kept between them."""

    def sample(self) -> Machine: ...
    def close(self) -> None: ...


class DownloadQueue(Protocol):
    """The queue of downloads, as the downloads screen drives it."""

    def add(self, plan: Plan) -> Job: ...
    def pause(self, job_id: str) -> object: ...
    def resume(self, job_id: str) -> object: ...
    def retry_now(self, job_id: str) -> object: ...
    def cancel(self, job_id: str) -> object: ...
    def move(self, job_id: str, places: int) -> object: ...
    def forget(self, job_id: str) -> object: ...
    def jobs(self) -> tuple[Job, ...]: ...
    def close(self) -> None: ...


HUB_SECONDS = 6.0
"""How long the hubs have to tell the sizes of a family's files."""

Statuses: TypeAlias = "Mapping[str, EngineStatus]"
"""Engine statuses by engine name."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What loads on a machine took until now."""

    corrections: Mapping[tuple[str, str], Correction] = field(default_factory=dict)
    """By engine and format."""
    speeds: Mapping[tuple[str, str], Speed] = field(default_factory=dict)
    """By variant key and engine."""


CLUSTER_SECONDS = 60.0
"""How long what a Ray cluster said of its cards is good."""


def in_thread(work: Callable[[], None]) -> None:
    """Run in a thread of its own that never holds the app's exit."""
    threading.Thread(target=work, daemon=True, name="modeldeck-background").start()


def load_catalog_with(extra: Sequence[Path] = ()) -> Catalog:
    """The bundled catalog, the user's, then these files and folders."""
    from backends.home import specs_folder
    from specs.catalog import load_catalog

    return load_catalog(specs_folder(), extra)


def _detect_machine() -> Machine:
    from backends.machine.detect import detect
    from backends.machine.host_bandwidth import with_remembered_bandwidth

    return with_remembered_bandwidth(detect())


def _measure_bandwidth(machine: Machine) -> int | None:
    from backends.machine.host_bandwidth import with_measured_bandwidth

    return with_measured_bandwidth(machine).host_bandwidth_bytes_per_second


def _open_watch(machine: Machine) -> MachineWatch:
    from backends.machine.watch import Watch

    return Watch(machine)


def _statuses() -> Statuses:
    from backends.engines.registry import statuses

    return statuses()


def _options(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish,
    statuses: Statuses,
    knowledge: Mapping[str, Knowledge],
    measured: Measured,
) -> list[Option]:
    from backends.judge import options

    return options(
        variants,
        machine,
        wish,
        statuses=statuses,
        knowledge=knowledge,
        corrections=measured.corrections,
        speeds=measured.speeds,
    )


def options_on_cluster(
    ray_address: str,
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish,
    statuses: Statuses,
    knowledge: Mapping[str, Knowledge],
    measured: Measured,
) -> list[Option]:
    """The same with vLLM's options laid over the cards of a Ray cluster; they say it where no cluster answers."""
    from specs.model import VLLM

    judged = _options(variants, machine, wish, statuses, knowledge, measured)
    if machine.label is not None or not any(one.engine == VLLM and one.engine_status == "ready" for one in judged):
        return judged  # another machine's cluster is not ours, and without vLLM here nobody could drive it
    from backends.clustered import on_cluster
    from backends.errors import BackendError

    try:
        nodes = _cluster_cards(ray_address, int(time.monotonic() / CLUSTER_SECONDS))
        return on_cluster(judged, nodes, ray_address, knowledge)
    except BackendError as error:
        return [_with_reason(one, str(error)) if one.engine == VLLM else one for one in judged]


def quick_verdicts_on_cluster(
    ray_address: str,
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish,
    statuses: Statuses,
    measured: Measured,
) -> Sequence[Verdict]:
    """The best verdicts of a catalog with a Ray cluster's cards; this machine's alone where no cluster answers."""
    from specs.model import VLLM

    status = statuses.get(VLLM)
    if machine.label is not None or status is None or status.status != "ready":
        return _quick_verdicts(variants, machine, wish, statuses, measured)
    from backends import clustered
    from backends.errors import BackendError

    try:
        nodes = _cluster_cards(ray_address, int(time.monotonic() / CLUSTER_SECONDS))
    except BackendError:  # the options of a family say it
        return _quick_verdicts(variants, machine, wish, statuses, measured)
    return clustered.quick_verdicts_on_cluster(variants, machine, wish, statuses, measured.corrections, nodes)


@lru_cache(maxsize=1)
def _cluster_cards(ray_address: str, _period: int) -> tuple[Node, ...]:
    """The cluster's cards, asked for once in a period: every machine has to answer, and a key press judges anew."""
    from backends.engines.cluster import cluster_cards

    return cluster_cards(ray_address)


def _with_reason(option: Option, reason: str) -> Option:
    return replace(option, reason=f"{reason}; {option.reason}" if option.reason else reason)


def _as_built(
    option: Option, machine: Machine, statuses: Statuses, knowledge: Mapping[str, Knowledge], measured: Measured
) -> Option:
    if option.ray_address is not None:
        return option  # judged on a cluster's cards, of which this machine's build says nothing
    from backends.fit import Wish
    from backends.judge import judge

    variant = option.variant
    return judge(
        variant,
        option.engine,
        machine,
        Wish(context=option.context, kv_cache_type=option.kv_cache_type),
        knowledge=knowledge.get(variant.key),
        status=statuses.get(option.engine),
        correction=measured.corrections.get((option.engine, variant.spec.format)),
        as_built=True,
    )


def measured_here(machine: Machine) -> Measured:
    """What loads on this machine took; nothing for another machine, or where it cannot be read."""
    import sqlite3

    if machine.label is not None:
        return Measured()
    from backends.measurements import corrections, speeds

    try:
        return Measured(corrections(machine), speeds(machine))
    except (sqlite3.Error, OSError):
        return Measured()  # a fit without them is only less exact


def record_load(machine: Machine, load: Load) -> None:
    """Keep what a load took; a database that takes nothing is no reason to fail."""
    import contextlib
    import sqlite3

    from backends.measurements import record

    with contextlib.suppress(sqlite3.Error, OSError):
        record(machine, load)


def _crashed_loads() -> tuple[Crashed, ...]:
    from backends.at_work import crashed
    from backends.home import at_work_folder

    return crashed(at_work_folder())


def _forget_loads(machine: Machine, engine: str, format_name: str) -> int:
    from backends.measurements import clear

    return clear(machine, engine=engine, format_name=format_name)


def _best_option(options: Sequence[Option]) -> Option:
    from backends.judge import best_option

    return best_option(list(options))


def _quick_verdicts(
    variants: Sequence[Variant], machine: Machine, wish: Wish, statuses: Statuses, measured: Measured
) -> Sequence[Verdict]:
    from backends.judge import quick_verdicts

    return quick_verdicts(variants, machine, wish, statuses, measured.corrections)


def local_index_with(folders: Sequence[Path] = ()) -> Library:
    """What lies on this disk, in these further folders too."""
    from backends.downloads import local_index

    return local_index(folders)


def knowledge_with(variants: Sequence[Variant], folders: Sequence[Path] = ()) -> Mapping[str, Knowledge]:
    """What whole weights on this disk tell of themselves, in these further folders too."""
    from backends.knowledge import on_disk

    return on_disk(variants, folders)


def _hub_knowledge(variants: Sequence[Variant]) -> Mapping[str, Knowledge]:
    from backends.knowledge import from_hubs

    return from_hubs(variants, HUB_SECONDS)


def _engine_answer(variant: Variant, known: Knowledge, path: Path | None, cache_type: str) -> Knowledge | None:
    from backends.engine_compute import with_engine_answer
    from backends.errors import BackendError

    try:
        return with_engine_answer(variant, known, path=path, cache_type=cache_type)
    except (BackendError, OSError):
        return None  # no hub in reach, or an architecture that the library does not know: the formula stays


def _scan_library(variants: Sequence[Variant], folders: Sequence[Path]) -> Stock:
    from backends.library import scan

    return scan(variants, folders)


def _verify_entry(entry: Entry, on_bytes: Callable[[int], None], cancel: threading.Event) -> Verification:
    from backends.library import verify

    return verify(entry, on_bytes, cancel)


def _plan_removal(entry: Entry, others: Sequence[Entry]) -> RemovalPlan:
    from backends.library import plan_removal

    return plan_removal(entry, others)


def _remove_entry(plan: RemovalPlan, families: Sequence[ModelFamily]) -> int:
    from backends.library import remove, spec_files_of

    specs = spec_files_of(plan, families)
    freed = remove(plan)
    for path in specs:
        path.unlink(missing_ok=True)
    return freed


def _adopt(path: Path, families: Sequence[ModelFamily]) -> Adopted:
    from backends.library import adopt_into

    return adopt_into(families, path)


def _local_family(path: Path, name: str) -> ModelFamily:
    from backends.library import local_family

    return local_family(path, name=name)


def _search_hubs(query: str) -> Found:
    from backends.hubs.repository import search

    return search(query)


def _fetch_family(hit: RepoSummary) -> ModelFamily:
    from backends.hubs.repository import fetch_family

    return fetch_family(hit.hub, hit.model_id, tags=hit.tags)


def _keep_family(family: ModelFamily) -> Path:
    from backends.home import specs_folder
    from specs.writing import keep_family

    return keep_family(family, specs_folder())


def _keep_token(text: str, hub: str) -> str:
    from backends.hubs.token import keep_token

    return keep_token(text, hub)


def _plan(variant: Variant, hub: str | None) -> Plan:
    from backends.downloads import plan

    return plan(variant, hub)


def open_queue_with(on_change: Callable[[Job], None], at_once: int = 1) -> DownloadQueue:
    """The queue on this disk, with so many downloads at a time."""
    from backends.downloads import Queue

    return Queue(on_change, at_once=at_once)


def adapter_with(name: str, isolated: bool = False) -> Adapter:
    """The adapter of an engine; isolated: its models are loaded in child processes.

    Engines whose loading the screen would feel are so in any case.
    """
    from backends.engines.registry import adapter

    return adapter(name, isolated=isolated or None)


def _presets() -> Sequence[Machine]:
    from backends.machine.presets import PRESETS, preset

    return [preset(name) for name in PRESETS]


def _load_machine(text: str) -> Machine:
    from backends.machine.presets import load_machine

    return load_machine(text)


def _disk_free_bytes() -> int | None:
    import os
    import shutil

    folder = Path(os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or Path.home())
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Services:
    """The backends as the app calls them. Each may block; the app runs them through `background`.

    The defaults import the real backends when first called, so that nothing heavy stands before the first key.
    """

    load_catalog: Callable[[], Catalog] = load_catalog_with
    detect_machine: Callable[[], Machine] = _detect_machine
    open_watch: Callable[[Machine], MachineWatch] = _open_watch
    measure_bandwidth: Callable[[Machine], int | None] = _measure_bandwidth
    """Bandwidth of this machine's memory, measured where nobody published it."""
    statuses: Callable[[], Statuses] = _statuses
    options: Callable[[Sequence[Variant], Machine, Wish, Statuses, Mapping[str, Knowledge], Measured], list[Option]] = (
        _options
    )
    best_option: Callable[[Sequence[Option]], Option] = _best_option
    quick_verdicts: Callable[[Sequence[Variant], Machine, Wish, Statuses, Measured], Sequence[Verdict]] = (
        _quick_verdicts
    )
    measured: Callable[[Machine], Measured] = measured_here
    """What loads took on a machine; nothing for one that is not this one."""
    as_built: Callable[[Option, Machine, Statuses, Mapping[str, Knowledge], Measured], Option] = _as_built
    """An option as the build that is installed meets it now, to load with."""
    forget_loads: Callable[[Machine, str, str], int] = _forget_loads
    """Forgets what loads of an engine and format took on a machine; how many there were."""
    local_index: Callable[[], Library] = local_index_with
    knowledge: Callable[[Sequence[Variant]], Mapping[str, Knowledge]] = knowledge_with
    """What whole weights on this disk tell of themselves, by the variants' keys."""
    hub_knowledge: Callable[[Sequence[Variant]], Mapping[str, Knowledge]] = _hub_knowledge
    """What the hubs tell of the files of variants that are not here, by the variants' keys."""
    engine_answer: Callable[[Variant, Knowledge, Path | None, str], Knowledge | None] = _engine_answer
    """llama.cpp's own buffers for weights on this disk or a header on the hub and a cache type; None: no answer."""
    plan: Callable[[Variant, str | None], Plan] = _plan
    open_queue: Callable[[Callable[[Job], None]], DownloadQueue] = open_queue_with
    search_hubs: Callable[[str], Found] = _search_hubs
    fetch_family: Callable[[RepoSummary], ModelFamily] = _fetch_family
    """Asks a hub what a repository holds; raises BackendError."""
    keep_family: Callable[[ModelFamily], Path] = _keep_family
    """Writes a family into the user's catalog; gives the spec file."""
    keep_token: Callable[[str, str], str] = _keep_token
    """Keeps a token in the hub's own store, once the hub takes it; gives the user's name."""
    scan_library: Callable[[Sequence[Variant], Sequence[Path]], Stock] = _scan_library
    """Everything on this disk that can be run; the folders are the user's further ones."""
    verify_entry: Callable[[Entry, Callable[[int], None], threading.Event], Verification] = _verify_entry
    plan_removal: Callable[[Entry, Sequence[Entry]], RemovalPlan] = _plan_removal
    remove_entry: Callable[[RemovalPlan, Sequence[ModelFamily]], int] = _remove_entry
    """Carries out a plan; the catalog's families, since adopted weights go with the spec file made for them."""
    adopt: Callable[[Path, Sequence[ModelFamily]], Adopted] = _adopt
    local_family: Callable[[Path, str], ModelFamily] = _local_family
    """Makes a family of weights at a path and keeps it; the second is its spec file."""
    adapter: Callable[[str], Adapter] = adapter_with
    record_load: Callable[[Machine, Load], None] = record_load
    """Keeps what a load took, so that later fits are corrected by it."""
    crashed_loads: Callable[[], tuple[Crashed, ...]] = _crashed_loads
    """Models that were in the memory of an app which ended without giving them back; told once."""
    presets: Callable[[], Sequence[Machine]] = _presets
    load_machine: Callable[[str], Machine] = _load_machine
    """A machine by a preset's name, a description such as "2x RTX 3090", or a file; ValueError says what is wrong."""
    disk_free_bytes: Callable[[], int | None] = _disk_free_bytes
    background: Callable[[Callable[[], None]], None] = field(default=in_thread)
    """Runs slow work away from the event loop; tests run it at once."""
    settle_seconds: float = 0.08
    """How long the hand must rest before the slower half of an answer is worked out; 0: at once."""
    bandwidth_seconds: float = 3.0
    """How long after the start the memory is measured, when nothing else of it is under way."""
    refresh_seconds: float = 2.0
    """How often the hardware is looked at while its strip is on the screen; 0: only once."""
