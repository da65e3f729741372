"""What background work finds out counts in the order in which it was asked for, however long each look took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_services as fake
import pytest
from textual.pilot import Pilot

from backends.downloads import Job
from tui.app import Deck
from tui.messages import JobChanged, LibraryChanged, LoadAndTalk
from tui.services import NothingHere

Q4 = fake.variant(fake.LLAMA3, 8, "Q4_K_M")
Q8 = fake.variant(fake.LLAMA3, 8, "Q8_0")


class Held:
    """Background work that is done when the test says so, in the order that it says."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.holds = False

    def __call__(self, work: Callable[[], None]) -> None:
        if self.holds:
            self.waiting.append(work)
        else:
            work()


async def settle(pilot: Pilot[int]) -> None:
    await pilot.pause()
    await pilot.pause()


async def test_a_look_at_the_disk_that_took_longer_does_not_hide_what_a_later_one_found() -> None:
    held, looks = Held(), [NothingHere() for _ in range(2)]
    app = Deck(fake.services(background=held))
    async with app.run_test() as pilot:
        await settle(pilot)
        found = iter(looks)
        app.services = replace(app.services, local_index=lambda: next(found))
        held.holds = True
        app.post_message(LibraryChanged())
        app.post_message(LibraryChanged())
        await settle(pilot)
        first, second = held.waiting
        second()
        await settle(pilot)
        later = app.library
        assert later is looks[0]
        first()
        await settle(pilot)
        assert app.library is later


async def test_a_download_that_ended_is_not_under_way_again_by_an_older_look_at_the_queue() -> None:
    held, queue = Held(), fake.FakeQueue(lambda job: None)
    queue.add(fake.plan(Q4))

    def open_queue(on_change: Callable[[Job], None]) -> fake.FakeQueue:
        queue.on_change = on_change
        return queue

    app = Deck(fake.services(open_queue=open_queue, background=held))
    async with app.run_test() as pilot:
        await settle(pilot)
        app.download_queue()
        queue.progress("job-1", state="running", done_bytes=5)
        await settle(pilot)
        older = {job.id: job for job in queue.jobs()}
        held.holds = True
        app.read_queue()
        looked = held.waiting[-1]
        queue.progress("job-1", state="done", done_bytes=10)
        await settle(pilot)
        assert app.jobs["job-1"].progress.state == "done"
        queue.jobs = lambda: tuple(older.values())  # type: ignore[method-assign]
        looked()
        await settle(pilot)
        assert app.jobs["job-1"].progress.state == "done"


async def test_a_download_that_was_taken_off_the_list_goes_and_one_of_an_earlier_run_comes() -> None:
    app = Deck(fake.services())
    async with app.run_test() as pilot:
        await settle(pilot)
        job = Job("gone", fake.plan(Q4), fake.FakeQueue(lambda job: None).add(fake.plan(Q4)).progress)
        app.post_message(JobChanged(job))
        await settle(pilot)
        other = replace(job, id="other")
        app.jobs = {"other": other}
        assert dict(app.jobs) == {"other": other}


@pytest.mark.parametrize("beside", [False, True])
async def test_of_two_models_wanted_for_one_pane_the_later_is_loaded_however_long_the_first_took(beside: bool) -> None:
    held = Held()
    app = Deck(fake.services(background=held, on_disk=(Q4, Q8)))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        first, second = fake.options([Q4, Q8], fake.MACHINE, fake.Wish(), fake.STATUSES, {})[::2]
        assert [first.variant, second.variant] == [Q4, Q8]
        app.switch_mode = lambda mode: None  # type: ignore[method-assign,assignment,return-value]
        wanted: list[object] = []
        app.screen.post_message = wanted.append  # type: ignore[method-assign,assignment]
        held.holds = True
        app._talk(first, Path("first"), False)
        app._talk(second, Path("second"), beside)
        for work in reversed(held.waiting[-2:]):
            work()
        del app.screen.post_message
        loads = [message.path.name for message in wanted if isinstance(message, LoadAndTalk)]
        assert loads == (["second", "first"] if beside else ["second"])
