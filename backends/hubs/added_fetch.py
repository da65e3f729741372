"""Downloads from hubs that other packages add: the same transfer as Hugging Face's, into a folder of real files."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from backends import home, records
from backends.disk import refuse_without_room
from backends.errors import DownloadError, HubError, WrongSum
from backends.hubs import environment, hf_cache
from backends.hubs.added import AddedHub
from backends.hubs.added_cache import AddedCache, base_folder
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.registry import hub
from backends.meter import Meter
from backends.plans import FileOutcome, Patience, Plan, PlannedFile
from backends.transfer import Remote, Watch, check_sum, transfer


@dataclass(frozen=True, slots=True)
class AddedStore:
    """The folder of a hub that another package adds: real files by repository and revision."""

    hub: str

    @property
    def _cache(self) -> AddedCache:
        return AddedCache(self.hub)

    def folder(self, model_id: str, revision: str) -> Path:
        return self._cache.files_folder(model_id, revision)

    def filled(self, plan: Plan) -> Path:
        return self._cache.files_folder(plan.model_id, plan.revision)

    def planned(self, listing: Listing, file: RepoFile) -> PlannedFile:
        size = file.file_bytes
        if size is None:
            raise DownloadError(f"the hub does not say how large {file.name} of {listing.model_id} is")
        present = self._cache.present_bytes(listing.model_id, listing.revision, file.name, size)
        return PlannedFile(file.name, size, file.sha256, present, file.etag)

    def part(self, plan: Plan, file: PlannedFile) -> Path:
        return self._cache.part(plan.model_id, plan.revision, file.name)

    def present_bytes(self, plan: Plan, file: PlannedFile) -> int:
        return _present(self._cache, plan, file)

    def leftovers(self, plan: Plan, file: PlannedFile) -> tuple[Path, ...]:
        held = hf_cache.is_held(self._cache.lock(plan.model_id, plan.revision, file.name))
        part = self.part(plan, file)
        return () if held else (part, part.with_suffix(".json"))

    def fetch_files(
        self, plan: Plan, meter: Meter, cancel: threading.Event | None, patience: Patience
    ) -> tuple[FileOutcome, ...]:
        cache = self._cache
        folder = self.filled(plan)
        meter.done_bytes = sum(_present(cache, plan, file) for file in plan.files)
        meter.enter("running")
        missing = [file for file in plan.files if not _is_whole(folder, plan, file, meter, cancel)]
        if missing:
            environment.refuse_offline(f"{missing[0].name} of {plan.model_id} is not on this disk")
            where = hub(plan.hub)
            if not isinstance(where, AddedHub):
                raise HubError(f"{plan.hub} is no hub that another package adds")
            needed = sum(file.file_bytes - _present(cache, plan, file) for file in missing)
            refuse_without_room(folder, needed)
            meter.done_bytes = plan.total_bytes - needed
            for file in sorted(missing, key=lambda file: file.file_bytes):
                _fetch_one(where, cache, plan, file, meter, cancel, patience)
        return tuple(FileOutcome(file.name, file.file_bytes, file.sha256) for file in plan.files)


def _fetch_one(
    where: AddedHub,
    cache: AddedCache,
    plan: Plan,
    file: PlannedFile,
    meter: Meter,
    cancel: threading.Event | None,
    patience: Patience,
) -> None:
    place = (plan.model_id, plan.revision, file.name)
    target = cache.files_folder(plan.model_id, plan.revision) / file.name
    before = _present(cache, plan, file)
    waiting = "another program is downloading the same file; waiting for it"
    try:
        home.private_folder(base_folder())
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(error) from error
    with hf_cache.held(cache.lock(*place), cancel, lambda: meter.say(waiting), _cannot_write):
        meter.say(None)
        now = _present(cache, plan, file)
        meter.done_bytes += now - before  # brought meanwhile
        if target.exists() and now == file.file_bytes:
            return
        meter.enter("running", file.name)
        remote = Remote(
            plan.model_id,
            plan.revision,
            file.name,
            where.file_url(*place),
            file.file_bytes,
            file.sha256,
            refusal=lambda answer: where.refusal(answer, plan.model_id, file.name),
            unreachable=where.unreachable,
        )
        watch = Watch(
            meter.moved,
            meter.say,
            meter.wait,
            lambda on: meter.enter("verifying" if on else "running"),
            plan.total_bytes // 4,
        )
        part = cache.part(*place)
        for last in (False, True):
            try:
                transfer(remote, part, token=where.token(), watch=watch, cancel=cancel, patience=patience)
                break
            except WrongSum:
                if last or file.file_bytes > plan.total_bytes // 4:
                    raise
                meter.say(f"{file.name} arrived damaged; transferring it once more")
        try:
            part.replace(target)
        except OSError as error:
            raise _cannot_write(error) from error


def _present(cache: AddedCache, plan: Plan, file: PlannedFile) -> int:
    return cache.present_bytes(plan.model_id, plan.revision, file.name, file.file_bytes)


def _is_whole(folder: Path, plan: Plan, file: PlannedFile, meter: Meter, cancel: threading.Event | None) -> bool:
    """Whether a file is here with its sum; what was compared when it was recorded is not read again."""
    path = folder / file.name
    try:
        if path.stat().st_size != file.file_bytes:
            return False
    except OSError:
        return False
    record = records.read(plan.variant.key)
    known = {(one.name, one.file_bytes, one.sha256) for one in record.files} if record is not None else set()
    if file.sha256 is None or (file.name, file.file_bytes, file.sha256) in known:
        return True
    meter.enter("verifying", file.name)
    if check_sum(path, Remote(plan.model_id, plan.revision, file.name, "", file.file_bytes, file.sha256), cancel):
        meter.enter("running")
        return True
    meter.say(f"{file.name} is damaged on this disk; transferring it again")
    path.unlink(missing_ok=True)
    return False


def _cannot_write(error: OSError) -> DownloadError:
    why = (error.strerror or str(error)).lower()
    return DownloadError(f"cannot write to {base_folder()} ({why}); make it writable, or set MODELDECK_HOME")
