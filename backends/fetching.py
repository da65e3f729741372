"""What a variant needs, planned and fetched: whole or not at all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from backends import records
from backends.errors import DownloadError, HubUnreachable, NotFound
from backends.hubs import listings
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.selection import check_name, needed_files
from backends.hubs.store import store
from backends.meter import Meter
from backends.plans import Downloaded, Patience, Plan, PlannedFile, Progress
from specs.model import HubSource, Variant


def plan(variant: Variant, hub: str | None = None, *, timeout_seconds: float = 30.0) -> Plan:
    """What downloading a variant would fetch: asked of the hub, or told from what is known here.

    Args:
        variant: What to download.
        hub: "huggingface" or "modelscope"; None: the first hub that lists the variant.
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
        outcomes = store(plan.hub).fetch_files(plan, meter, cancel, patience or Patience())
    root = store(plan.hub).folder(plan.model_id, plan.revision)
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
    here = store(source.hub)
    planned = tuple(here.planned(listing, file) for file in files)
    root = here.folder(listing.model_id, listing.revision)
    path = root / files[0].name if variant.spec.format == "ggufv2" else root
    return Plan(
        variant, source.hub, listing.model_id, listing.revision, planned, path, source.revision, fresh, listing.gated
    )


def _plan_from_record(variant: Variant, source: HubSource) -> Plan | None:
    """A plan of what was downloaded before, for a hub that does not answer."""
    record = records.read(variant.key)
    if record is None or record.hub != source.hub or not record.whole():
        return None
    files = tuple(PlannedFile(f.name, f.file_bytes, f.sha256, f.file_bytes, f.sha256) for f in record.files)
    return Plan(variant, source.hub, record.model_id, record.revision, files, record.path, source.revision, fresh=False)


def part_file(plan: Plan, file: PlannedFile) -> Path:
    """Where the bytes of an unfinished file lie."""
    return store(plan.hub).part(plan, file)


def place(plan: Plan) -> Path:
    """The folder that a download fills."""
    return store(plan.hub).filled(plan)


def missing_bytes(plan: Plan) -> int:
    """Bytes that still have to come, looked up on the disk now."""
    here = store(plan.hub)
    return plan.total_bytes - sum(here.present_bytes(plan, file) for file in plan.files)


def discard_parts(plan: Plan, kept_for: Iterable[Plan] = ()) -> None:
    """Remove what has arrived of unfinished files, but for files that another download needs too."""
    needed = {part_file(other, file) for other in kept_for for file in other.files}
    for file in plan.files:
        if part_file(plan, file) in needed:
            continue
        for path in store(plan.hub).leftovers(plan, file):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
