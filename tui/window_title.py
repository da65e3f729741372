"""What the terminal's window is called: what is talked to, and how far downloads are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tui.widgets.lines import clean

if TYPE_CHECKING:
    from backends.downloads import Job

NAME = "modeldeck"
COMING = frozenset({"running", "verifying", "queued"})
REMEMBER, RECALL = "\x1b[22;2t", "\x1b[23;2t"
"""Have the terminal put its own title away, and take it out again."""


def title(jobs: Iterable[Job], talking_to: str) -> str:
    """The title in words: downloads first, since they are what one looks for from another window."""
    coming = [job.progress for job in jobs if job.progress.state in COMING]
    total = sum(progress.total_bytes for progress in coming)
    parts = []
    if total:
        share = sum(progress.done_bytes for progress in coming) / total
        parts.append(f"{share:.0%}" + (f" of {len(coming)} downloads" if len(coming) > 1 else " downloaded"))
    if talking_to:
        parts.append(clean(talking_to))
    return " - ".join((*parts, NAME))


def sequence(words: str) -> str:
    """What tells a terminal its title."""
    return f"\x1b]2;{clean(words)}\x1b\\"
