"""The downloads screen: what is under way, how fast, how long, and what it waits for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import Static

from backends.disk import RESERVE_BYTES
from backends.downloads import Job
from specs.model import HUBS
from tui import units
from tui.glyphs import glyphs
from tui.keys import DOWNLOADS
from tui.screens.steady import SteadyScreen
from tui.services import DownloadQueue, Services
from tui.widgets.cell_detail import HUB_WORDS
from tui.widgets.hardware_strip import HardwareStrip
from tui.widgets.job_list import JobList, job_name
from tui.widgets.key_line import KeyLine
from tui.widgets.lines import joined, near_home, plain, wrapped
from tui.widgets.too_small import TooSmall

if TYPE_CHECKING:
    from tui.fetching import Fetching

LOOK_SECONDS = 2.0
"""Between two looks at the disk while something is under way."""
MOST_REASON_LINES = 5
UNDER_WAY = frozenset({"queued", "running", "verifying", "paused"})


class Downloads(SteadyScreen[None]):
    """The queue, and what it will do to the disk."""

    CSS_PATH = "downloads.tcss"
    AUTO_FOCUS = "#jobs"
    BINDINGS: ClassVar[list[BindingType]] = [*DOWNLOADS]
    shows_downloads = True
    """What becomes of downloads need not be said in a corner too."""

    class DiskSeen(Message):
        """How much room the disk has."""

        def __init__(self, free_bytes: int | None) -> None:
            super().__init__()
            self.free_bytes = free_bytes

    app: Fetching

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._free_bytes: int | None = None
        self._looked_at = -math.inf
        self._states: Sequence[tuple[str, str, bool]] = ()

    def compose(self) -> ComposeResult:
        yield HardwareStrip()
        yield JobList()
        yield Static(id="reason", markup=False)
        yield Static(id="total", markup=False)
        yield KeyLine()
        yield TooSmall()

    def on_mount(self) -> None:
        self._list = self.query_one(JobList)
        self._list.border_title = plain("downloads")
        self.watch(self.app, "jobs", self._show_jobs)
        self.watch(self.app, "machine", self._show_strip)
        self.watch(self.app, "notices", self._show_strip, init=False)

    def on_screen_resume(self) -> None:
        self.app.hush()
        self._see_disk()
        # Opening the queue offers again what an earlier run left under way.
        self.app.read_queue()

    def _see_disk(self) -> None:
        self._looked_at = time.monotonic()

        def look() -> None:
            self.post_message(self.DiskSeen(self._services.disk_free_bytes()))

        self.app.in_background(look, "looking at the disk")

    def on_downloads_disk_seen(self, message: DiskSeen) -> None:
        self._free_bytes = message.free_bytes
        self._show_total()

    def _show_strip(self) -> None:
        self.query_one(HardwareStrip).show(self.app.machine, "downloads", len(self.app.notices))

    def _show_jobs(self) -> None:
        self._list.show([job for job in self.app.jobs.values() if job.progress.state != "cancelled"])
        count = sum(job.progress.state in UNDER_WAY for job in self.app.jobs.values())
        self._list.retitle(plain("downloads", f" {glyphs().dash} {count} under way" if count else ""))
        self._show_reason()
        self._show_total()
        if count and self.is_current and time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._see_disk()
        states = [
            (job.id, job.progress.state, job.progress.next_try_seconds is not None) for job in self.app.jobs.values()
        ]
        if states != self._states:
            self._states = states
            self.refresh_bindings()

    def on_line_list_highlighted(self) -> None:
        self._show_reason()
        self.refresh_bindings()

    def _show_reason(self) -> None:
        """All of the download under the cursor: the list has room for the beginning of its note only."""
        job = self._list.job
        texts: list[str | None] = []
        if job is not None:
            progress, plan = job.progress, job.plan
            texts.append(progress.note)
            if progress.refused is not None:
                texts.append(progress.page if progress.page and progress.page not in (progress.note or "") else None)
                texts.append("t gives a token, r tries again" if plan.hub in HUBS else "r tries again")
            hub = HUB_WORDS.get(plan.hub, plan.hub)
            texts.append(f"{plan.model_id} on {hub} at {plan.revision[:12]}, to {near_home(plan.path)}")
        width = max(10, self.size.width - 4)
        lines: list[str] = []
        for text in filter(None, texts):
            more = wrapped(plain(text).plain, width)
            if lines and len(lines) + len(more) > MOST_REASON_LINES:
                break  # half of a place or of a page's address helps nobody
            lines += more
        self.query_one("#reason", Static).update("\n".join(lines[:MOST_REASON_LINES]))

    def _show_total(self) -> None:
        jobs = [job for job in self.app.jobs.values() if job.progress.state in UNDER_WAY]
        to_come = sum(max(0, job.progress.total_bytes - job.progress.done_bytes) for job in jobs)
        speeds = [job.progress.bytes_per_second for job in jobs if job.progress.bytes_per_second]
        lacks = None
        if self._free_bytes is not None and to_come and to_come + RESERVE_BYTES > self._free_bytes:
            reserve = units.file_size(RESERVE_BYTES)
            if to_come > self._free_bytes:
                lacks = f"{units.file_size(to_come - self._free_bytes)} too little, and {reserve} should stay free"
            else:
                short = units.file_size(to_come + RESERVE_BYTES - self._free_bytes)
                lacks = f"{short} too little, as {reserve} should stay free"
            lacks += ": free some room before they end"
        words = joined(
            (
                f"disk {units.file_size(self._free_bytes)} free"
                if self._free_bytes is not None
                else "disk room unknown",
                f"{units.file_size(to_come)} to come" if to_come else "nothing to come",
                f"{units.speed(sum(speeds))} in all" if speeds else None,
                lacks,
            ),
            f" {glyphs().dot} ",
        )
        total = self.query_one("#total", Static)
        total.set_class(lacks is not None, "-lacks")
        total.update(words)

    # What the hand does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        if action not in {"pause", "cancel", "clear", "retry", "retry_now", "move", "token"} or not self.is_mounted:
            return True
        job = self._list.job
        if job is None:
            return False
        state = job.progress.state
        return {
            "pause": state in UNDER_WAY,
            "cancel": state != "done",
            "clear": state == "done",
            "retry": state == "failed",
            "retry_now": job.progress.next_try_seconds is not None,
            "token": job.progress.refused is not None and job.plan.hub in HUBS,
            "move": state in UNDER_WAY and len(self.app.jobs) > 1,
        }[action]

    def _steer(self, what: str, act: Callable[[DownloadQueue], object]) -> None:
        def work() -> None:
            act(self.app.download_queue())
            self.app.read_queue()

        self.app.in_background(work, what)

    def action_pause(self) -> None:
        job = self._list.job
        if job is None:
            return
        if job.progress.state == "paused":
            self._steer("going on with a download", lambda queue: queue.resume(job.id))
        else:
            self._steer("pausing a download", lambda queue: queue.pause(job.id))

    def action_cancel(self) -> None:
        job = self._list.job
        if job is None:
            return
        from tui.screens.ask import Ask

        def answered(yes: bool | None) -> None:
            if yes:
                self._steer("cancelling a download", lambda queue: queue.cancel(job.id))

        kept = units.file_size(job.progress.done_bytes)
        gone = f"{kept} of it are here already and will be removed." if job.progress.done_bytes else ""

        def over() -> bool:
            now = self.app.jobs.get(job.id)
            return now is None or now.progress.state in {"done", "cancelled"}

        self.app.push_screen(Ask("Cancel this download?", f"{job_name(job)}. {gone}".strip(), moot=over), answered)

    def action_clear(self) -> None:
        job = self._list.job
        if job is not None:
            self._steer("clearing the list", lambda queue: queue.forget(job.id))

    def action_retry(self) -> None:
        job = self._list.job
        if job is not None:
            self._again(job)

    def action_retry_now(self) -> None:
        job = self._list.job
        if job is not None:
            self._steer("trying a download at once", lambda queue: queue.retry_now(job.id))

    def _again(self, job: Job) -> None:
        self._steer("trying a download again", lambda queue: queue.resume(job.id))

    def action_token(self) -> None:
        """Take a token, then try again."""
        job = self._list.job
        if job is None or job.progress.refused is None:
            return
        progress = job.progress
        self.app.ask_token(
            progress.note or "the hub refuses this repository",
            progress.page,
            job.plan.hub,
            lambda: self._again(job),
        )

    def action_move(self, places: int) -> None:
        job = self._list.job
        if job is not None:
            self._steer("moving a download", lambda queue: queue.move(job.id, places))

    def action_back(self) -> None:
        self.app.action_mode("browse")
