"""Downloads from Hugging Face into its shared cache, through our own resumable transfer."""

from __future__ import annotations

import threading
from pathlib import Path

from backends import records
from backends.disk import refuse_without_room
from backends.errors import DownloadError, WrongSum
from backends.hubs import environment, hf_cache
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.huggingface import file_url
from backends.hubs.token import token_text
from backends.meter import Meter
from backends.plans import FileOutcome, Patience, Plan, PlannedFile
from backends.transfer import Remote, Watch, check_sum, part_bytes, transfer


class HuggingFaceStore:
    """Hugging Face's cache: blobs by sum, and names in snapshots."""

    def folder(self, model_id: str, revision: str) -> Path:
        return hf_cache.snapshot(model_id, revision)

    def filled(self, plan: Plan) -> Path:
        return hf_cache.repository_folder(plan.model_id)

    def planned(self, listing: Listing, file: RepoFile) -> PlannedFile:
        size = file.file_bytes
        if size is None:
            raise DownloadError(f"the hub does not say how large {file.name} of {listing.model_id} is")
        whole = hf_cache.whole_bytes(listing.model_id, file.etag, listing.revision, file.name)
        present = size if whole == size else 0
        if not present and file.etag:
            held = part_bytes(hf_cache.part(listing.model_id, file.etag))
            present = held if held <= size else 0
        return PlannedFile(file.name, size, file.sha256, present, file.etag)

    def part(self, plan: Plan, file: PlannedFile) -> Path:
        return hf_cache.part(plan.model_id, _etag(file))

    def present_bytes(self, plan: Plan, file: PlannedFile) -> int:
        return file.file_bytes if _is_here(plan, file) else _part_of(plan, file)

    def leftovers(self, plan: Plan, file: PlannedFile) -> tuple[Path, ...]:
        part = self.part(plan, file)
        return () if hf_cache.busy(plan.model_id, _etag(file)) else (part, part.with_suffix(".json"))

    def fetch_files(
        self, plan: Plan, meter: Meter, cancel: threading.Event | None, patience: Patience
    ) -> tuple[FileOutcome, ...]:
        missing = [file for file in plan.files if not _is_here(plan, file)]
        damaged = _damaged(plan, [file for file in plan.files if file not in missing], meter, cancel)
        missing += damaged
        meter.done_bytes = sum(file.file_bytes for file in plan.files if file not in missing)
        meter.done_bytes += sum(_part_of(plan, file) for file in missing)
        meter.enter("running")
        if missing:
            environment.refuse_offline(f"{missing[0].name} of {plan.model_id} is not on this disk")
            needed = sum(file.file_bytes - _part_of(plan, file) for file in missing)
            refuse_without_room(hf_cache.repository_folder(plan.model_id), needed)
        for file in sorted(missing, key=lambda file: file.file_bytes):
            _fetch_one(plan, file, meter, cancel, patience, replaces=file in damaged)
        for file in plan.files:
            if file not in missing:
                _name_in_snapshot(plan, file)
        return tuple(FileOutcome(file.name, file.file_bytes, file.sha256) for file in plan.files)


def _is_here(plan: Plan, file: PlannedFile) -> bool:
    """Whether the file is whole in the cache."""
    return hf_cache.whole_bytes(plan.model_id, file.etag, plan.revision, file.name) == file.file_bytes


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
        if replaces or not _is_here(plan, file):
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
