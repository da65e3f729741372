"""The one thread on which a model is loaded, asked and freed."""

from __future__ import annotations

import atexit
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from backends.engines.engine import Chunk
from backends.errors import EngineError

Result = TypeVar("Result")
EXIT_WAIT_SECONDS: Final = 2.0
"""How long the end of the program waits for one model to be freed."""


class Job:
    """One thing that the thread does."""

    def __init__(self, work: Callable[[Job], Any]) -> None:
        self.work = work
        self.results: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        """("chunk", Chunk), then ("done", value) or ("failed", exception)."""
        self.cancelled = False


class ModelThread:
    """Takes jobs one after the other, so that two streams can never run inside one model.

    Several libraries demand this thread (MLX's streams belong to the thread that made them), and none minds it. Each
    job has its own stop flag: a stop can hit no stream that was begun after it, and none is forgotten.
    """

    def __init__(self, name: str, free: Callable[[], None], on_abort: Callable[[bool], None] | None = None) -> None:
        """
        Args:
            free: Gives the model's memory back; called on the thread, as its last job.
            on_abort: Told whether the running job is to end, for what the library polls inside its native code.
        """
        self._free = free
        self._on_abort = on_abort or _nothing
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        self._guard = threading.Lock()
        self._jobs: list[Job] = []
        """Asked for and not taken to the end: a stop concerns what its reader has still to read, too."""
        self._running: Job | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)
        self._thread.start()
        _ALIVE.add(self)

    @property
    def closed(self) -> bool:
        return self._closed

    def call(self, work: Callable[[Job], Result]) -> Result:
        """Do something on the thread and wait for it; an interrupt of the caller cancels it."""
        job = Job(work)
        self._post(job)
        try:
            kind, value = job.results.get()
        except BaseException:
            self._cancel(job)
            raise
        finally:
            self._forget(job)
        if kind == "failed":
            raise value
        result: Result = value
        return result

    def stream(self, work: Callable[[Job], Iterator[Chunk]]) -> Iterator[Chunk]:
        """Run a generator on the thread and yield its chunks here; giving up the iterator cancels it.

        After a stop nothing but the stats comes through, whatever the thread has made in the meantime.
        """

        def pump(job: Job) -> None:
            for chunk in work(job):
                job.results.put(("chunk", chunk))

        job = Job(pump)
        self._post(job)
        withheld = 0
        ended = False
        try:
            while True:
                kind, value = job.results.get()
                if kind != "chunk":
                    ended = True
                    if kind == "failed":
                        raise value
                    return
                chunk: Chunk = value
                if chunk.stats is None and job.cancelled:
                    withheld += chunk.tokens
                    continue
                if chunk.stats is not None and withheld:
                    chunk = replace(
                        chunk,
                        stats=replace(
                            chunk.stats,
                            decoded_tokens=chunk.stats.decoded_tokens - withheld,
                            stop_reason="cancelled",
                        ),
                    )
                yield chunk
        finally:
            if not ended:
                self._cancel(job)
            self._forget(job)

    def stop(self) -> None:
        """End the running job and those that wait."""
        with self._guard:
            self._cancel_all()

    def close(self, *, wait_seconds: float = 5.0) -> None:
        """End everything, free the model on its thread, and end the thread. Later calls do nothing."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._cancel_all()
            self._inbox.put(Job(lambda _: self._free()))
            self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            deadline = time.monotonic() + wait_seconds
            self._thread.join(wait_seconds)
            while _runs(self._thread) and time.monotonic() < deadline:
                time.sleep(0.001)

    def _post(self, job: Job) -> None:
        with self._guard:
            if self._closed:
                raise EngineError("the model was closed; load it again")
            self._jobs.append(job)
            self._inbox.put(job)

    def _forget(self, job: Job) -> None:
        with self._guard:
            if job in self._jobs:
                self._jobs.remove(job)

    def _cancel_all(self) -> None:
        for job in self._jobs:
            self._cancel_one(job)
        if self._running is not None:
            self._cancel_one(self._running)

    def _cancel(self, job: Job) -> None:
        with self._guard:
            self._cancel_one(job)

    def _cancel_one(self, job: Job) -> None:
        # Once: a stop may be asked for again and again, and a second one would break into what a library tidies up.
        if job.cancelled:
            return
        job.cancelled = True
        if self._running is job:
            self._on_abort(True)

    def _run(self) -> None:
        while (job := self._inbox.get()) is not None:
            with self._guard:
                self._running = job
                self._on_abort(job.cancelled)
            try:
                outcome = ("done", job.work(job))
            except BaseException as error:  # noqa: BLE001 the thread's edge: it is raised where the job came from
                outcome = ("failed", error)
            with self._guard:
                self._running = None
                self._on_abort(False)
            job.results.put(outcome)


def _runs(thread: threading.Thread) -> bool:
    """Whether the system's thread is still there.

    Before Python 3.13 join() returns a little earlier, and what a library destroys together with its thread (MLX its
    compiled functions) takes the GIL: where the interpreter ends meanwhile, that aborts the process.
    """
    if thread.is_alive() or sys.version_info >= (3, 13):
        return thread.is_alive()
    tasks = Path("/proc/self/task")
    if tasks.is_dir():
        return (tasks / str(thread.native_id)).exists()
    try:
        signal.pthread_kill(thread.ident or 0, 0)
    except ProcessLookupError:
        return False
    return True


def _nothing(_: bool) -> None:
    """For a library that polls nothing."""


_ALIVE: weakref.WeakSet[ModelThread] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Free what was left loaded: Metal and CUDA abort a process that ends with models in them."""
    for thread in list(_ALIVE):
        thread.close(wait_seconds=EXIT_WAIT_SECONDS)
