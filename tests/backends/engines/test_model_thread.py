"""One thread a model: jobs take turns, and a stop hits what it was meant for."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.engines.engine import Chunk, Stats
from backends.engines.model_thread import Job, ModelThread
from backends.errors import EngineError


@pytest.fixture
def freed() -> threading.Event:
    return threading.Event()


@pytest.fixture
def thread(freed: threading.Event) -> Iterator[ModelThread]:
    one = ModelThread("test", freed.set)
    yield one
    one.close()


def counting(job: Job) -> Iterator[Chunk]:
    count = 0
    while not job.cancelled and count < 1000:
        count += 1
        yield Chunk(f"{count} ", tokens=1)
    yield Chunk(stats=Stats(1, 0, 0.0, count, 0.0, "cancelled" if job.cancelled else "end"))


def test_everything_happens_on_one_thread_that_is_not_ours(thread: ModelThread) -> None:
    first = thread.call(lambda job: threading.get_ident())
    assert first == thread.call(lambda job: threading.get_ident()) != threading.get_ident()


def test_an_exception_is_raised_where_the_job_came_from(thread: ModelThread) -> None:
    def fail(job: Job) -> None:
        raise EngineError("no")

    with pytest.raises(EngineError, match="no"):
        thread.call(fail)
    assert thread.call(lambda job: 5) == 5


def test_after_a_stop_nothing_but_the_stats_comes_and_they_count_what_came(thread: ModelThread) -> None:
    chunks = []
    for chunk in thread.stream(counting):
        chunks.append(chunk)
        if len(chunks) == 3:
            thread.stop()
    assert len(chunks) == 4
    assert chunks[-1].stats is not None
    assert (chunks[-1].stats.decoded_tokens, chunks[-1].stats.stop_reason) == (3, "cancelled")


def test_a_stop_hits_no_stream_that_begins_after_it(thread: ModelThread) -> None:
    thread.stop()
    chunks = list(thread.stream(counting))
    assert chunks[-1].stats is not None
    assert chunks[-1].stats.stop_reason == "end"


def test_a_stop_hits_a_stream_that_waits_for_its_turn(thread: ModelThread) -> None:
    begun, go = threading.Event(), threading.Event()

    def hold(job: Job) -> None:
        begun.set()
        go.wait()

    holder = threading.Thread(target=thread.call, args=(hold,))
    holder.start()
    begun.wait()
    waiting = thread.stream(counting)
    chunks: list[Chunk] = []
    reader = threading.Thread(target=lambda: chunks.extend(waiting))
    reader.start()
    while len(thread._jobs) < 2:
        reader.join(0.001)
    thread.stop()
    go.set()
    holder.join()
    reader.join()
    assert [chunk.text for chunk in chunks] == [""]


def test_an_iterator_that_is_closed_cancels_its_job(thread: ModelThread) -> None:
    ended = threading.Event()

    def endless(job: Job) -> Iterator[Chunk]:
        while not job.cancelled:
            yield Chunk("x", tokens=1)
        ended.set()

    stream = thread.stream(endless)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert ended.wait(10)


def test_the_library_s_flag_is_up_only_while_a_cancelled_job_runs() -> None:
    told: list[bool] = []
    thread = ModelThread("test", lambda: None, told.append)
    thread.call(lambda job: thread.stop())
    assert told == [False, True, False]
    thread.close()


def test_closing_frees_on_the_thread_and_once(freed: threading.Event) -> None:
    where: list[int] = []
    thread = ModelThread("test", lambda: where.append(threading.get_ident()))
    own = thread.call(lambda job: threading.get_ident())
    thread.close()
    thread.close()
    assert where == [own]
    with pytest.raises(EngineError, match="closed"):
        thread.call(lambda job: None)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's list of threads")
def test_closing_waits_for_what_a_library_destroys_with_the_thread() -> None:
    """MLX frees compiled functions there, which aborts an interpreter that is just ending."""
    libc = ctypes.CDLL(None)
    key = ctypes.c_uint()
    assert libc.pthread_key_create(ctypes.byref(key), libc.usleep) == 0
    one = ModelThread("test", lambda: None)
    microseconds = ctypes.c_void_p(150_000)
    one.call(lambda _: libc.pthread_setspecific(key, microseconds))
    number = one.call(lambda _: threading.get_native_id())
    one.close()
    assert not Path(f"/proc/self/task/{number}").exists()
    libc.pthread_key_delete(key)


def test_a_stop_that_is_asked_for_again_does_not_break_into_what_the_library_tidies_up() -> None:
    aborts: list[bool] = []
    running, goes = threading.Event(), threading.Event()

    def work(_: Job) -> None:
        running.set()
        goes.wait(20)

    thread = ModelThread("m", lambda: None, aborts.append)
    asking = threading.Thread(target=thread.call, args=(work,))
    asking.start()
    assert running.wait(20)
    for _ in range(3):
        thread.stop()
    goes.set()
    asking.join(20)
    thread.close()
    assert aborts.count(True) == 1
