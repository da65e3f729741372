"""What all screens share: values that background work finds out, and the way to find them out."""

from __future__ import annotations

import logging
import math
import threading
import time
from asyncio import sleep
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from textual._styles_cache import StylesCache
from textual.app import App
from textual.message import Message
from textual.reactive import reactive

from tui.services import Library, MachineWatch, Measured, NothingHere, Services, Statuses
from tui.widgets.lines import clean

if TYPE_CHECKING:
    from textual.notifications import Notify

    from backends.at_work import Crashed
    from backends.downloads import Job
    from backends.fit import Option
    from backends.machine.model import Machine
    from backends.measurements import Load
    from specs.catalog import Catalog
    from specs.model import ModelFamily
    from tui.settings import Settings

logger = logging.getLogger("modeldeck")

CLOSE_SECONDS = 0.1
"""How long the end waits for engines and downloads to let go; what is slower ends with the process."""
READING_DISK = "reading what lies on this disk"


class State(App[int]):
    """The values of the app that screens bind to, and work away from the screen's thread."""

    catalog: reactive[Catalog | None] = reactive(None, repaint=False, always_update=True)
    """None while it is read."""
    guests: reactive[tuple[ModelFamily, ...]] = reactive((), repaint=False)
    """Families made of repositories that are not in the catalog, until they are kept."""
    machine: reactive[Machine | None] = reactive(None, repaint=False)
    """This machine as it stands; None while it is looked at."""
    statuses: reactive[Statuses | None] = reactive(None, repaint=False)
    library: reactive[Library | None] = reactive(None, repaint=False)
    measured: reactive[Measured] = reactive(Measured, repaint=False)
    """What loads on this machine took."""
    host_bandwidth: reactive[int | None] = reactive(None, repaint=False)
    """Measured bandwidth of the host's memory in bytes a second; None: not measured in this run."""
    crashed_loads: reactive[tuple[Crashed, ...]] = reactive((), repaint=False)
    """Models that took the app down last time; in this one they are loaded apart."""
    jobs: reactive[Mapping[str, Job]] = reactive(dict, repaint=False, always_update=True)
    """Downloads by ID, in the queue's order."""
    notices: reactive[tuple[str, ...]] = reactive((), repaint=False)
    """What went wrong without stopping anything: spec files, devices, background work."""

    class Learned(Message):
        """Background work found out a value of the app."""

        def __init__(self, name: str, value: object, turn: int = 0) -> None:
            super().__init__()
            self.name = name
            self.value = value
            self.turn = turn
            """The number of the question; a later one has a higher number. 0: nobody asked."""

    class Said(Message):
        """Background work has something to say."""

        def __init__(self, words: str) -> None:
            super().__init__()
            self.words = words

    class Failed(Message):
        """Background work raised; shown as a notice."""

        def __init__(self, what: str, error: BaseException) -> None:
            super().__init__()
            self.what = what
            self.error = error

    def __init__(self, services: Services | None = None) -> None:
        super().__init__()
        services = services or Services()
        self._kept_loads = services.record_load
        self.services = replace(services, record_load=self._record_load)
        self.settings: Settings | None = None
        self._closers: list[Callable[[], object]] = []
        self._turns = count(1)
        self._answered: dict[str, int] = {}
        """The latest question about each value that has its answer."""
        self._refreshing = False
        self._watch: MachineWatch | None = None
        self._measured_read = False
        self._trouble_said = -math.inf

    def in_background(self, work: Callable[[], None], what: str) -> None:
        """Run work that only posts messages; what it raises becomes a notice."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:
                logger.exception(what)
                self._post(self.Failed(what, error))

        self.services.background(guarded)

    def learn(self, name: str, find: Callable[[], object], what: str) -> None:
        """Find a value of the app in the background and take it over, unless a later question was answered before.

        Safe from any thread.
        """
        turn = self.next_turn()
        self.in_background(lambda: self._post(self.Learned(name, find(), turn)), what)

    def next_turn(self) -> int:
        """The number of a question that is asked now; safe from any thread."""
        return next(self._turns)

    def read_catalog(self) -> None:
        """Read the spec files, again when some were added; safe from any thread."""
        self.learn("catalog", self.services.load_catalog, "reading the catalog")

    def _post(self, message: Message) -> None:
        try:
            self.post_message(message)
        except RuntimeError:
            logger.debug("%s came after the end", type(message).__name__)

    def on_state_learned(self, message: Learned) -> None:
        if message.name == "machine":
            self._refreshing = False
        if message.turn:
            if message.turn < self._answered.get(message.name, 0):
                return  # it was looked at before what is known by now
            self._answered[message.name] = message.turn
        setattr(self, message.name, message.value)

    def validate_machine(self, machine: Machine | None) -> Machine | None:
        """A look at the machine measures no bandwidth: what was measured before stays."""
        if machine is not None and machine.host_bandwidth_bytes_per_second is None and self.host_bandwidth is not None:
            return replace(machine, host_bandwidth_bytes_per_second=self.host_bandwidth)
        return machine

    def watch_host_bandwidth(self) -> None:
        if self.machine is not None:
            self.machine = replace(self.machine, host_bandwidth_bytes_per_second=self.host_bandwidth)

    def _measure_bandwidth(self) -> None:
        """Measure the memory once the start is over, because whatever else the machine does disturbs it."""
        machine = self.machine
        if machine is not None:
            self.learn("host_bandwidth", lambda: self.services.measure_bandwidth(machine), "measuring the memory")

    def on_state_failed(self, message: Failed) -> None:
        self._refreshing = False
        self.notice(f"{message.what}: {message.error}")
        if message.what == READING_DISK and self.library is None:
            self.library = NothingHere()
        if message.what.startswith("planning"):
            self.say(str(message.error), severity="error")

    def on_state_said(self, message: Said) -> None:
        self.say(message.words)

    def watch_catalog(self, catalog: Catalog | None) -> None:
        if catalog is not None:
            for problem in catalog.problems:
                self.notice(problem)

    def watch_machine(self, machine: Machine | None) -> None:
        if machine is not None:
            for warning in machine.warnings:
                self.notice(warning)
            if not self._measured_read:
                self._measured_read = True
                self.read_measured()
                self.set_timer(self.services.bandwidth_seconds, self._measure_bandwidth)

    def notice(self, text: str) -> None:
        """Keep a line for the notices; each is kept once."""
        line = clean(text)
        if line not in self.notices:
            self.notices = (*self.notices, line)

    def say(self, text: str, *, severity: str = "information", instead_of: str = "") -> None:
        """Say something in a corner for some seconds, as literal text, instead of what it brings to its end."""
        for told in [one for one in self._notifications if instead_of and one.message == clean(instead_of)]:
            del self._notifications[told]
        if severity != "information":
            self._trouble_said = time.monotonic()
        self.notify(clean(text), severity=severity, markup=False)  # type: ignore[arg-type]

    def hush(self) -> None:
        """Take away what was said in passing, on a screen that shows it; trouble stays its time."""
        if time.monotonic() - self._trouble_said > self.NOTIFICATION_TIMEOUT:
            self.clear_notifications()

    def on_notify(self, message: Notify) -> None:
        from tui.toasts import make_room, sweep

        make_room(self._notifications, message.notification, self.size)
        sweep((screen for stack in self._screen_stacks.values() for screen in stack), self._notifications)

    def room_note(self, option: Option) -> str:  # noqa: ARG002 - the app that talks to models knows
        """What of ours would make room for something that does not fit; "": nothing."""
        return ""

    def action_mode(self, mode: str) -> None:
        """Go to browse, downloads or chat."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.switch_mode(mode)

    def _refresh_machine(self) -> None:
        """Look at the memory again, unless nobody sees it or the last look is not back."""
        # Textual keeps the lines of the last 1,024 widgets in it, of those that are long gone too.
        StylesCache.get_inner_outer.cache_clear()
        if self._refreshing or not getattr(self.screen, "shows_machine", False):
            return
        machine = self.machine
        if machine is None:
            return
        self._refreshing = True
        if self._watch is None:
            self._watch = self.services.open_watch(machine)
            self.at_end(self._watch.close)
        self.learn("machine", self._watch.sample, "looking at the hardware")

    def read_measured(self) -> None:
        """Take over what loads on this machine took until now; safe from any thread."""
        machine = self.machine
        if machine is not None:
            self.learn("measured", lambda: self.services.measured(machine), "reading what earlier loads took")

    def _record_load(self, machine: Machine, load: Load) -> None:
        """Called from engines' threads and from our own."""
        self._kept_loads(machine, load)
        self.read_measured()

    def at_end(self, close: Callable[[], object]) -> None:
        """Have something closed when the app ends."""
        self._closers.append(close)

    async def _close_all_services(self) -> None:
        """Let engines and downloads stop, all at once, and wait for them no longer than the eye notices."""

        def closing(close: Callable[[], object]) -> None:
            try:
                close()
            except Exception:
                logger.exception("closing")

        closers, self._closers = self._closers, []
        threads = [threading.Thread(target=closing, args=(close,), daemon=True) for close in closers]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + CLOSE_SECONDS
        while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
            await sleep(0.005)
