"""The queue of downloads: some at once, the others in their order, all of them remembered."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Literal

from backends import jobfile
from backends.disk import RESERVE_BYTES, free_bytes, full
from backends.errors import (
    AccessDenied,
    BackendError,
    Cancelled,
    DiskFull,
    DownloadError,
    HubError,
    HubTrouble,
    HubUnreachable,
    NotFound,
    RateLimited,
    WrongSum,
)
from backends.meter import Meter
from backends.plans import Job, Patience, Plan, Progress, State

_UNFINISHED: tuple[State, ...] = ("queued", "running", "verifying", "paused", "failed")
_ACTIVE: tuple[State, ...] = ("running", "verifying")
_TRIES = 4
_BACK_OFF_SECONDS = 15.0
_LONG_WAIT_SECONDS = 10.0
"""A wait in which another download may go ahead; a shorter one is over before that has begun."""
_TURN_SECONDS = 1.0
"""Between two looks whether a download that waits for its turn holds up one that runs."""
_INTERRUPTED = "interrupted when modeldeck ended; resume to go on"
_TURN = "waits for its turn: others went ahead while it waited for the hub"

Wish = Literal["go", "pause", "cancel", "close"]


@dataclass(slots=True)
class _Entry:
    id: str
    plan: Plan
    progress: Progress
    stop: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)
    """Ends a wait for the next try: to stop, or to try at once."""
    wish: Wish = "go"
    thread: threading.Thread | None = None
    stale: bool = False
    """Whether the plan must be asked for again before going on."""
    aside: Literal["waiting", "ready"] | None = None
    """It has given up its place among those that run: for a long wait, or until its turn comes; None: it has not."""

    def job(self) -> Job:
        return Job(self.id, self.plan, self.progress)

    def halt(self) -> None:
        """Have its thread stop, even one that waits for the next try."""
        self.stop.set()
        self.wake.set()


class Queue:
    """Downloads one after the other, some at once. Every method may be called from any thread and returns at once.

    Args:
        on_change: Called with every change of a job, at most ten times a second a job, from threads of the queue.
        at_once: How many downloads run at the same time.
        patience: How long and how often to try.
    """

    def __init__(
        self,
        on_change: Callable[[Job], None] | None = None,
        *,
        at_once: int = 2,
        patience: Patience | None = None,
    ) -> None:
        self._on_change = on_change
        self._at_once = max(1, at_once)
        self._patience = patience or Patience()
        self._lock = threading.RLock()
        self._entries: list[_Entry] = []
        self._closed = False
        self._desk = jobfile.Desk()
        for saved in self._desk.take_over():
            under_way = saved.state in ("queued", *_ACTIVE)
            state: State = "paused" if under_way else saved.state
            done = saved.plan.total_bytes - _work().missing_bytes(saved.plan)
            note = _INTERRUPTED if under_way else saved.note
            progress = Progress(state, done, saved.plan.total_bytes, note=note)
            self._entries.append(_Entry(saved.id, saved.plan, progress, stale=True))

    def jobs(self) -> tuple[Job, ...]:
        """Every job in the queue's order, the finished ones of this run included."""
        with self._lock:
            return tuple(entry.job() for entry in self._entries)

    def add(self, plan: Plan) -> Job:
        """Queue a download; one that is queued already is taken up again instead.

        Without room on the disk for it and everything before it, it waits paused and says how much is missing.
        """
        with self._lock:
            for entry in self._entries:
                if entry.plan.variant == plan.variant and entry.progress.state in _UNFINISHED:
                    if entry.progress.state in ("paused", "failed"):
                        self.resume(entry.id)
                    return entry.job()
            self._entries = [e for e in self._entries if e.plan.variant != plan.variant]
            progress = Progress("queued", plan.total_bytes - _work().missing_bytes(plan), plan.total_bytes)
            entry = _Entry(uuid.uuid4().hex[:8], plan, progress)
            self._entries.append(entry)
            lack = self._lack_of_room(entry)
            if lack is not None:
                entry.progress = replace(progress, state="paused", note=str(lack))
            self._changed(entry)
            self._start_next()
            return entry.job()

    def pause(self, job_id: str) -> None:
        """Stop a job and keep what has arrived."""
        with self._lock:
            entry = self._entry(job_id)
            if entry.progress.state in ("queued", *_ACTIVE):
                entry.wish = "pause"
                entry.halt()
                self._enter(entry, "paused", None)

    def resume(self, job_id: str) -> None:
        """Go on with a job that is paused or has failed."""
        with self._lock:
            entry = self._entry(job_id)
            if entry.progress.state not in ("paused", "failed"):
                return
            entry.stale = entry.stale or entry.progress.state == "failed"
            entry.wish = "go"
            self._enter(entry, "queued", None)
            self._start_next()

    def retry_now(self, job_id: str) -> None:
        """Try again at once what waits for its next try; nothing where it does not wait."""
        with self._lock:
            entry = self._entry(job_id)
            if entry.progress.next_try_seconds is not None:
                entry.wake.set()

    def cancel(self, job_id: str) -> None:
        """Stop a job and remove what has arrived of unfinished files."""
        with self._lock:
            entry = self._entry(job_id)
            if entry.progress.state not in _UNFINISHED:
                return
            entry.wish = "cancel"
            entry.halt()
            self._enter(entry, "cancelled", None)
            if entry.thread is None:
                self._discard(entry)

    def move(self, job_id: str, places: int) -> None:
        """Move a job up (negative) or down in the order in which jobs start."""
        with self._lock:
            entry = self._entry(job_id)
            old = self._entries.index(entry)
            new = min(max(0, old + places), len(self._entries) - 1)
            self._entries.insert(new, self._entries.pop(old))
            for moved in self._entries[min(old, new) : max(old, new) + 1]:
                self._save(moved)
            self._changed(entry)

    def forget(self, job_id: str) -> None:
        """Take a job that is done or cancelled off the list."""
        with self._lock:
            entry = self._entry(job_id)
            if entry.progress.state not in _UNFINISHED and entry.thread is None:
                self._entries.remove(entry)

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Stop everything and keep it for the next start."""
        with self._lock:
            self._closed = True
            threads = []
            for entry in self._entries:
                if entry.thread is not None:
                    if entry.wish == "go":
                        entry.wish = "close"
                    entry.halt()
                    threads.append(entry.thread)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(timeout_seconds)
        self._desk.close()

    # -- starting

    def _start_next(self) -> None:
        """Called under the lock."""
        running = sum(entry.thread is not None and entry.aside is None for entry in self._entries)
        # What has begun comes first: it may hold files that those behind it want.
        for entry in (*(e for e in self._entries if e.aside == "ready"), *self._entries):
            if self._closed or running >= self._at_once:
                return
            if entry.aside == "ready":
                entry.aside = None
                entry.wake.set()
                running += 1
                continue
            if entry.progress.state == "queued" and entry.thread is None:
                entry.stop, entry.wake = threading.Event(), threading.Event()
                entry.wish = "go"
                entry.thread = threading.Thread(target=self._run, args=(entry,), daemon=True, name=f"job {entry.id}")
                self._enter(entry, "running", None)
                entry.thread.start()
                running += 1

    def _run(self, entry: _Entry) -> None:
        state: State
        note: str | None = None
        denied: AccessDenied | None = None
        try:
            self._download(entry)
            state = "done"
        except Cancelled:
            state = "cancelled" if entry.wish == "cancel" else "paused"
            note = _INTERRUPTED if entry.wish == "close" else None
        except DiskFull as error:
            state, note = "paused", str(error)
        except BackendError as error:
            state, note = "failed", str(error)
            denied = error if isinstance(error, AccessDenied) else None
        except Exception as error:  # noqa: BLE001 — a thread's edge: shown on the job instead of lost
            state, note = "failed", f"the download stopped: {type(error).__name__}: {error}"
        with self._lock:
            entry.thread = entry.aside = None
            if entry.wish == "cancel" and state != "done":
                state, note = "cancelled", None
                self._discard(entry)
            resumed = entry.progress.state == "queued"
            if not (resumed and state == "paused"):
                self._enter(entry, state, note, denied)
            self._start_next()

    def _download(self, entry: _Entry) -> None:
        failures = 0
        tried = {entry.plan.hub}
        patience = replace(self._patience, pause=lambda seconds, _: self._pause(entry, seconds))
        while True:
            try:
                if entry.stale:
                    self._plan_again(entry)
                _work().fetch(
                    entry.plan, lambda progress: self._progress(entry, progress), entry.stop, patience=patience
                )
                return
            except (Cancelled, DiskFull, WrongSum):
                raise  # after a wrong sum everything would come twice, which is the user's to say
            except (HubError, DownloadError, NotFound) as error:
                failures += 1
                if self._fail_over(entry, error, tried):
                    continue
                passing = isinstance(error, HubUnreachable | RateLimited | HubTrouble)
                if not passing or failures >= _TRIES:
                    raise
                wait = _BACK_OFF_SECONDS * 2 ** (failures - 1)
                if isinstance(error, RateLimited) and error.retry_after_seconds:
                    wait = max(wait, error.retry_after_seconds)
                self._wait(entry, str(error).partition("; ")[0], wait)

    def _wait(self, entry: _Entry, why: str, seconds: float) -> None:
        """Count down to the next try."""
        now = entry.progress
        meter = Meter(now.total_bytes, now.done_bytes, lambda progress: self._progress(entry, progress))
        with meter.beating():
            meter.wait(why, seconds)
            self._pause(entry, seconds)
            meter.wait(why, 0.0)

    def _pause(self, entry: _Entry, seconds: float) -> None:
        """Wait for the next try, or until the user wants it at once; raises Cancelled when it is to stop."""
        long = seconds >= _LONG_WAIT_SECONDS
        if long:
            with self._lock:
                entry.aside = "waiting"
                self._start_next()
        with contextlib.suppress(Cancelled):
            self._patience.pause(seconds, entry.wake)
        wanted_now = entry.wake.is_set()
        entry.wake.clear()
        if long and not wanted_now:
            self._await_turn(entry)
        entry.aside = None
        if entry.stop.is_set():
            raise Cancelled("stopped")

    def _await_turn(self, entry: _Entry) -> None:
        """Come back among those that run once one of them has ended."""
        with self._lock:
            entry.aside = "ready"
            self._start_next()
        while entry.aside == "ready" and not entry.stop.is_set() and not self._holds_up(entry):
            self._progress(entry, entry.progress)
            entry.wake.wait(_TURN_SECONDS)
            entry.wake.clear()
        entry.wake.clear()

    def _holds_up(self, entry: _Entry) -> bool:
        """Whether one that runs may wait for files that this one holds: each would wait for the other for ever."""
        ours = (entry.plan.hub, entry.plan.model_id)
        with self._lock:
            return any(
                other.thread is not None and other.aside is None and (other.plan.hub, other.plan.model_id) == ours
                for other in self._entries
            )

    def _plan_again(self, entry: _Entry) -> None:
        """Meet the repository as it is now: files that stayed the same are kept by their sums."""
        try:
            entry.plan = _work().plan(entry.plan.variant, entry.plan.hub)
        except HubUnreachable:
            if _work().missing_bytes(entry.plan):
                raise
        entry.stale = False

    def _fail_over(self, entry: _Entry, error: BackendError, tried: set[str]) -> bool:
        """Go on from another hub that has the same files; False when there is none."""
        from backends.failover import hand_over, same_files

        plan = entry.plan
        for name in plan.variant.hub_names:
            if name in tried:
                continue
            tried.add(name)
            try:
                other = _work().plan(plan.variant, name)
            except BackendError:
                continue
            if not same_files(plan, other):
                continue
            hand_over(plan, other)
            entry.plan = _work().plan(plan.variant, name)
            why = "is gated there" if isinstance(error, AccessDenied) else str(error).partition(";")[0]
            self._progress(entry, self._waiting(entry, f"going on from {name}, since {plan.hub} fails: {why}"))
            return True
        return False

    # -- telling

    def _waiting(self, entry: _Entry, note: str) -> Progress:
        return replace(entry.progress, state="running", bytes_per_second=None, seconds_left=None, note=note)

    def _progress(self, entry: _Entry, progress: Progress) -> None:
        with self._lock:
            if entry.wish != "go" or entry.stop.is_set() or progress.state == "done":
                return  # the state that was wished for is on the screen already
            if entry.aside == "ready":
                progress = replace(progress, note=_TURN, next_try_seconds=None)
            entry.progress = progress
            # Under the lock: told after it, a pause could be followed by "running", and nothing would come after that.
            if self._on_change is not None:
                self._on_change(entry.job())

    def _enter(self, entry: _Entry, state: State, note: str | None, denied: AccessDenied | None = None) -> None:
        """Called under the lock."""
        done = entry.plan.total_bytes if state == "done" else entry.progress.done_bytes
        refused, page = (denied.kind, denied.url) if denied is not None else (None, None)
        entry.progress = Progress(state, done, entry.plan.total_bytes, note=note, refused=refused, page=page)
        self._changed(entry)

    def _changed(self, entry: _Entry) -> None:
        self._save(entry)
        if self._on_change is not None:
            self._on_change(entry.job())

    def _save(self, entry: _Entry) -> None:
        if entry.progress.state not in _UNFINISHED:
            self._desk.drop(entry.id)
        else:
            at = self._entries.index(entry) if entry in self._entries else len(self._entries)
            self._desk.save(jobfile.SavedJob(entry.id, at, entry.progress.state, entry.progress.note, entry.plan))

    def _entry(self, job_id: str) -> _Entry:
        for entry in self._entries:
            if entry.id == job_id:
                return entry
        raise NotFound(f"the queue has no download {job_id}")

    # -- room

    def _lack_of_room(self, new: _Entry) -> DiskFull | None:
        """What is missing for this job after everything that is to come before it, on the same disk."""
        folder = _work().place(new.plan)
        free = free_bytes(folder)
        if free is None:
            return None
        before = sum(
            entry.progress.total_bytes - entry.progress.done_bytes
            for entry in self._entries
            if entry is not new and entry.progress.state in ("queued", *_ACTIVE) and _same_disk(entry.plan, new.plan)
        )
        needed = before + _work().missing_bytes(new.plan)
        if not _work().missing_bytes(new.plan) or needed + RESERVE_BYTES <= free:
            return None
        return full(folder, needed, free, RESERVE_BYTES)

    def _discard(self, entry: _Entry) -> None:
        others = [e.plan for e in self._entries if e is not entry and e.progress.state in _UNFINISHED]
        _work().discard_parts(entry.plan, others)


def _work() -> ModuleType:
    """What fetches, imported with the first download: the first frame need not wait for HTTP and TLS."""
    from backends import fetching

    return fetching


def _same_disk(one: Plan, other: Plan) -> bool:
    def device(path: Path) -> int | None:
        for folder in (path, *path.parents):
            try:
                return folder.stat().st_dev
            except OSError:
                continue
        return None

    return device(_work().place(one)) == device(_work().place(other))
