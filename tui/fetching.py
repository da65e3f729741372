"""Downloads as the app sees them: from the wish for weights to the queue, and the token that a hub may want."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from textual.message import Message

from tui import units
from tui.messages import ChatWanted, DownloadWanted, JobChanged, LibraryChanged
from tui.services import DownloadQueue, Services
from tui.state import READING_DISK, State

if TYPE_CHECKING:
    from backends.downloads import Job, Plan
    from backends.errors import AccessDenied
    from specs.model import Variant


class Fetching(State):
    """Plans what screens want downloaded, queues it, and says how it went."""

    class Refused(Message):
        """A hub wants a licence accepted or a token before it tells what a download would be."""

        def __init__(self, error: AccessDenied, hub: str, variant: Variant) -> None:
            super().__init__()
            self.error = error
            self.hub = hub
            self.variant = variant

    class Planned(Message):
        """A download is planned and may join the queue."""

        def __init__(self, plan: Plan) -> None:
            super().__init__()
            self.plan = plan

    def __init__(self, services: Services | None = None) -> None:
        super().__init__(services)
        self.queue: DownloadQueue | None = None
        self._awaited: ChatWanted | None = None
        """The chat to open when its download is whole, unless the user has moved on."""
        self._queue_lock = threading.Lock()
        self._told: dict[str, Job] = {}
        """Each job as the queue told of it last."""

    def download_queue(self) -> DownloadQueue:
        """The queue, opened when first needed; safe from any thread."""
        with self._queue_lock:
            if self.queue is None:
                self.queue = self.services.open_queue(lambda job: self._post(JobChanged(job)))
                self.at_end(self.queue.close)
            return self.queue

    def on_job_changed(self, message: JobChanged) -> None:
        job = message.job
        before = self.jobs.get(job.id)
        self._told[job.id] = job
        self.jobs = {**self.jobs, job.id: job}
        if before is None or before.progress.state != job.progress.state:
            self.read_queue()
        shown = getattr(self.screen, "shows_downloads", False)
        if job.progress.state == "done" and (before is None or before.progress.state != "done"):
            if not shown:
                self.say(f"{job.plan.variant.family.name} {job.plan.variant.quantization} is on this disk")
            self.post_message(LibraryChanged())
        elif job.progress.state == "cancelled":
            if self._awaited is not None and self._awaited.option.variant == job.plan.variant:
                self._awaited = None
        elif job.progress.state == "failed" and not shown and (before is None or before.progress.state != "failed"):
            self.say(f"{job.plan.variant.family.name}: {job.progress.note or 'the download failed'}", severity="error")

    def read_queue(self) -> None:
        """Take over the queue's order, and what an earlier run left under way."""
        self.learn("jobs", lambda: {job.id: job for job in self.download_queue().jobs()}, "reading the download queue")

    def validate_jobs(self, jobs: Mapping[str, Job]) -> Mapping[str, Job]:
        """Of jobs that are known the queue has told every change, in order, and a look at it may be older."""
        return {name: self._told.get(name, job) for name, job in jobs.items()}

    def on_library_changed(self) -> None:
        self.learn("library", self.services.local_index, READING_DISK)

    def on_download_wanted(self, message: DownloadWanted) -> None:
        variant = message.variant
        if self.library is not None and self.library.path(variant) is not None:
            self.say(f"{variant.family.name} {variant.quantization} is on this disk already")
            return
        if any(
            job.plan.variant == variant and job.progress.state not in {"failed", "cancelled", "done"}
            for job in self.jobs.values()
        ):
            self.say(f"{variant.family.name} {variant.quantization} is under way: f6 shows the downloads")
            return
        self.say(_asking(variant))

        def work() -> None:
            from backends.errors import AccessDenied

            try:
                plan = self.services.plan(variant, message.hub)
            except AccessDenied as error:
                self._post(self.Refused(error, message.hub or next(iter(variant.hub_names), ""), variant))
            else:
                self._post(self.Planned(plan))

        self.in_background(work, f"planning the download of {variant.family.name} {variant.quantization}")

    def on_fetching_refused(self, message: Refused) -> None:
        self.offer_token(message.error, message.hub, lambda: self.post_message(DownloadWanted(message.variant)))

    def offer_token(self, error: AccessDenied, hub: str, again: Callable[[], object]) -> None:
        """Say why a hub refuses, take a token for it, and do again what it was wanted for.

        A hub that another package adds has ways of its own: of it only the refusal is said.
        """
        from specs.model import HUBS  # the catalog's values are no part of the start

        if hub not in HUBS:
            self.say(str(error), severity="error")
            return
        self.ask_token(str(error), error.url, hub, again)

    def ask_token(self, reason: str, page: str | None, hub: str, again: Callable[[], object]) -> None:
        """Take a token for a hub, and do again what it was wanted for."""
        from tui.screens.ask_token import AskToken

        def answered(user: str | None) -> None:
            if user is not None:
                self.say(f"the token speaks for {user} from now on")
                again()

        self.push_screen(AskToken(self.services, reason, page, hub), answered)

    def on_fetching_planned(self, message: Planned) -> None:
        plan = message.plan

        def work() -> None:
            self.download_queue().add(plan)

        self.in_background(work, "queueing the download")
        awaited = self._awaited is not None and self._awaited.option.variant == plan.variant
        then = " and it opens when it is here;" if awaited else ""
        said = f"{units.file_size(plan.missing_bytes)} to fetch{then}; f6 shows the downloads"
        self.say(said, instead_of=_asking(plan.variant))


def _asking(variant: Variant) -> str:
    return f"asking the hub for {variant.family.name} {variant.quantization}"
