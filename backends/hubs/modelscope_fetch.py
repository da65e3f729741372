"""Downloads through ModelScope's own client: its resuming and sums, our patience, progress and cancelling."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import inspect
import os
import threading
from pathlib import Path
from typing import Any

from backends import records
from backends.disk import CHECK_BYTES, free_bytes, full, refuse_when_full, refuse_without_room
from backends.errors import BackendError, Cancelled, DiskFull, DownloadError, HubTrouble, HubUnreachable, RateLimited
from backends.hubs import environment, hf_cache, modelscope, ms_cache
from backends.hubs.hub import Listing, RepoFile
from backends.meter import Meter
from backends.plans import FileOutcome, Patience, Plan, PlannedFile


class _Stop(BaseException):
    """Ends a transfer from inside its progress callback. The client takes an ordinary exception for a network error."""

    def __init__(self, error: BackendError) -> None:
        super().__init__(str(error))
        self.error = error


class ModelScopeStore:
    """ModelScope's cache: real files by repository and revision."""

    def folder(self, model_id: str, revision: str) -> Path:
        return ms_cache.files_folder(model_id, revision)

    def filled(self, plan: Plan) -> Path:
        return ms_cache.files_folder(plan.model_id, plan.revision)

    def planned(self, listing: Listing, file: RepoFile) -> PlannedFile:
        size = file.file_bytes or 0
        present = ms_cache.present_bytes(listing.model_id, listing.revision, file.name, size)
        return PlannedFile(file.name, size, file.sha256, present, file.etag)

    def part(self, plan: Plan, file: PlannedFile) -> Path:
        return ms_cache.part(plan.model_id, plan.revision, file.name)

    def present_bytes(self, plan: Plan, file: PlannedFile) -> int:
        return ms_cache.present_bytes(plan.model_id, plan.revision, file.name, file.file_bytes)

    def leftovers(self, plan: Plan, file: PlannedFile) -> tuple[Path, ...]:
        if hf_cache.is_held(ms_cache.lock(plan.model_id, plan.revision, file.name)):
            return ()
        part = self.part(plan, file)
        return (part, part.with_name(f"{part.name}.kept"), part.with_name(f"{part.name}.again"))

    def fetch_files(
        self, plan: Plan, meter: Meter, cancel: threading.Event | None, patience: Patience
    ) -> tuple[FileOutcome, ...]:
        folder = self.filled(plan)
        known = _known_whole(plan)
        meter.done_bytes = sum(self.present_bytes(plan, file) for file in plan.files)
        meter.enter("running")
        missing = [file for file in plan.files if not _is_whole(folder / file.name, file, known, meter, cancel)]
        if missing:
            environment.refuse_offline(f"{missing[0].name} of {plan.model_id} is not on this disk")
            needed = sum(file.file_bytes - self.present_bytes(plan, file) for file in missing)
            refuse_without_room(folder, needed)
            # Whole files with a wrong sum are removed by the client before it starts.
            meter.done_bytes = plan.total_bytes - needed
        for file in sorted(missing, key=lambda file: file.file_bytes):
            _fetch_one(plan, file, meter, cancel, patience)
        return tuple(FileOutcome(file.name, file.file_bytes, file.sha256) for file in plan.files)


def _fetch_one(plan: Plan, file: PlannedFile, meter: Meter, cancel: threading.Event | None, patience: Patience) -> None:
    """Transfer a file, or wait for another modeldeck that does."""
    place = (plan.model_id, plan.revision, file.name)
    before = ms_cache.present_bytes(*place, file.file_bytes)
    waiting = "another modeldeck is downloading the same file; waiting for it"
    with hf_cache.held(ms_cache.lock(*place), cancel, lambda: meter.say(waiting), _cannot_write):
        meter.say(None)
        meter.done_bytes += ms_cache.present_bytes(*place, file.file_bytes) - before  # brought meanwhile
        if not _is_whole(ms_cache.files_folder(plan.model_id, plan.revision) / file.name, file, {}, meter, cancel):
            _OneFile(plan, file, meter, cancel, patience).run()


def _cannot_write(error: OSError) -> DownloadError:
    why = (error.strerror or str(error)).lower()
    cure = "set MODELSCOPE_CACHE to a folder that you may write to"
    return DownloadError(f"cannot write to the cache {ms_cache.cache_folder()} ({why}); {cure}")


def _known_whole(plan: Plan) -> dict[str, tuple[int, str | None]]:
    """Files whose sums were compared when they were recorded: a second start need not read 40 GB again."""
    record = records.read(plan.variant.key)
    if record is None or record.hub != plan.hub or record.model_id != plan.model_id:
        return {}
    return {file.name: (file.file_bytes, file.sha256) for file in record.files}


def _is_whole(
    path: Path,
    file: PlannedFile,
    known: dict[str, tuple[int, str | None]],
    meter: Meter,
    cancel: threading.Event | None,
) -> bool:
    try:
        if path.stat().st_size != file.file_bytes:
            return False
    except OSError:
        return False
    if file.sha256 is None or known.get(file.name) == (file.file_bytes, file.sha256):
        return True
    meter.enter("verifying", file.name)
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(4 << 20):
            if cancel is not None and cancel.is_set():
                raise Cancelled("stopped")
            digest.update(block)
    meter.enter("running")
    if digest.hexdigest() == file.sha256:
        return True
    path.unlink(missing_ok=True)
    return False


class _OneFile:
    def __init__(
        self, plan: Plan, file: PlannedFile, meter: Meter, cancel: threading.Event | None, patience: Patience
    ) -> None:
        self.plan = plan
        self.file = file
        self.meter = meter
        self.cancel = cancel or threading.Event()
        self.patience = patience
        self.part = ms_cache.part(plan.model_id, plan.revision, file.name)
        self.kept = self.part.with_name(f"{self.part.name}.kept")
        self.counted = self._held()
        self.refused = False
        self.agreed = self.part.with_name(f"{self.part.name}.again")

    def run(self) -> None:
        """Attempts with back-off until the file is whole; what has arrived survives every failure."""
        self.meter.enter("running", self.file.name)
        failures = 0
        while True:
            before = self._held()
            try:
                self._attempt()
            except (Cancelled, DiskFull):
                raise
            except BackendError as trouble:
                failures = 1 if self._held() > before else failures + 1
                passing = isinstance(trouble, HubUnreachable | RateLimited | HubTrouble)
                if not passing or failures >= self.patience.tries:
                    raise
                wait = min(self.patience.back_off_seconds * 2 ** (failures - 1), self.patience.most_back_off_seconds)
                if isinstance(trouble, RateLimited) and trouble.retry_after_seconds is not None:
                    wait = trouble.retry_after_seconds
                if wait > self.patience.most_retry_after_seconds:
                    raise
                why = str(trouble).partition(";")[0]
                self.meter.wait(why, wait)
                self.patience.pause(wait, self.cancel)
                self.meter.wait(why, 0.0)
            else:
                self.agreed.unlink(missing_ok=True)
                return

    def _attempt(self) -> None:
        library = modelscope.load_library()
        api = modelscope.client()
        plan, file = self.plan, self.file
        more: dict[str, Any] = {}
        if "_cancel_event" in inspect.signature(api.downloader.download_file).parameters:
            more["_cancel_event"] = self.cancel  # notices a cancel while the hub is silent, which a callback cannot
        modelscope.adjust("_legacy_api", {"DOWNLOAD_TIMEOUT": self.patience.stall_seconds})
        self._keep()
        try:
            api.downloader.download_file(
                plan.model_id,
                "model",
                file.name,
                revision=plan.revision,
                expected_sha256=file.sha256,
                file_size=file.file_bytes,
                progress_callbacks=[self._callback()],
                **more,
            )
            self.meter.say(None)
            self._meet(file.file_bytes)
            self.kept.unlink(missing_ok=True)
        except _Stop as stop:
            self._restore()
            raise stop.error from None
        except Exception as error:
            wrong_sum = isinstance(error, library.FileIntegrityError) and not isinstance(
                error, library.FileSizeMismatchError
            )
            if wrong_sum:
                self.kept.unlink(missing_ok=True)
            else:
                self._restore()
            self._meet(self._held())
            if self.cancel.is_set():
                raise Cancelled("stopped") from error
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                missing = file.file_bytes - self._held()
                raise full(self.part.parent, missing, free_bytes(self.part.parent) or 0) from error
            what = f"{file.name} of {plan.model_id} stopped at {self._held():,} of {file.file_bytes:,} bytes"
            raise modelscope.ours(error, what, plan.model_id, file.name) from error

    def _callback(self) -> type:
        one = self
        library = modelscope.load_library()

        base: Any = library.ProgressCallback

        class Count(base):  # type: ignore[misc]
            def __init__(self, filename: str, file_size: int) -> None:
                super().__init__(filename, file_size)
                self.position = 0

            def update(self, size: int) -> None:
                if size < 0:
                    one._starts_over(self.position)
                self.position += size
                if one.cancel.is_set():
                    raise _Stop(Cancelled("stopped"))
                one._count_to(self.position)

        return Count

    def _starts_over(self, position: int) -> None:
        """Called before the client throws away what has arrived, because the hub ignores ranges."""
        if position <= self.plan.total_bytes // 4 or self.agreed.exists():
            self.kept.unlink(missing_ok=True)
            self.meter.say(f"the hub does not resume: {self.file.name} starts over")
            return
        if not self.refused:
            self.refused = True  # another storage node may do better
            raise _Stop(HubTrouble(f"{modelscope.TROUBLE}: its storage ignores ranges"))
        with contextlib.suppress(OSError):
            self.agreed.touch()
        raise _Stop(
            DownloadError(
                f"{self.file.name}: the hub ignores ranges, so going on means transferring {position:,} bytes again; "
                "what is here is kept: start the download again to agree"
            )
        )

    def _count_to(self, position: int) -> None:
        if position == self.counted:
            return
        if position > self.counted:
            self.meter.say(None)
        if position // CHECK_BYTES > self.counted // CHECK_BYTES:
            try:
                refuse_when_full(self.part.parent, self.file.file_bytes - position)
            except DiskFull as error:
                raise _Stop(error) from error
        self.meter.moved(position - self.counted)
        self.counted = position

    def _meet(self, here: int) -> None:
        """Count what lies here: bytes that no callback told of were brought by another program."""
        if here > self.counted:
            self.meter.done_bytes += here - self.counted
            self.meter.report()
        elif here < self.counted:
            self.meter.moved(here - self.counted)
        self.counted = here

    def _held(self) -> int:
        with contextlib.suppress(OSError):
            return self.part.stat().st_size
        return 0

    def _keep(self) -> None:
        """A second name for what has arrived: on some answers the client removes its file before it tries again."""
        with contextlib.suppress(OSError):
            self.kept.unlink(missing_ok=True)
            if self._held():
                os.link(self.part, self.kept)

    def _restore(self) -> None:
        with contextlib.suppress(OSError):
            if self.kept.exists():
                if self._held() < self.kept.stat().st_size:
                    self.kept.replace(self.part)
                else:
                    self.kept.unlink()
