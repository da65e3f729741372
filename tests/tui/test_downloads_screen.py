"""The downloads screen, by the keys that a user presses."""

from __future__ import annotations

from collections.abc import Callable

import fake_services as fake
import pytest
from textual.pilot import Pilot

from backends.downloads import Job
from tui.app import Deck
from tui.screens import downloads
from tui.screens.ask import Ask
from tui.screens.downloads import Downloads
from tui.widgets.job_list import JobList

Q4 = fake.variant(fake.LLAMA3, 8, "Q4_K_M")
Q8 = fake.variant(fake.LLAMA3, 8, "Q8_0")


def screen_text(app: Deck) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def press(pilot: Pilot[int], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await pilot.pause()


def deck_with(*variants: object) -> tuple[Deck, fake.FakeQueue]:
    """An app whose queue holds these variants already, as after a restart."""
    queue = fake.FakeQueue(lambda job: None)
    for one in variants:
        queue.add(fake.plan(one))  # type: ignore[arg-type]

    def open_queue(on_change: Callable[[Job], None]) -> fake.FakeQueue:
        queue.on_change = on_change
        return queue

    return Deck(fake.services(open_queue=open_queue)), queue


async def test_without_downloads_it_says_how_to_begin_one() -> None:
    app, _ = deck_with()
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f6")
        assert "No downloads yet" in screen_text(app)
        await press(pilot, "p", "x", "r", "escape")
        assert not isinstance(app.screen, Downloads)


async def test_what_an_earlier_run_left_is_offered_again() -> None:
    app, queue = deck_with(Q4)
    queue.progress("job-1", state="paused", done_bytes=1_000_000_000, note="interrupted: p goes on")
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f6")
        text = screen_text(app)
        assert "llama-3-instruct 8B Q4_K_M" in text
        assert "paused" in text
        assert "interrupted: p goes on" in text
        await press(pilot, "p")
        assert queue.calls == [("resume", "job-1")]


async def test_a_running_download_shows_bytes_speed_and_time_left() -> None:
    app, queue = deck_with(Q4, Q8)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f6")
        queue.progress("job-1", state="running", done_bytes=2_744_000_000, bytes_per_second=84e6, seconds_left=26.0)
        await pilot.pause()
        text = screen_text(app)
        for words in (
            "56%",
            "2.74 of 4.90 GB",
            "84.0 MB/s",
            "26 s left",
            "2 under way",
            "disk 212 GB free",
            "to come",
        ):
            assert words in text
        await press(pilot, "p")
        assert queue.calls[-1] == ("pause", "job-1")


async def test_cancelling_asks_first() -> None:
    app, queue = deck_with(Q4)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f6", "x")
        assert isinstance(app.screen, Ask)
        await press(pilot, "escape")
        assert queue.calls == []
        await press(pilot, "x", "enter")
        assert queue.calls == [("cancel", "job-1")]


async def test_the_order_changes_and_the_cursor_stays_with_its_download() -> None:
    app, queue = deck_with(Q4, Q8)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f6", "down", "left_square_bracket")
        assert queue.calls == [("move", "job-2", -1)]
        job = app.screen.query_one(JobList).job
        assert job is not None
        assert job.id == "job-2"
        assert [job.id for job in app.jobs.values()] == ["job-2", "job-1"]


async def test_a_failed_download_says_why_and_can_be_tried_again() -> None:
    app, queue = deck_with(Q4)
    queue.progress("job-1", state="failed", note="the hub closed the connection five times: r tries again")
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f6")
        assert "the hub closed the connection five times" in screen_text(app)
        await press(pilot, "r")
        assert queue.calls == [("resume", "job-1")]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_wait_for_the_next_try_is_counted_down_on_the_screen_and_r_ends_it(size: tuple[int, int]) -> None:
    app, queue = deck_with(Q4)
    reason = "Hugging Face takes no more requests from here just now"
    async with app.run_test(size=size) as pilot:
        await press(pilot, "f6")
        assert "retry now" not in screen_text(app)
        for seconds in (43.0, 42.0):
            note = f"next try in {seconds:.0f} s: {reason}"
            queue.progress("job-1", state="running", note=note, next_try_seconds=seconds)
            await pilot.pause()
            assert f"4.90 GB · next try in {seconds:.0f} s: " in screen_text(app)
        assert f"next try in 42 s: {reason}" in " ".join(screen_text(app).split())
        assert "r retry now" in screen_text(app)
        await press(pilot, "r")
        assert queue.calls == [("retry_now", "job-1")]
        assert "retry now" not in screen_text(app)


async def test_a_disk_that_is_too_small_says_by_how_much() -> None:
    queue = fake.FakeQueue(lambda job: None)
    queue.add(fake.plan(Q4))
    app = Deck(fake.services(open_queue=lambda on_change: queue, disk_free_bytes=lambda: 4_000_000_000))
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f6")
        assert "900 MB too little" in screen_text(app)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    ("left_bytes", "lack"), [(50_000_000, "17.1 MB too little, as 67.1 MB should stay free"), (67_108_864, None)]
)
async def test_a_disk_that_would_be_left_too_full_says_by_how_much(
    columns: int, left_bytes: int, lack: str | None
) -> None:
    queue = fake.FakeQueue(lambda job: None)
    free = queue.add(fake.plan(Q4)).plan.total_bytes + left_bytes
    app = Deck(fake.services(open_queue=lambda on_change: queue, disk_free_bytes=lambda: free))
    async with app.run_test(size=(columns, 24)) as pilot:
        await press(pilot, "f6")
        text = " ".join(screen_text(app).split())
        assert "4.90 GB to come" in text
        assert (lack in text) if lack else ("too little" not in text)


async def test_what_is_done_can_be_taken_off_the_list() -> None:
    app, queue = deck_with(Q4)
    queue.progress("job-1", state="done", done_bytes=4_900_000_000)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f6", "x")
        assert "No downloads yet" in screen_text(app)


async def test_at_80_columns_name_hub_speed_and_time_left_are_all_there() -> None:
    app, queue = deck_with(Q4, Q8)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f6")
        queue.progress("job-1", state="running", done_bytes=1_560_000_000, bytes_per_second=84.1e6, seconds_left=250.0)
        await pilot.pause()
        name, standing, other = screen_text(app).splitlines()[2:5]
        assert "llama-3-instruct 8B Q4_K_M" in name
        assert "Hugging Face" in name
        assert "1.56 of 4.90 GB · 84.1 MB/s · 4 min 10 s left" in standing
        assert "llama-3-instruct 8B Q8_0" in other


async def test_in_a_queue_longer_than_the_screen_the_cursor_stays_in_view() -> None:
    app, queue = deck_with(*([Q4, Q8] * 8))
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f6", "end")
        jobs = app.screen.query_one(JobList)
        assert jobs.cursor == len(queue.entries) - 1
        assert jobs.scroll_offset.y == 2 * len(queue.entries) - jobs.scrollable_content_region.height
        await press(pilot, "home")
        assert jobs.scroll_offset.y == 0


async def test_a_refused_download_says_so_first_and_which_key_helps() -> None:
    app, queue = deck_with(Q4)
    note = "maker/llama is gated: accept its licence at https://hub/maker/llama, then set HF_TOKEN"
    queue.progress("job-1", state="failed", note=note, refused="gated", page="https://hub/maker/llama")
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f6")
        assert "gated · t gives a token" in screen_text(app).splitlines()[3]


async def test_what_was_checked_by_size_only_is_said_to_be() -> None:
    app, queue = deck_with(Q4)
    queue.progress("job-1", state="done", done_bytes=4_900_000_000)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f6")
        assert "by size: the hub gives no sum" in screen_text(app)


async def test_on_this_screen_nothing_of_downloads_is_said_in_a_corner_too() -> None:
    app, queue = deck_with(Q4, Q8)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f6")
        queue.progress("job-1", state="failed", note="no answer")
        queue.progress("job-2", state="done")
        await pilot.pause()
        assert not app._notifications
        await press(pilot, "f5")
        queue.progress("job-1", state="running")
        queue.progress("job-1", state="failed", note="no answer")
        await pilot.pause()
        assert [one.message for one in app._notifications] == ["llama-3-instruct: no answer"]


async def test_the_disk_is_looked_at_again_while_a_download_fills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = fake.FakeQueue(lambda job: None)
    queue.add(fake.plan(Q4))
    free = iter(range(90_000_000_000, 0, -10_000_000_000))

    def open_queue(on_change: Callable[[Job], None]) -> fake.FakeQueue:
        queue.on_change = on_change
        return queue

    monkeypatch.setattr(downloads, "LOOK_SECONDS", -1.0)
    app = Deck(fake.services(open_queue=open_queue, disk_free_bytes=lambda: next(free)))
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f6")
        before = screen_text(app)
        queue.progress("job-1", state="running", done_bytes=1)
        await pilot.pause()
        assert "disk" in before
        assert before.splitlines()[-2] != screen_text(app).splitlines()[-2]


async def test_a_reason_that_leaves_no_room_for_the_place_stands_alone() -> None:
    app, queue = deck_with(Q4)
    page = "https://hub.example/" + "maker/" * 20 + "llama"
    note = f"maker/llama is gated: accept its licence at {page}, then set HF_TOKEN or run `hf auth login`"
    queue.progress("job-1", state="failed", note=note, refused="gated", page=page)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f6")
        below = [line.strip() for line in screen_text(app).splitlines()[16:] if line.strip()]
        assert "t gives a token, r tries again" in below
        assert not any(" on Hugging Face at " in line for line in below)
