"""The downloads line by line, two lines each where the screen is narrow."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from backends.downloads import Job
from specs.model import HUBS
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

REFUSED_WORDS = {"gated": "gated", "private": "refused to your account", "token": "token not taken"}
WIDE_CELLS = 100
"""From this width on a download takes one line."""

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
        return joined(("done", whole, None if job.plan.has_sums else "by size: the hub gives no sum"), between)
    done = units.file_size(progress.done_bytes)
    if done.split()[-1] == whole.split()[-1]:
        done = done.split()[0]
    amount = f"{done} of {whole}" if progress.done_bytes else whole
    note = clean(progress.note) if progress.note else None
    if progress.state == "running":
        speed = units.speed(progress.bytes_per_second) if progress.bytes_per_second is not None else None
        left = f"{units.duration(progress.seconds_left)} left" if progress.seconds_left is not None else None
        words = joined((amount, speed, left, note), between)
        if left and most_cells is not None and cell_len(words) > most_cells:
            words = words.replace(left, left.removesuffix(" left"))
        return words
    if progress.refused is not None:
        cure = "t gives a token" if job.plan.hub in HUBS else None
        return joined((REFUSED_WORDS.get(progress.refused, "refused"), cure, amount), between)
    if progress.state == "queued" and running and note is None:
        first = clean(running[0].plan.variant.family.name)
        note = f"waits for {first}" if len(running) == 1 else f"waits for one of {len(running)}"
        return joined((amount, note), between)
    return joined((STATE_WORDS[progress.state], amount, note), between)


def _fitted_name(job: Job, cells: int) -> str:
    """The download's name in so many cells: of one too long the family's name is cut, not what tells variants apart."""
    variant = job.plan.variant
    which = clean(f" {size_label(variant.spec.size_in_billions)} {variant.quantization}")
    family = clean(variant.family.name)
    ellipsis = glyphs().ellipsis
    room = max(4, cells - cell_len(which))
    return fitted(fitted(family, min(cell_len(family), room), ellipsis) + which, cells, ellipsis)


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

    @property
    def row_lines(self) -> int:
        return 1 if self.scrollable_content_region.width >= WIDE_CELLS else 2

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        """All of a download, or its name and hub where a second line has the rest."""
        job = self._jobs[row]
        hub = HUB_WORDS.get(job.plan.hub, clean(job.plan.hub))
        muted = ink(self, "muted")
        if width < WIDE_CELLS:
            name = _fitted_name(job, max(18, width - len(hub) - 4))
            return line([(f" {name}  ", Style.null()), (hub, muted)], width, base)
        bar_cells = min(24, width // 6)
        rest = width - 30 - 2 - bar_cells - 9 - len(hub) - 3
        return line(
            [
                (f" {_fitted_name(job, 30)} ", Style.null()),
                *self._standing(job, bar_cells, rest),
                (f"  {hub}", muted),
            ],
            width,
            base,
        )

    def draw_under(self, row: int, width: int, base: Style) -> Strip:
        bar_cells = max(6, width // 4)
        pieces = self._standing(self._jobs[row], bar_cells, width - bar_cells - 11)
        return line([(" ", Style.null()), *pieces], width, base)

    def _standing(self, job: Job, bar_cells: int, rest: int) -> list[Piece]:
        """The bar, the share and the words of where a download stands, in bar_cells + 9 + rest cells."""
        signs = glyphs()
        progress = job.progress
        share = progress.done_bytes / progress.total_bytes if progress.total_bytes else 0.0
        style = ink(self, STATE_INKS.get(progress.state, "muted"))
        muted = ink(self, "muted")
        running = [one for one in self._jobs if one.id in _running(self._jobs)]
        words = progress_words(job, running, most_cells=max(0, rest))
        return [
            (signs.bar_start, muted),
            (bar(share, bar_cells, signs), style + ink(self, on="panel")),
            (signs.bar_end, muted),
            (f" {share:4.0%}  ", Style.null()),
            (fitted(words, max(0, rest), signs.ellipsis), style if progress.state == "failed" else Style.null()),
        ]
