"""The library screen: everything on this disk that can be run, whoever downloaded it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import Static

from backends.errors import BackendError, Cancelled
from backends.fit import Wish
from backends.library import Library, RemovalPlan, Verification
from specs.model import ModelFamily, SpecError, Variant
from tui import units
from tui.glyphs import glyphs
from tui.keys import LIBRARY
from tui.messages import ChatWanted, LibraryChanged
from tui.screens.steady import SteadyScreen
from tui.services import Services
from tui.widgets.hardware_strip import HardwareStrip
from tui.widgets.key_line import KeyLine
from tui.widgets.lines import clean, joined, near_home, plain, wrapped
from tui.widgets.stored_list import Stored, StoredList
from tui.widgets.too_small import TooSmall

if TYPE_CHECKING:
    from tui.state import State

MATCH_WORDS = {"sum": "its sum says so", "size": "its name and size say so", "name": "its name says so"}
MOST_KEPT = 3
"""Lines of what stays that a question shows."""


def rows_of(library: Library, variants: Mapping[str, Variant]) -> tuple[Stored, ...]:
    """The library as rows: by owner, the largest first."""
    copies: dict[Path, tuple[Path, ...]] = {}
    for found in library.duplicates:
        for path in found.paths:
            copies[path] = tuple(other for other in found.paths if other != path)
    rows = []
    for entry in library.entries:
        variant = next((variants[key] for key in entry.variants if key in variants), None)
        twice = next((copies[file.path] for file in entry.files if file.path in copies), ())
        rows.append(Stored(entry, variant, twice))
    owners = {owner: place for place, owner in enumerate(dict.fromkeys(row.entry.owner for row in rows))}
    return tuple(sorted(rows, key=lambda row: (owners[row.entry.owner], -row.entry.total_bytes, row.name)))


class LibraryScreen(SteadyScreen[None]):
    """What is here, whose it is, and what can be done with it."""

    CSS_PATH = "library.tcss"
    AUTO_FOCUS = "#stored"
    BINDINGS: ClassVar[list[BindingType]] = [*LIBRARY]

    class Scanned(Message):
        """The disk was looked through."""

        def __init__(self, library: Library, rows: Sequence[Stored]) -> None:
            super().__init__()
            self.library = library
            self.rows = rows

    class Verifying(Message):
        """So much of an entry is read."""

        def __init__(self, path: Path, share: float) -> None:
            super().__init__()
            self.path = path
            self.share = share

    class Verified(Message):
        """An entry was read to its end; None: the user stopped it."""

        def __init__(self, path: Path, outcome: Verification | None) -> None:
            super().__init__()
            self.path = path
            self.outcome = outcome

    class RemovalPlanned(Message):
        """What removing an entry would do is known."""

        def __init__(self, plan: RemovalPlan) -> None:
            super().__init__()
            self.plan = plan

    class Happened(Message):
        """Something worth a line; the disk is another one now if changed."""

        def __init__(self, words: str, *, severity: str = "information", changed: bool = False) -> None:
            super().__init__()
            self.words = words
            self.severity = severity
            self.changed = changed

    app: State

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._library: Library | None = None
        self._notes: dict[Path, tuple[str, str]] = {}
        self._outcomes: dict[Path, Verification] = {}
        self._stops: dict[Path, threading.Event] = {}

    def compose(self) -> ComposeResult:
        yield HardwareStrip()
        yield StoredList()
        yield Static(id="about", markup=False)
        yield Static(id="total", markup=False)
        yield KeyLine()
        yield TooSmall()

    def on_mount(self) -> None:
        self._list = self.query_one(StoredList)
        self._list.border_title = plain("library")
        self.watch(self.app, "machine", self._show_strip)
        self.watch(self.app, "notices", self._show_strip, init=False)
        self.watch(self.app, "library", self._look, init=False)
        self.watch(self.app, "catalog", self._look, init=False)

    def on_screen_resume(self) -> None:
        self._look()

    def _show_strip(self) -> None:
        self.query_one(HardwareStrip).show(self.app.machine, "library", len(self.app.notices))

    def _look(self) -> None:
        """Look through the disk again, in the background."""
        catalog, settings = self.app.catalog, self.app.settings
        if catalog is None:
            return
        folders = settings.library_folders if settings is not None else ()

        def work() -> None:
            variants = tuple(variant for family in catalog.families for variant in family.variants())
            library = self._services.scan_library(variants, folders)
            rows = rows_of(library, {variant.key: variant for variant in variants})
            self.post_message(self.Scanned(library, rows))

        self.app.in_background(work, "looking through this disk")

    def on_library_screen_scanned(self, message: Scanned) -> None:
        self._library = message.library
        self._list.show(message.rows, "nothing here yet: f5 goes to the models, a adopts weights that lie elsewhere")
        count = len(message.rows)
        self._list.retitle(plain("library", f" {glyphs().dash} {count} on this disk" if count else ""))
        self._show_about()
        self._show_total()
        self.refresh_bindings()

    def on_line_list_highlighted(self) -> None:
        self._show_about()
        self.refresh_bindings()

    def _show_about(self) -> None:
        """All that is known of the row under the cursor."""
        stored = self._list.stored
        width = max(10, self.size.width - 4)
        texts: list[str] = []
        if stored is not None:
            entry = stored.entry
            between = f" {glyphs().dot} "
            texts.append(near_home(entry.path))
            source = (
                f"{entry.model_id} at {(entry.revision or '')[:12]}".removesuffix(" at ") if entry.model_id else None
            )
            known = None
            if stored.variant is not None:
                why = MATCH_WORDS.get(entry.matched_by or "", "you adopted it as that")
                known = f"{stored.name} {stored.quantization} of the catalog: {why}"
            texts.append(joined((source, known), between))
            if entry.problem:
                texts.append(entry.problem)
            if stored.copies:
                texts.append(f"the same bytes lie at {', '.join(map(near_home, stored.copies))}")
            outcome = self._outcomes.get(entry.path)
            if outcome is not None:
                texts += outcome.wrong
                if outcome.unknown and not outcome.wrong:
                    texts.append(f"nobody here knows a sum of {', '.join(outcome.unknown)}; the length is right")
        lines = [part for text in texts if text for part in wrapped(clean(text), width)[:2]]
        self.query_one("#about", Static).update("\n".join(lines[:6]))

    def _show_total(self) -> None:
        library = self._library
        if library is None:
            return
        wasted = sum(found.wasted_bytes for found in library.duplicates)
        words = joined(
            (
                f"{units.file_size(library.total_bytes)} in all",
                f"{units.file_size(wasted)} of it twice" if wasted else None,
                f"disk {units.file_size(library.free_bytes)} free" if library.free_bytes is not None else None,
            ),
            f" {glyphs().dot} ",
        )
        self.query_one("#total", Static).update(words)

    def on_library_screen_happened(self, message: Happened) -> None:
        self.app.say(message.words, severity=message.severity)
        if message.changed:
            self.app.post_message(LibraryChanged())
            self._look()

    # What the hand does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        if action in {"verify", "remove"} and self.is_mounted:
            return self._list.stored is not None
        return True

    def on_stored_list_opened(self) -> None:
        stored = self._list.stored
        if stored is None:
            return
        machine, statuses = self.app.machine, self.app.statuses
        if not stored.entry.whole:
            self.app.say(stored.entry.problem or "it is not whole", severity="warning")
            return
        if machine is None or statuses is None:
            self.app.say("looking at the hardware")
            return
        known, path, name = stored.variant, stored.entry.path, stored.name

        def work() -> None:
            variant = known or self._unknown(path, name)
            if variant is None:
                return
            knowledge = self._services.knowledge((variant,))
            options = self._services.options((variant,), machine, self._wish(), statuses, knowledge, self.app.measured)
            if options:
                self.app.post_message(ChatWanted(self._services.best_option(options), path=path))
            else:
                words = f"no engine of ours takes {variant.spec.format} {variant.quantization}"
                self.post_message(self.Happened(words, severity="warning"))

        self.app.in_background(work, f"judging {clean(name)}")

    def _unknown(self, path: Path, name: str) -> Variant | None:
        """Weights that the catalog does not know, by what they say of themselves; None, and said: not whole."""
        try:
            return next(self._services.local_family(path, name).variants())
        except (BackendError, SpecError, OSError) as error:
            self.post_message(self.Happened(str(error), severity="error"))
            return None

    def _wish(self) -> Wish:
        settings = self.app.settings
        if settings is None:
            return Wish()
        return Wish(context=settings.context, kv_cache_type=settings.kv_cache_type)

    def action_verify(self) -> None:
        """Read every byte and compare the sums; once more stops it."""
        stored = self._list.stored
        if stored is None:
            return
        entry = stored.entry
        running = self._stops.get(entry.path)
        if running is not None:
            running.set()
            return
        stop = self._stops[entry.path] = threading.Event()
        self.app.at_end(stop.set)

        def work() -> None:
            read = shown = 0

            def on_bytes(count: int) -> None:
                nonlocal read, shown
                read += count
                share = read * 100 // max(1, entry.total_bytes)
                if share > shown:
                    shown = share
                    self.post_message(self.Verifying(entry.path, min(1.0, share / 100)))

            outcome: Verification | None = None
            try:
                outcome = self._services.verify_entry(entry, on_bytes, stop)
            except Cancelled:
                pass
            finally:
                self.post_message(self.Verified(entry.path, outcome))

        self._notes[entry.path] = ("verifying 0%", "primary")
        self._list.note(self._notes)
        self.app.in_background(work, f"verifying {stored.name}")

    def on_library_screen_verifying(self, message: Verifying) -> None:
        self._notes[message.path] = (f"verifying {message.share:.0%}", "primary")
        self._list.note(self._notes)

    def on_library_screen_verified(self, message: Verified) -> None:
        self._stops.pop(message.path, None)
        outcome = message.outcome
        if outcome is None:
            self._notes.pop(message.path, None)
        elif not outcome.sound:
            self._notes[message.path] = ("damaged", "error")
        elif outcome.unknown:
            self._notes[message.path] = ("length is right", "success")
        else:
            self._notes[message.path] = ("sums are right", "success")
        if outcome is not None:
            self._outcomes[message.path] = outcome
        self._list.note(self._notes)
        self._show_about()

    def action_remove(self) -> None:
        """Find out what would go, and ask."""
        stored = self._list.stored
        if stored is not None:
            entry = stored.entry
            others = self._library.entries if self._library is not None else ()

            def work() -> None:
                self.post_message(self.RemovalPlanned(self._services.plan_removal(entry, others)))

            self.app.in_background(work, f"looking at what else needs {stored.name}")

    def on_library_screen_removal_planned(self, message: RemovalPlanned) -> None:
        plan = message.plan
        lines = [f"{clean(plan.entry.name)} at {near_home(plan.entry.path)}"]
        if plan.foreign:
            one = len(plan.paths) == 1
            what, missed = ("This file is", "it") if one else ("These files are", "them")
            lines.append(f"{what} {plan.owner}'s own, and {plan.owner} will miss {missed}.")
        if plan.paths:
            files, freed = units.counted(len(plan.paths), "file"), units.file_size(plan.freed_bytes)
            lines.append(f"{files} will go, which frees {freed}.")
        lines += list(plan.kept[:MOST_KEPT])
        if len(plan.kept) > MOST_KEPT:
            lines.append(f"and {len(plan.kept) - MOST_KEPT} more that stay")

        def answered(yes: bool | None) -> None:
            if yes:
                self.app.in_background(partial(self._remove, plan), f"removing {clean(plan.entry.name)}")

        from tui.screens.ask import Ask

        title = f"Remove what is {plan.owner}'s?" if plan.foreign else "Remove it from this disk?"
        if not plan.paths:
            title = "Take it off the list?"
        self.app.push_screen(Ask(title, "\n".join(lines)), answered)

    def _remove(self, plan: RemovalPlan) -> None:
        try:
            freed = self._services.remove_entry(plan, self._families())
        except (BackendError, OSError) as error:
            self.post_message(self.Happened(str(error), severity="error", changed=True))
            return
        adopted = not plan.paths and not plan.freed_bytes
        words = f"{clean(plan.entry.name)} is off the list" if adopted else f"{units.file_size(freed)} freed"
        self.post_message(self.Happened(words, changed=True))
        if adopted:
            self.app.read_catalog()

    def _families(self) -> Sequence[ModelFamily]:
        return self.app.catalog.families if self.app.catalog is not None else ()

    def action_adopt(self) -> None:
        """Ask for a path, and make weights that lie there a family of the user's own."""
        from tui.screens.ask_line import AskLine

        stored = self._list.stored
        start = str(stored.entry.path) if stored is not None and stored.variant is None else ""

        def answered(text: str | None) -> None:
            if text and text.strip():
                self.app.in_background(partial(self._adopt, Path(text.strip())), "adopting weights")

        title = "Adopt weights: a GGUF file, or a folder with safetensors"
        self.app.push_screen(AskLine(title, start, placeholder="~/models/some-model-Q4_K_M.gguf"), answered)

    def _adopt(self, path: Path) -> None:
        try:
            adopted = self._services.adopt(path, self._families())
        except (BackendError, SpecError, OSError) as error:
            self.post_message(self.Happened(str(error), severity="error"))
            return
        name = clean(adopted.variant.family.name)
        if adopted.spec_file is not None:
            words = f"{name} is in your catalog now; its spec file is {adopted.spec_file}"
        else:
            words = f"it is the catalog's {name} {clean(adopted.variant.quantization)}, and noted as that"
        self.post_message(self.Happened(words, changed=True))
        self.app.read_catalog()

    def action_look(self) -> None:
        self._look()

    def action_back(self) -> None:
        self.app.action_mode("browse")
