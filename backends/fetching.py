"""What a variant needs, planned and fetched: whole or not at all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from backends import records
from backends.disk import free_bytes, full
from backends.errors import DownloadError, HubUnreachable, NotFound, WrongSum
from backends.hubs import environment, hf_cache, listings, ms_cache
from backends.hubs.added_cache import AddedCache
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.huggingface import file_url
from backends.hubs.selection import check_name, needed_files
from backends.hubs.token import token_text
from backends.meter import Meter
from backends.plans import Downloaded, FileOutcome, Patience, Plan, PlannedFile, Progress
from backends.transfer import Remote, Watch, check_sum, part_bytes, transfer
from specs.model import HUGGINGFACE, MODELSCOPE, HubSource, Variant

_RESERVE_BYTES = 64 << 20
"""Room that must stay on the disk beyond what is downloaded."""


def plan(variant: Variant, hub: str | None = None, *, timeout_seconds: float = 30.0) -> Plan:
    """What downloading a variant would fetch: asked of the hub, or told from what is known here.

    Args:
        variant: What to download.
        hub: a hub's name, as "huggingface"; None: the first hub that lists the variant.
        timeout_seconds: How long the whole listing may take; a hub that is silent is given up on after ten.

    Raises:
        NotFound: no hub lists it, or the repository lacks its files.
        HubError: what the hub said.
    """
    source = _source(variant, hub)
    model_id = source.model_id(variant.quantization)
    try:
        listing, fresh = listings.listing(source.hub, model_id, source.revision, timeout_seconds=timeout_seconds)
    except HubUnreachable:
        recorded = _plan_from_record(variant, source)
        if recorded is None:
            raise
        return recorded
    files = needed_files(listing, variant, source)
    return _plan(variant, source, listing, files, fresh)


def fetch(
    plan: Plan,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    *,
    patience: Patience | None = None,
) -> Downloaded:
    """Download what a plan lacks. Blocks until all files are whole and their sums right, or raises.

    What has arrived stays in place on every failure, and the next call goes on from there.

    Args:
        plan: From plan().
        on_progress: Called at most ten times a second and at every change of state, by one thread at a time.
        cancel: Set it from any thread; the call ends with Cancelled within 0.2 s.
        patience: How long and how often to try.

    Raises:
        Cancelled, DiskFull, DownloadError, HubError and its kinds, NotFound.
    """
    for file in plan.files:
        check_name(file.name)
    meter = Meter(plan.total_bytes, 0, on_progress)
    with meter.beating():
        if plan.hub == MODELSCOPE:
            from backends.hubs.modelscope_fetch import fetch_files

            outcomes = fetch_files(plan, meter, cancel, patience or Patience())
        elif plan.hub != HUGGINGFACE:
            from backends.added_fetch import fetch_files as fetch_added

            outcomes = fetch_added(plan, meter, cancel, patience or Patience())
        else:
            outcomes = _fetch_from_huggingface(plan, meter, cancel, patience or Patience())
    root = _root(plan)
    record = records.read(plan.variant.key)
    if meter.transferred_bytes or record is None or (record.revision, record.path) != (plan.revision, plan.path):
        try:
            records.keep(
                records.Record(plan.variant.key, plan.hub, plan.model_id, plan.revision, plan.path, outcomes, root)
            )
        except OSError as error:
            raise DownloadError(
                f"everything is here, but it cannot be written down in {records.folder()} ({error.strerror})"
            ) from error
    meter.note = None
    meter.enter("done")
    return Downloaded(
        plan.path,
        plan.hub,
        plan.model_id,
        plan.revision,
        sum(outcome.file_bytes for outcome in outcomes),
        meter.transferred_bytes,
        outcomes,
    )


def _source(variant: Variant, hub: str | None) -> HubSource:
    source = variant.source(hub)
    if source is not None:
        return source
    what = f"{variant.family.name} {variant.quantization}"
    if hub is None:
        raise NotFound(f"{what} is on no hub" + (f"; it lies at {variant.spec.path}" if variant.spec.path else ""))
    others = ", ".join(variant.hub_names)
    raise NotFound(f"{what} is not on {hub}" + (f"; it is on {others}" if others else ""))


def _plan(variant: Variant, source: HubSource, listing: Listing, files: tuple[RepoFile, ...], fresh: bool) -> Plan:
    if source.hub != HUGGINGFACE:
        cache = _files_of(source.hub)
        root = cache.files_folder(listing.model_id, listing.revision)
        planned = tuple(
            PlannedFile(
                file.name,
                file.file_bytes or 0,
                file.sha256,
                cache.present_bytes(listing.model_id, listing.revision, file.name, file.file_bytes or 0),
                file.etag,
            )
            for file in files
        )
    else:
        root = hf_cache.snapshot(listing.model_id, listing.revision)
        planned = tuple(_planned(listing, file) for file in files)
    path = root / files[0].name if variant.spec.format == "ggufv2" else root
    return Plan(
        variant, source.hub, listing.model_id, listing.revision, planned, path, source.revision, fresh, listing.gated
    )


def _planned(listing: Listing, file: RepoFile) -> PlannedFile:
    size = file.file_bytes
    if size is None:
        raise DownloadError(f"the hub does not say how large {file.name} of {listing.model_id} is")
    whole = hf_cache.whole_bytes(listing.model_id, file.etag, listing.revision, file.name)
    if whole == size:
        present = size
    else:
        present = part_bytes(hf_cache.part(listing.model_id, file.etag)) if file.etag else 0
        present = present if present <= size else 0
    return PlannedFile(file.name, size, file.sha256, present, file.etag)


def _plan_from_record(variant: Variant, source: HubSource) -> Plan | None:
    """A plan of what was downloaded before, for a hub that does not answer."""
    record = records.read(variant.key)
    if record is None or record.hub != source.hub or not record.whole():
        return None
    files = tuple(PlannedFile(f.name, f.file_bytes, f.sha256, f.file_bytes, f.sha256) for f in record.files)
    return Plan(variant, source.hub, record.model_id, record.revision, files, record.path, source.revision, fresh=False)


class _RealFiles(Protocol):
    """A cache of real files under their own names, as every hub's but Hugging Face's is."""

    def files_folder(self, model_id: str, revision: str) -> Path: ...
    def part(self, model_id: str, revision: str, name: str) -> Path: ...
    def lock(self, model_id: str, revision: str, name: str) -> Path: ...
    def present_bytes(self, model_id: str, revision: str, name: str, file_bytes: int) -> int: ...


def _files_of(hub: str) -> _RealFiles:
    return ms_cache if hub == MODELSCOPE else AddedCache(hub)


def _root(plan: Plan) -> Path:
    if plan.hub != HUGGINGFACE:
        return _files_of(plan.hub).files_folder(plan.model_id, plan.revision)
    return hf_cache.snapshot(plan.model_id, plan.revision)


def _fetch_from_huggingface(
    plan: Plan, meter: Meter, cancel: threading.Event | None, patience: Patience
) -> tuple[FileOutcome, ...]:
    missing = [file for file in plan.files if _here(plan, file) is None]
    damaged = _damaged(plan, [file for file in plan.files if file not in missing], meter, cancel)
    missing += damaged
    meter.done_bytes = sum(file.file_bytes for file in plan.files if file not in missing)
    meter.done_bytes += sum(_part_of(plan, file) for file in missing)
    meter.enter("running")
    if missing:
        environment.refuse_offline(f"{missing[0].name} of {plan.model_id} is not on this disk")
        folder = hf_cache.repository_folder(plan.model_id)
        needed = sum(file.file_bytes - _part_of(plan, file) for file in missing)
        free = free_bytes(folder)
        if free is not None and free < needed + _RESERVE_BYTES:
            raise full(folder, needed, free)
    for file in sorted(missing, key=lambda file: file.file_bytes):
        _fetch_one(plan, file, meter, cancel, patience, replaces=file in damaged)
    for file in plan.files:
        if file not in missing:
            _name_in_snapshot(plan, file)
    return tuple(FileOutcome(file.name, file.file_bytes, file.sha256) for file in plan.files)


def _here(plan: Plan, file: PlannedFile) -> int | None:
    """The file's size when it is whole in the cache."""
    whole = hf_cache.whole_bytes(plan.model_id, file.etag, plan.revision, file.name)
    return whole if whole == file.file_bytes else None


def _part_of(plan: Plan, file: PlannedFile) -> int:
    held = part_bytes(hf_cache.part(plan.model_id, _etag(file)))
    return held if held <= file.file_bytes else 0


def _etag(file: PlannedFile) -> str:
    etag = file.etag or file.sha256
    if not etag:
        raise DownloadError(f"the hub gives {file.name} no name in the cache; it cannot be kept whole")
    return etag


def _remote(plan: Plan, file: PlannedFile) -> Remote:
    git = file.etag if file.sha256 is None and file.etag and len(file.etag) == 40 else None
    url = file_url(plan.model_id, plan.revision, file.name)
    return Remote(plan.model_id, plan.revision, file.name, url, file.file_bytes, file.sha256, git)


def _damaged(plan: Plan, here: list[PlannedFile], meter: Meter, cancel: threading.Event | None) -> list[PlannedFile]:
    """Files in the cache whose sums are wrong. Other programs put files there without ever comparing sums."""
    record = records.read(plan.variant.key)
    known = {(file.name, file.file_bytes, file.sha256) for file in record.files} if record is not None else set()
    found = []
    for file in here:
        if (file.name, file.file_bytes, file.sha256) in known:
            continue  # compared when it was recorded: a second start does not read 40 GB again
        meter.done_bytes = sum(one.file_bytes for one in here)
        meter.enter("verifying", file.name)
        path = hf_cache.snapshot(plan.model_id, plan.revision) / file.name
        path = path if path.exists() else hf_cache.blob(plan.model_id, _etag(file))
        if not check_sum(path, _remote(plan, file), cancel):
            meter.say(f"{file.name} is damaged on this disk; transferring it again")
            found.append(file)
    return found


def _fetch_one(
    plan: Plan,
    file: PlannedFile,
    meter: Meter,
    cancel: threading.Event | None,
    patience: Patience,
    *,
    replaces: bool,
) -> None:
    etag = _etag(file)
    meter.enter("running", file.name)
    remote = _remote(plan, file)

    def checking(on: bool) -> None:
        meter.enter("verifying" if on else "running")

    # What may be transferred twice without asking: a quarter of the whole download.
    watch = Watch(meter.moved, meter.say, meter.wait, checking, plan.total_bytes // 4)
    target = hf_cache.blob(plan.model_id, etag)
    part = hf_cache.part(plan.model_id, etag)
    waiting = "another program is downloading the same file; waiting for it"
    with hf_cache.locked(plan.model_id, etag, cancel, lambda: meter.say(waiting)):
        meter.say(None)
        before = _part_of(plan, file)
        if replaces or _here(plan, file) is None:
            try:
                transfer(remote, part, token=token_text(), watch=watch, cancel=cancel, patience=patience)
            except WrongSum:
                if file.file_bytes > plan.total_bytes // 4:
                    raise
                meter.say(f"{file.name} arrived damaged; transferring it once more")
                transfer(remote, part, token=token_text(), watch=watch, cancel=cancel, patience=patience)
            try:
                part.replace(target)
                hf_cache.publish(plan.model_id, plan.revision, plan.branch, file.name, etag)
            except OSError as error:
                raise hf_cache.cannot_write(error) from error
        else:
            meter.done_bytes += file.file_bytes - before  # another program brought it meanwhile
            _name_in_snapshot(plan, file)


def _name_in_snapshot(plan: Plan, file: PlannedFile) -> None:
    """Link a blob that was here already; a read-only cache in which the name stands needs nothing."""
    if not plan.fresh or not file.etag:
        return
    pointer = hf_cache.snapshot(plan.model_id, plan.revision) / file.name
    try:
        if pointer.exists():
            hf_cache.keep_ref(plan.model_id, plan.revision, plan.branch)
        elif hf_cache.blob(plan.model_id, file.etag).exists():
            hf_cache.publish(plan.model_id, plan.revision, plan.branch, file.name, file.etag)
    except OSError as error:
        if not pointer.exists():
            raise hf_cache.cannot_write(error) from error


def part_file(plan: Plan, file: PlannedFile) -> Path:
    """Where the bytes of an unfinished file lie."""
    if plan.hub != HUGGINGFACE:
        return _files_of(plan.hub).part(plan.model_id, plan.revision, file.name)
    return hf_cache.part(plan.model_id, _etag(file))


def place(plan: Plan) -> Path:
    """The folder that a download fills."""
    return _root(plan) if plan.hub != HUGGINGFACE else hf_cache.repository_folder(plan.model_id)


def missing_bytes(plan: Plan) -> int:
    """Bytes that still have to come, looked up on the disk now."""
    if plan.hub != HUGGINGFACE:
        here = sum(
            _files_of(plan.hub).present_bytes(plan.model_id, plan.revision, file.name, file.file_bytes)
            for file in plan.files
        )
        return plan.total_bytes - here
    return sum(file.file_bytes - _part_of(plan, file) for file in plan.files if _here(plan, file) is None)


def discard_parts(plan: Plan, kept_for: Iterable[Plan] = ()) -> None:
    """Remove what has arrived of unfinished files, but for files that another download needs too."""
    needed = {part_file(other, file) for other in kept_for for file in other.files}
    for file in plan.files:
        part = part_file(plan, file)
        if plan.hub != HUGGINGFACE:
            busy = hf_cache.is_held(_files_of(plan.hub).lock(plan.model_id, plan.revision, file.name))
        else:
            busy = hf_cache.busy(plan.model_id, _etag(file))
        if part not in needed and not busy:
            kept = [part.with_name(f"{part.name}.{ending}") for ending in ("kept", "again")]
            for path in (part, *kept) if plan.hub == MODELSCOPE else (part, part.with_suffix(".json")):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
