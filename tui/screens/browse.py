"""The browse screen: families on the left, the fit matrix of one of them on the right."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.reactive import reactive
from textual.timer import Timer

from backends.defaults import DEFAULT_CONTEXT
from tui import units
from tui.asking import EngineQuestions
from tui.family_rows import FamilyRows, Filter, lying_here
from tui.forgetting import ask_to_forget
from tui.judge_work import Ground, JudgeWork
from tui.keys import BROWSE
from tui.messages import ChatWanted, DownloadWanted, FamilyKept
from tui.screens.browse_messages import DiskRead, EngineTold, FamilyJudged, HubsTold, ListJudged
from tui.screens.steady import SteadyScreen
from tui.services import Measured, Services
from tui.told import Question, Told
from tui.widgets.cell_detail import CellDetail
from tui.widgets.cell_words import cell_title, disk_note, family_title, why_words
from tui.widgets.family_list import FamilyList
from tui.widgets.fit_matrix import FitMatrix
from tui.widgets.hardware_strip import HardwareStrip
from tui.widgets.key_line import KeyLine
from tui.widgets.line_list import LineList
from tui.widgets.lines import clean
from tui.widgets.too_small import TooSmall
from tui.wishes import next_cache_type, next_context, wish_for

if TYPE_CHECKING:
    from backends.fit import Correction, Option, Wish
    from backends.machine.model import Machine
    from specs.model import ModelFamily, Variant
    from tui.judging import Judged
    from tui.state import State

BURST_SECONDS = 0.15
"""Cursor moves closer together than this count as one: the family is drawn when they end."""


class Frame(Container):
    """Where panels stand beside or above each other; nothing of its own is drawn."""

    BLANK = True


class Browse(SteadyScreen[None]):
    """What is there, and what of it runs here."""

    # Its stylesheet, browse.tcss beside it, is the app's: parsed once with it, before the first frame.
    AUTO_FOCUS = "#families"
    BLANK = True
    shows_machine = True
    """Whether the app looks at the hardware again and again while this screen is on top."""
    BINDINGS: ClassVar[list[BindingType]] = [*BROWSE]

    context: reactive[int] = reactive(DEFAULT_CONTEXT, repaint=False)
    """Tokens to judge at."""
    kv_cache_type: reactive[str] = reactive("f16", repaint=False)
    what_if: reactive[Machine | None] = reactive(None, repaint=False)
    """A machine to judge for that is not this one; None: this one."""
    fits_only: reactive[bool] = reactive(False, repaint=False)
    on_disk_only: reactive[bool] = reactive(False, repaint=False)

    app: State

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._rows = FamilyRows()
        self._keys_on_disk: frozenset[str] = frozenset()
        self._judged: Judged | None = None
        self._family: ModelFamily | None = None
        self._engine: str | None = None
        self._moved_at = 0.0
        self._family_timer: Timer | None = None
        self._judge_timer: Timer | None = None
        self._told = Told()
        self._named: Variant | None = None
        """The variant that was asked for by name; the cursor stays on it."""
        self._wished = ""
        """What the user asked of the cell before it was known which one it is."""

    def compose(self) -> ComposeResult:
        yield HardwareStrip()
        with Frame(id="body"):
            yield FamilyList()
            with Frame(id="family"):
                yield FitMatrix()
                yield CellDetail()
        yield KeyLine()
        yield TooSmall()

    def on_mount(self) -> None:
        self._list = self.query_one(FamilyList)
        self._matrix = self.query_one(FitMatrix)
        self._detail = self.query_one(CellDetail)
        self._strip = self.query_one(HardwareStrip)
        app = self.app
        self._work = JudgeWork(self._services, app.in_background, self.post_message, lambda: not self.is_attached)
        self._questions = EngineQuestions(self, self._services, self._told, app.in_background, self._question)
        if app.settings is not None:
            self.set_reactive(Browse.context, app.settings.context or DEFAULT_CONTEXT)
            self.set_reactive(Browse.kv_cache_type, app.settings.kv_cache_type)
        self.watch(app, "catalog", self._catalog_changed)
        self.watch(app, "machine", self._machine_changed)
        self.watch(app, "statuses", self._statuses_changed, init=False)
        self.watch(app, "library", self._library_changed, init=False)
        self.watch(app, "jobs", self._jobs_changed)
        self.watch(app, "guests", self._catalog_changed, init=False)
        self.watch(app, "measured", self._measured_changed, init=False)
        self.watch(app, "notices", self._show_strip, init=False)
        self.watch(self._list, "typing", self._typing_changed, init=False)

    def on_screen_suspend(self) -> None:
        # Whoever comes back presses keys, and would be surprised to find them in the filter.
        self._list.typing = False

    # State that comes from the app

    def _catalog_changed(self) -> None:
        chosen = self._family
        self._rows = FamilyRows(self.app.catalog, self.app.guests)
        self._show_rows(chosen)
        self._judge_soon()
        self._library_changed()
        self.refresh_bindings()

    def _machine_changed(self) -> None:
        self._show_strip()
        machine = self.app.machine
        if self.what_if is not None or machine is None:
            return
        if self._work.list_is_stale(machine):
            self._judge_soon()
        elif self._work.family_is_stale(machine):
            self._judge_family()

    def _statuses_changed(self) -> None:
        self._judge_soon()

    def _measured_changed(self) -> None:
        self._judge_soon()
        self.refresh_bindings()

    def _library_changed(self) -> None:
        library = self.app.library
        families = self._rows.families
        if library is None or not families:
            return

        def read() -> None:
            self.post_message(DiskRead(*lying_here(families, library)))

        self._services.background(read)

    @on(DiskRead)
    def _disk_read(self, message: DiskRead) -> None:
        self._keys_on_disk, self._rows.on_disk = message.keys, message.families
        self._list.judge(self._rows.verdicts, self._rows.on_disk)
        self._jobs_changed()
        if self.on_disk_only:
            self._show_rows(self._family)
        self._judge_family()

    def _jobs_changed(self) -> None:
        shares = {
            job.plan.variant.key: round(job.progress.done_bytes / job.progress.total_bytes, 2)
            for job in self.app.jobs.values()
            if job.progress.state in {"running", "queued", "paused", "verifying"} and job.progress.total_bytes
        }
        self._matrix.mark(self._keys_on_disk, shares)

    # The list

    def _show_rows(self, keep: ModelFamily | None = None) -> None:
        """Filter the families and show them, with the cursor where it was if that row is still there."""
        wanted = Filter(self._list.query_text, self.fits_only, self.on_disk_only)
        rows = self._rows.shown(wanted)
        index = self._rows.find(keep.name) if keep is not None else None
        cursor = next((row for row, found in enumerate(rows) if found == index), 0)
        empty = wanted.empty_words(has_catalog=self.app.catalog is not None)
        self._list.show(self._rows.families, rows, cursor=cursor, empty=empty, note=wanted.note)
        self._show_family_soon(at_once=not self._family)

    def _typing_changed(self, typing: bool) -> None:
        if typing:
            self._services.background(self._rows.make_ready)

    def on_family_list_filter_changed(self) -> None:
        self._show_rows(self._family)

    def on_line_list_highlighted(self, message: LineList.Highlighted) -> None:
        message.stop()
        now = time.monotonic()
        burst = now - self._moved_at < BURST_SECONDS
        self._moved_at = now
        self._show_family_soon(burst=burst)

    def _show_family_soon(self, *, at_once: bool = False, burst: bool = True) -> None:
        if self._family_timer is not None:
            self._family_timer.stop()
            self._family_timer = None
        if at_once or not self._services.settle_seconds:
            self._show_family()
        else:
            wait = self._services.settle_seconds * (2 if burst else 0.5)
            self._family_timer = self.set_timer(wait, self._show_family)

    def _show_family(self) -> None:
        family = self._list.family
        if family is self._family and family is not None:
            return
        self._family = family
        self._judged = None
        self._wished = ""
        self._matrix.show(family)
        self._matrix.retitle(family_title(family))
        if self.app.guests:
            self.refresh_bindings()
        self._show_cell()
        self._judge_family()

    def open_family(self, name: str, variant: Variant | None = None) -> None:
        """Show a family by name, whatever the filter, with the cursor on one of its variants."""
        index = self._rows.find(name)
        if index is None:
            return
        self._list.query_text = ""
        self.fits_only = self.on_disk_only = False
        self._show_rows(self._rows.families[index])
        self._show_family()
        self._enter_family()
        self._named = variant
        if variant is not None:
            self._matrix.go_to(variant)

    def on_family_list_opened(self) -> None:
        self._show_family()
        self._enter_family()

    def _enter_family(self) -> None:
        self.add_class("-family")
        self._matrix.focus()
        self._ask_hubs()
        self._questions.soon()

    def _ask_hubs(self) -> None:
        """Ask the hubs for exact sizes of the family that was opened, once, without anybody waiting for it."""
        family = self._family
        if family is None or not self._told.first_time(family.name):
            return

        def work() -> None:
            variants = tuple(v for v in family.variants() if v.key not in self._keys_on_disk)
            self.post_message(HubsTold(self._services.hub_knowledge(variants)))

        self.app.in_background(work, f"asking the hubs about {clean(family.name)}")

    @on(HubsTold)
    def _hubs_told(self, message: HubsTold) -> None:
        if message.knowledge:
            self._told.hubs_told(message.knowledge)
            self._judge_family()

    def _question(self) -> Question | None:
        """What llama.cpp may be asked of this cell: a header is fetched only of a family that was opened."""
        variant = self._matrix.variant
        path = self._path_of(variant)
        if path is None and not self.has_class("-family"):
            return None
        return self._told.question(self.option, self.kv_cache_type, path)

    @on(EngineTold)
    def _engine_told(self, message: EngineTold) -> None:
        if (
            self._told.engine_told(message.question, message.knowledge)
            and message.question.variant.family is self._family
        ):
            self._judge_family()
        self._questions.soon()

    def on_fit_matrix_left(self) -> None:
        self._leave_family()

    def _leave_family(self) -> None:
        self.remove_class("-family")
        self._list.focus()

    # Judging

    def judged_machine(self) -> Machine | None:
        """The machine that verdicts are for."""
        return self.what_if or self.app.machine

    def measured(self) -> Measured:
        """What loads took on the machine that verdicts are for: nothing is known of another than this one."""
        return Measured() if self.what_if is not None else self.app.measured

    def wish(self, family: ModelFamily | None = None) -> Wish:
        """What the user asks of a load; a family's own context where it is shorter."""
        return wish_for(family, self.context, self.kv_cache_type)

    def _judge_soon(self) -> None:
        """Judge the family at once and the list when the hand rests."""
        self._judge_family()
        if self._judge_timer is not None:
            self._judge_timer.stop()
            self._judge_timer = None
        if self._services.settle_seconds:
            self._judge_timer = self.set_timer(self._services.settle_seconds * 2, self._judge_list)
        else:
            self._judge_list()

    def _ground(self) -> Ground | None:
        """What verdicts are for; None: it is not known yet."""
        machine, statuses = self.judged_machine(), self.app.statuses
        return Ground(machine, statuses, self.measured()) if machine is not None and statuses is not None else None

    def _judge_list(self) -> None:
        ground = self._ground()
        if ground is not None and self._rows.families:
            self._work.judge_list(self._rows.families, ground, self.wish())

    @on(ListJudged)
    def _list_judged(self, message: ListJudged) -> None:
        if not self._work.is_wanted(message):
            return
        self._rows.verdicts = message.verdicts
        self._list.judge(self._rows.verdicts, self._rows.on_disk)
        if self.fits_only:
            self._show_rows(self._family)

    def _judge_family(self) -> None:
        family, ground = self._family, self._ground()
        if family is None or ground is None:
            self._show_cell()
            return
        beside = partial(self._told.beside, cache_type=self.kv_cache_type)
        self._work.judge_family(family, ground, self.wish(family), beside)

    @on(FamilyJudged)
    def _family_judged(self, message: FamilyJudged) -> None:
        if not self._work.is_wanted(message) or message.judged.family is not self._family:
            return
        first = self._judged is None
        self._judged = message.judged
        self._matrix.judge(self._judged.chosen(self._engine))
        named, self._named = self._named, None
        if first and not self._matrix.has_focus and named is None:
            best = self._judged.best_start(self._keys_on_disk)
            if best is not None:
                self._matrix.go_to(best)
        self._show_cell()
        wished, self._wished = self._wished, ""
        if wished:
            self.action_cell(wished)

    def _watched(self) -> None:
        if self.is_mounted and self.app.catalog is not None:
            self._show_strip()
            self._judge_soon()

    def watch_context(self) -> None:
        self._watched()

    def watch_kv_cache_type(self) -> None:
        self._watched()

    def watch_what_if(self) -> None:
        self.set_class(self.what_if is not None, "-what-if")
        self._watched()

    def watch_fits_only(self) -> None:
        if self.is_mounted:
            self._show_rows(self._family)

    def watch_on_disk_only(self) -> None:
        if self.is_mounted:
            self._show_rows(self._family)

    # The cell under the cursor

    @property
    def option(self) -> Option | None:
        """The option of the cell under the cursor."""
        variant = self._matrix.variant
        if variant is None or self._judged is None:
            return None
        return self._judged.option(variant, self._engine)

    def busy_with_other(self, variant: Variant) -> bool:
        """Whether the user looks at another cell than this, or for another family."""
        return self._list.typing or self._matrix.variant != variant

    def on_fit_matrix_cell_highlighted(self) -> None:
        self._show_cell()

    def _show_cell(self) -> None:
        if not self.is_mounted:
            return
        option = self.option
        variant = self._matrix.variant
        library = self.app.library
        path = self._path_of(variant)
        checked = library.checked(variant) if path is not None and library is not None and variant is not None else None
        self._detail.retitle(cell_title(variant, self._judged, option))
        self._detail.show(
            option,
            disk_note=disk_note(variant, self.app.jobs.values(), path, checked),
            kv_cache_type=self.kv_cache_type,
            waiting=self._waiting_words(variant),
            room_note=self.app.room_note(option) if option is not None and self.what_if is None else "",
        )
        self._questions.soon()

    def _path_of(self, variant: Variant | None) -> Path | None:
        """Where a variant's weights lie on this disk."""
        library = self.app.library
        if variant is None or library is None or variant.key not in self._keys_on_disk:
            return None
        return library.path(variant)

    def _waiting_words(self, variant: Variant | None) -> str:
        if self._family is None:
            return "choose a family in the list" if self._list.row_count else ""
        if self.judged_machine() is None:
            return "looking at the hardware"
        if variant is not None and self._judged is not None:
            return f"no engine takes {variant.spec.format} {variant.quantization}"
        return "judging"

    def _show_strip(self) -> None:
        words = f"ctx {units.count(self.context)}"
        if self.kv_cache_type != "f16":
            words += f" {self.kv_cache_type}"
        self._strip.show(self.judged_machine(), words, len(self.app.notices))

    # What the hand does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "cell" and parameters != ("download",):
            return bool(self.query_one("#family").display)
        if action == "keep":
            return self._family is not None and self._family in self.app.guests
        if action == "forget_loads":
            return self._correction_of(self.option) is not None
        if action == "back":
            return self.has_class("-family") or self._matrix.has_focus or bool(self._list.query_text)
        return True

    def action_search(self) -> None:
        self.remove_class("-family")
        self._list.focus()
        self._list.typing = True

    def action_back(self) -> None:
        if self._matrix.has_focus:
            self._leave_family()
        else:
            self._list.query_text = ""

    @property
    def list_query(self) -> str:
        """What the list is filtered by."""
        return self._list.query_text

    def action_keep(self) -> None:
        """Put the family that is shown into the user's own catalog."""
        if self._family is not None:
            self.post_message(FamilyKept(self._family))

    def action_other_side(self) -> None:
        if self._matrix.has_focus:
            self._leave_family()
        else:
            self.on_family_list_opened()

    def action_context(self, steps: int) -> None:
        self.context = next_context(self.context, steps)

    def action_kv_cache(self) -> None:
        self.kv_cache_type = next_cache_type(self.kv_cache_type)

    def action_fits(self) -> None:
        self.fits_only = not self.fits_only

    def action_on_disk(self) -> None:
        self.on_disk_only = not self.on_disk_only

    def action_machine(self) -> None:
        from tui.screens.machines import MachinePicker  # mounted late, as every screen but this one

        def choose(machine: Machine | None) -> None:
            if machine is not None:
                self.what_if = machine if machine.label else None

        self.app.push_screen(MachinePicker(self._services, self.app.machine, self.what_if), choose)

    def action_hardware(self) -> None:
        from tui.screens.hardware import Hardware

        machine = self.judged_machine()
        if machine is not None:
            self.app.push_screen(Hardware(machine))

    def on_fit_matrix_opened(self) -> None:
        self._act_on_cell("chat")

    def action_cell(self, wish: str) -> None:
        """Act on the cell that is shown: "download", "beside" or "engine"."""
        self._show_family()
        if not self._matrix.display or not self.query_one("#family").display:
            # Where the list stands alone nobody sees which cell is meant: show it first.
            self.on_family_list_opened()
        elif self._judged is None and not self._matrix.has_focus:
            self._wished = wish
        else:
            self._act_on_cell(wish)

    def _act_on_cell(self, wish: str) -> None:
        variant, option = self._matrix.variant, self.option
        if variant is None:
            return
        if wish == "download":
            self.post_message(DownloadWanted(variant))
        elif wish == "engine":
            self._next_engine(variant)
        elif option is None:
            self.app.say(self._waiting_words(variant))
        else:
            self.post_message(ChatWanted(option, beside=wish == "beside"))

    def _correction_of(self, option: Option | None) -> Correction | None:
        """What loads here changed of this option's memory."""
        if option is None:
            return None
        return self.measured().corrections.get((option.engine, option.variant.spec.format))

    def action_forget_loads(self) -> None:
        """Take the estimate as it was before anything was loaded here."""
        option = self.option
        correction = self._correction_of(option)
        if option is not None and correction is not None:
            ask_to_forget(self.app, option, correction)

    def _next_engine(self, variant: Variant) -> None:
        engines = [option.engine for option in self._judged.of_variant(variant)] if self._judged else []
        chosen = self.option
        if chosen is None or len(engines) < 2:
            self.app.say(f"no other engine of ours takes {variant.spec.format} {variant.quantization}")
            return
        self._engine = engines[(engines.index(chosen.engine) + 1) % len(engines)]
        assert self._judged is not None
        self._matrix.judge(self._judged.chosen(self._engine))
        self._show_cell()
        why = why_words(self._engine, self._judged.of_variant(variant), self.app.statuses)
        if why:
            self.app.say(why)
