"""The queue: order, room, pause and resume, and its life after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends import downloads
from backends import queue as queue_module
from backends.downloads import Job, Queue
from backends.hubs import hf_cache
from backends.plans import Patience
from specs.model import Variant
from tests.backends.downloads.conftest import REPO, make_variant

SIZE = 6_000_000
GGUF = os.urandom(SIZE)
CDN = r"^GET /-cdn/"


class Screen:
    """Remembers what the queue says, and waits for it to say something."""

    def __init__(self) -> None:
        self.said: list[Job] = []
        self._heard = threading.Condition()

    def __call__(self, job: Job) -> None:
        with self._heard:
            self.said.append(job)
            self._heard.notify_all()

    def wait_for(self, job: Job, *states: str, note: str = "") -> Job:
        def found() -> Job | None:
            fitting = (
                j
                for j in self.said
                if j.id == job.id and j.progress.state in states and note in (j.progress.note or "")
            )
            return next(fitting, None)

        with self._heard:
            assert self._heard.wait_for(found, 20), [j.progress for j in self.said]
            return found() or job

    def forget(self) -> None:
        with self._heard:
            self.said.clear()


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def queue(screen: Screen, patience: Any) -> Any:
    made = Queue(screen, patience=patience)
    yield made
    made.close()


def publish(hub: Any, *quantizations: str) -> list[Variant]:
    hub.add(REPO, {f"tiny-{q}.gguf": GGUF[: SIZE - n] for n, q in enumerate(quantizations)})
    return [make_variant(q) for q in quantizations]


def test_two_run_at_once_and_the_third_waits_its_turn(hub: Any, queue: Queue, screen: Screen) -> None:
    variants = publish(hub, "Q4_K_M", "Q5_K_M", "Q8_0")
    hub.fault(match=CDN, kind="hang", after=1_000_000)
    jobs = [queue.add(downloads.plan(variant)) for variant in variants]
    assert [job.progress.state for job in queue.jobs()] == ["running", "running", "queued"]
    queue.move(jobs[2].id, -2)
    assert [job.id for job in queue.jobs()] == [jobs[2].id, jobs[0].id, jobs[1].id]
    hub.calm()
    for job in jobs:
        screen.wait_for(job, "done")


def test_nothing_can_change_between_a_step_of_a_download_and_its_telling(hub: Any, patience: Any) -> None:
    """Else "running" could be told after "paused", and nothing would ever come after it."""
    states: list[str] = []
    free: list[bool] = []
    ended = threading.Event()

    def tell(job: Job) -> None:
        def look() -> None:
            taken = queue._lock.acquire(blocking=False)
            free.append(taken)
            if taken:
                queue._lock.release()

        other = threading.Thread(target=look)
        other.start()
        other.join()
        states.append(job.progress.state)
        if job.progress.state == "done":
            ended.set()

    queue = Queue(tell, patience=patience)
    try:
        (variant,) = publish(hub, "Q4_K_M")
        queue.add(downloads.plan(variant))
        assert ended.wait(20)
    finally:
        queue.close()
    assert "verifying" in states or states.count("running") > 1
    assert not any(free)


def test_pause_keeps_what_has_arrived_and_resume_asks_for_the_rest(
    hub: Any, queue: Queue, screen: Screen, variant: Variant
) -> None:
    publish(hub, "Q4_K_M")
    hub.fault(match=CDN, times=1, kind="hang", after=4_000_000)
    job = queue.add(downloads.plan(variant))
    part = hf_cache.part(REPO, job.plan.files[0].etag or "")
    while not part.exists() or part.stat().st_size < 4_000_000:
        threading.Event().wait(0.005)
    queue.pause(job.id)
    assert queue.jobs()[0].progress.state == "paused"
    queue.resume(job.id)
    screen.wait_for(job, "done")
    assert sum(line["bytes"] for line in hub.log("-cdn")) == SIZE


def test_cancel_removes_what_has_arrived(hub: Any, queue: Queue, screen: Screen, variant: Variant) -> None:
    publish(hub, "Q4_K_M")
    hub.fault(match=CDN, kind="hang", after=1_000_000)
    job = queue.add(downloads.plan(variant))
    part = hf_cache.part(REPO, job.plan.files[0].etag or "")
    while not part.exists():
        threading.Event().wait(0.005)
    queue.cancel(job.id)
    screen.wait_for(job, "cancelled")
    queue.close()
    assert not part.exists()
    assert Queue().jobs() == ()


def test_bytes_never_go_back_while_a_transfer_breaks_and_goes_on(
    hub: Any, queue: Queue, screen: Screen, variant: Variant
) -> None:
    publish(hub, "Q4_K_M")
    hub.fault(match=CDN, times=2, kind="drop", after=2_000_000)
    job = queue.add(downloads.plan(variant))
    screen.wait_for(job, "done")
    counts = [said.progress.done_bytes for said in screen.said]
    assert counts == sorted(counts)


def test_a_hub_that_is_down_is_tried_again_and_says_so(
    hub: Any, queue: Queue, screen: Screen, variant: Variant, clock: Any
) -> None:
    publish(hub, "Q4_K_M")
    plan = downloads.plan(variant)
    hub.fault(match="/resolve/", kind="status", status=503)
    job = queue.add(plan)
    failed = screen.wait_for(job, "failed")
    assert "trouble of its own (503)" in (failed.progress.note or "")
    assert [wait for wait in clock.waits if wait in (15, 30, 60)] == [15, 30, 60]
    hub.calm()
    queue.resume(job.id)
    screen.wait_for(job, "done")


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_for_the_hub_is_counted_down_and_over_when_the_user_says_so(
    hub: Any, screen: Screen, variant: Variant, status: int
) -> None:
    publish(hub, "Q4_K_M")
    hub.fault(match="/resolve/", kind="status", status=status, retry_after=600, times=1)
    queue = Queue(screen)  # the patience of every day: it does wait
    try:
        job = queue.add(downloads.plan(variant))
        waiting = screen.wait_for(job, "running", note="next try in 10 min 00 s")
        assert waiting.progress.next_try_seconds == pytest.approx(600, abs=1)
        screen.wait_for(job, "running", note="next try in 9 min 59 s: ")
        queue.retry_now(job.id)
        screen.wait_for(job, "done")
    finally:
        queue.close()


def test_the_queue_s_own_wait_between_attempts_is_counted_down_and_can_be_cut_short(
    hub: Any, screen: Screen, variant: Variant
) -> None:
    publish(hub, "Q4_K_M")
    hub.fault(match="/resolve/", kind="status", status=503, times=2)
    queue = Queue(screen, patience=Patience(tries=1))
    try:
        job = queue.add(downloads.plan(variant))
        screen.wait_for(job, "running", note="next try in 14 s: ")
        queue.retry_now(job.id)
        screen.wait_for(job, "running", note="next try in 30 s: ")
        queue.pause(job.id)  # a pause is heard in the midst of a wait too
        assert queue.jobs()[0].progress.next_try_seconds is None
        queue.resume(job.id)
        screen.wait_for(job, "done")
    finally:
        queue.close()


def test_another_goes_ahead_of_what_waits_long_and_each_comes_to_its_end(hub: Any, screen: Screen) -> None:
    variants = publish(hub, "Q4_K_M", "Q8_0")
    plans = [downloads.plan(variant) for variant in variants]
    hub.fault(match="/resolve/.*Q4_K_M", kind="status", status=429, retry_after=600, times=1)
    queue = Queue(screen, at_once=1)  # the patience of every day: it does wait
    try:
        waits, goes = [queue.add(plan) for plan in plans]
        screen.wait_for(waits, "running", note="next try in 10 min 00 s")
        screen.wait_for(goes, "done")
        assert queue.jobs()[0].progress.next_try_seconds == pytest.approx(600, abs=20)
        queue.retry_now(waits.id)
        screen.wait_for(waits, "done")
    finally:
        queue.close()


def test_after_a_long_wait_it_comes_back_when_one_that_went_ahead_has_ended(
    hub: Any, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "_LONG_WAIT_SECONDS", 1.0)
    other = "maker/Other-GGUF"
    hub.add(other, {"tiny-Q8_0.gguf": GGUF})
    publish(hub, "Q4_K_M")
    plans = [downloads.plan(make_variant()), downloads.plan(make_variant("Q8_0", repo=other))]
    hub.fault(match="/resolve/.*Q4_K_M", kind="status", status=429, retry_after=2, times=1)
    hub.fault(match=f"{CDN[1:]}{other}", kind="hang", after=1_000_000, times=1)
    queue = Queue(screen, at_once=1, patience=Patience(stall_seconds=600))
    try:
        waits, goes = [queue.add(plan) for plan in plans]
        screen.wait_for(waits, "running", note="waits for its turn")
        assert not [line for line in hub.log("-cdn") if "Q4_K_M" in line["path"]]
        queue.pause(goes.id)
        screen.wait_for(waits, "done")
        queue.resume(goes.id)
        screen.wait_for(goes, "done")
    finally:
        queue.close()


def test_what_waits_for_its_turn_does_not_hold_up_another_of_its_repository(
    hub: Any, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "_LONG_WAIT_SECONDS", 1.0)
    (variant,) = publish(hub, "Q4_K_M")
    twin = replace(variant, family=replace(variant.family, name="tiny-by-another-name"))
    plans = [downloads.plan(variant), downloads.plan(twin)]
    hub.fault(match="/resolve/", kind="status", status=429, retry_after=2, times=1)
    queue = Queue(screen, at_once=1, patience=Patience())
    try:
        jobs = [queue.add(plan) for plan in plans]  # the second waits for the lock that the first holds
        for job in jobs:
            screen.wait_for(job, "done")
    finally:
        queue.close()
    assert sum(line["bytes"] for line in hub.log("-cdn")) == SIZE


def test_without_room_for_everything_queued_it_pauses_and_says_how_much_is_missing(
    hub: Any, queue: Queue, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = publish(hub, "Q4_K_M", "Q8_0")
    hub.fault(match=CDN, kind="hang", after=-1)
    plans = [downloads.plan(first), downloads.plan(second)]
    queue.add(plans[0])
    monkeypatch.setattr(queue_module, "free_bytes", lambda folder: 10_000_000)
    job = queue.add(plans[1])
    assert job.progress.state == "paused"
    assert "12.0 MB are needed and 10.0 MB are free, 2.0 MB too little" in (job.progress.note or "")


def test_what_leaves_too_little_for_everything_else_pauses_and_says_what_should_stay_free(
    hub: Any, queue: Queue, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, "Q4_K_M")
    monkeypatch.setattr(queue_module, "free_bytes", lambda folder: 10_000_000)
    job = queue.add(downloads.plan(variant))
    assert job.progress.state == "paused"
    words = "6.0 MB are needed and 10.0 MB are free, but 67.1 MB should stay free besides: 63.1 MB too little"
    assert words in (job.progress.note or "")


def test_adding_the_same_variant_twice_is_one_download(hub: Any, queue: Queue, variant: Variant) -> None:
    publish(hub, "Q4_K_M")
    hub.fault(match=CDN, kind="hang", after=-1)
    plan = downloads.plan(variant)
    assert queue.add(plan).id == queue.add(plan).id
    assert len(queue.jobs()) == 1


CHILD = """
import sys, threading
sys.path[:0] = [{root!r}]
from tests.backends.downloads.conftest import make_variant
from backends import downloads
queue = downloads.Queue()
queue.add(downloads.plan(make_variant("Q4_K_M")))
queue.add(downloads.plan(make_variant("Q8_0")))
print("queued", flush=True)
threading.Event().wait()
"""


def test_what_was_under_way_in_a_crash_is_offered_again(hub: Any, screen: Screen, patience: Any) -> None:
    publish(hub, "Q4_K_M", "Q8_0")
    hub.fault(match=CDN, kind="hang", after=2_000_000)
    root = str(Path(__file__).parents[3])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(root=root)], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
    )
    assert child.stdout is not None
    child.stdout.readline()
    meanwhile = Queue()
    assert meanwhile.jobs() == ()  # another program's downloads are not ours while it runs
    meanwhile.close()
    parts = [
        hf_cache.part(REPO, f.etag or "") for q in ("Q4_K_M", "Q8_0") for f in downloads.plan(make_variant(q)).files
    ]
    while not all(part.exists() and part.stat().st_size == 2_000_000 for part in parts):
        threading.Event().wait(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    hub.calm()
    hub.forget()
    queue = Queue(screen, patience=patience)
    jobs = queue.jobs()
    assert [job.progress.state for job in jobs] == ["paused", "paused"]
    assert [job.progress.done_bytes for job in jobs] == [2_000_000, 2_000_000]
    assert all("interrupted" in (job.progress.note or "") for job in jobs)
    for job in jobs:
        queue.resume(job.id)
    for job in jobs:
        screen.wait_for(job, "done")
    queue.close()
    assert sum(line["bytes"] for line in hub.log("-cdn")) == 2 * (SIZE - 2_000_000) - 1
    assert Queue().jobs() == ()


def test_a_quiet_exit_keeps_the_queue_too(hub: Any, queue: Queue, variant: Variant) -> None:
    publish(hub, "Q4_K_M")
    hub.fault(match=CDN, kind="hang", after=-1)
    job = queue.add(downloads.plan(variant))
    queue.close()
    again = Queue()
    assert [(j.id, j.progress.state) for j in again.jobs()] == [(job.id, "paused")]
    assert again.jobs()[0].plan.variant == variant
    again.close()
