"""The downloads line by line: two lines each, with a bar that never moves but forward."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from backends.downloads import Job
from tui import units
from tui.glyphs import bar, glyphs
from tui.widgets.cell_detail import HUB_WORDS
from tui.widgets.fit_matrix import size_label
from tui.widgets.inks import ink
from tui.widgets.line_list import LineList
from tui.widgets.lines import Piece, clean, fitted, joined, line

STATE_WORDS = {
    "queued": "waits",
    "running": "downloading",
    "verifying": "verifying",
    "paused": "paused",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}

STATE_INKS = {"running": "primary", "verifying": "primary", "done": "success", "failed": "error"}


def job_name(job: Job) -> str:
    """What is being downloaded, in one line."""
    variant = job.plan.variant
    return clean(f"{variant.family.name} {size_label(variant.spec.size_in_billions)} {variant.quantization}")


def progress_words(job: Job, running: Sequence[Job] = (), *, most_cells: int | None = None) -> str:
    """Where a download stands: state, bytes, speed and time left, or what it waits for.

    Args:
        job: The download.
        running: Those that run now, for which a queued one waits.
        most_cells: The room there is; what can be said shorter is where it is too little.
    """
    progress = job.progress
    whole = units.file_size(progress.total_bytes)
    between = f" {glyphs().dot} "
    if progress.state == "done":
        return joined(("done", whole), between)
    done = units.file_size(progress.done_bytes)
    if done.split()[-1] == whole.split()[-1]:
        done = done.split()[0]
    amount = f"{done} of {whole}" if progress.done_bytes else whole
    if progress.state == "running":
        speed = units.speed(progress.bytes_per_second) if progress.bytes_per_second is not None else None
        left = f"{units.duration(progress.seconds_left)} left" if progress.seconds_left is not None else None
        words = joined((amount, speed, left, clean(progress.note) if progress.note else None), between)
        if left and most_cells is not None and cell_len(words) > most_cells:
            words = words.replace(left, left.removesuffix(" left"))
        return words
    note = clean(progress.note) if progress.note else None
    if progress.state == "queued" and running and note is None:
        first = clean(running[0].plan.variant.family.name)
        note = f"waits for {first}" if len(running) == 1 else f"waits for one of {len(running)}"
        return joined((amount, note), between)
    return joined((STATE_WORDS[progress.state], amount, note), between)


def _running(jobs: Sequence[Job]) -> tuple[str, ...]:
    return tuple(job.id for job in jobs if job.progress.state in {"running", "verifying"})


class JobList(LineList):
    """Downloads in the queue's order."""

    def __init__(self) -> None:
        super().__init__(id="jobs")
        self._jobs: Sequence[Job] = ()
        self.empty_words = "No downloads yet. esc goes to the models: choose a cell of the fit matrix and press d."

    @property
    def row_count(self) -> int:
        return len(self._jobs)

    @property
    def job(self) -> Job | None:
        """The download under the cursor."""
        return self._jobs[self.cursor] if self._jobs else None

    def show(self, jobs: Sequence[Job]) -> None:
        """Show these downloads; the cursor stays on its own."""
        here = self.job
        before = self._jobs
        self._jobs = jobs
        if [job.id for job in before] == [job.id for job in jobs]:
            for row, (old, new) in enumerate(zip(before, jobs, strict=True)):
                if old != new or (new.progress.state == "queued" and _running(before) != _running(jobs)):
                    self._refresh_row(row)
            return
        cursor = next((row for row, job in enumerate(jobs) if here is not None and job.id == here.id), self.cursor)
        self.rows_changed(cursor)

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        job = self._jobs[row]
        signs = glyphs()
        progress = job.progress
        name_cells = max(18, min(30, width * 3 // 10))
        bar_cells = max(6, min(24, width // 6 if width >= 100 else 8))
        share = progress.done_bytes / progress.total_bytes if progress.total_bytes else 0.0
        part = STATE_INKS.get(progress.state, "muted")
        style = ink(self, part)
        muted = ink(self, "muted")
        hub = HUB_WORDS.get(job.plan.hub, clean(job.plan.hub)) if width >= 100 else ""
        rest = width - name_cells - bar_cells - 13 - (len(hub) + 2 if hub else 0)
        words_style = style if progress.state == "failed" else Style.null()
        variant = job.plan.variant
        which = clean(f" {size_label(variant.spec.size_in_billions)} {variant.quantization}")
        own_name = clean(variant.family.name)
        name = fitted(own_name, min(cell_len(own_name), max(4, name_cells - cell_len(which))), signs.ellipsis) + which
        running = [one for one in self._jobs if one.id in _running(self._jobs)]
        words = progress_words(job, running, most_cells=max(0, rest))
        pieces: list[Piece] = [
            (f" {fitted(name, name_cells, signs.ellipsis)} ", Style.null()),
            (signs.bar_start, muted),
            (bar(share, bar_cells, signs), style + ink(self, on="panel")),
            (signs.bar_end, muted),
            (f" {share:4.0%}  ", Style.null()),
            (fitted(words, max(0, rest), signs.ellipsis), words_style),
            (f"  {hub}" if hub else "", muted),
        ]
        return line(pieces, width, base)
