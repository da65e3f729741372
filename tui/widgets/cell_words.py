"""Families and cells of the browse screen in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from textual.content import Content

from tui import units
from tui.glyphs import glyphs
from tui.widgets.fit_matrix import size_label
from tui.widgets.lines import plain

if TYPE_CHECKING:
    from backends.downloads import Job
    from backends.engines.engine import EngineStatus
    from backends.fit import Option
    from specs.model import ModelFamily, Variant
    from tui.judging import Judged

STATUS_WORDS: Final = (("ready", ""), ("not-installed", "not installed:"), ("unsupported", "unsupported:"))
"""Engine statuses in the order of the title, and the word before their engines."""


def family_title(family: ModelFamily | None) -> Content:
    """A family in one line: what it can do, which languages, how much context."""
    signs = glyphs()
    if family is None:
        return plain("no family")
    words = [", ".join(family.abilities), " ".join(family.languages[:4])]
    if len(family.languages) > 4:
        words[-1] += f" and {len(family.languages) - 4} more"
    tokens = f"{units.count(family.context_length)} tokens" if family.context_length else "context unknown"
    between = f" {signs.dot} "
    return plain((family.name, "bold"), f" {signs.dash} ", (between.join([*(w for w in words if w), tokens]), "$muted"))


def cell_title(variant: Variant | None, judged: Judged | None, chosen: Option | None) -> Content:
    """A variant in one line, and which engines take it."""
    if variant is None:
        return plain("")
    signs = glyphs()
    between = f" {signs.dot} "
    head = between.join((size_label(variant.spec.size_in_billions), variant.spec.format, variant.quantization))
    parts: list[str | tuple[str, str]] = [(head, "bold")]
    if judged is not None:
        options = judged.of_variant(variant)
        for status, words in STATUS_WORDS:
            here = [option.engine for option in options if option.engine_status == status]
            if not here:
                continue
            parts.append(f" {signs.dash} " if len(parts) == 1 else "  ")
            if words:
                parts.append((f"{words} ", "$muted"))
            for index, engine in enumerate(here):
                style = "bold $primary" if chosen is not None and engine == chosen.engine else "$muted"
                mark = "" if words else f" {signs.tick}"
                parts.append((f"{', ' if index else ''}{engine}{mark}", style))
    return plain(*parts)


def disk_note(variant: Variant | None, jobs: Iterable[Job], path: Path | None, checked: str | None = None) -> str:
    """Where a variant lies on this disk and how it is known to be whole, or how far its download is."""
    if variant is None:
        return ""
    job = next((job for job in jobs if job.plan.variant == variant), None)
    if job is not None and job.progress.state in {"running", "queued", "paused", "verifying"}:
        progress = job.progress
        words = f"{progress.state}: {units.file_size(progress.done_bytes)} of {units.file_size(progress.total_bytes)}"
        return f"{glyphs().loading} {words}"
    if path is None:
        return ""
    by_size = " (checked by size only)" if checked == "size" else ""
    return f"{glyphs().on_disk} on this disk{by_size}: {path}"


def why_words(engine: str, options: Sequence[Option], statuses: Mapping[str, EngineStatus] | None) -> str:
    """An engine's place among those that take a variant, and what speaks for it or against it; "" where it is none."""
    from backends.engines.choice import choices

    offered = choices(options, statuses)
    for place, choice in enumerate(offered, 1):
        if choice.option.engine == engine:
            line = f"{engine}, {place} of {len(offered)}: {choice.why}"
            return f"{line}; {choice.install_line}" if choice.install_line else line
    return ""
