"""The app: what all screens share, and what they send each other to."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time
from asyncio import get_running_loop, sleep
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.message import Message
from textual.reactive import reactive
from textual.screen import Screen

from tui import units
from tui.glyphs import ASCII, glyphs
from tui.keys import APP
from tui.messages import ChatWanted, DownloadWanted, JobChanged, LibraryChanged, LoadAndTalk, LoadWanted
from tui.services import DownloadQueue, Library, MachineWatch, Measured, NothingHere, Services, Statuses
from tui.themes import DARK, LIGHT, THEMES, default_theme, fallback_variables
from tui.widgets.lines import clean

if TYPE_CHECKING:
    from backends.at_work import Crashed
    from backends.downloads import Job, Plan
    from backends.engines.remote import RemoteModel
    from backends.errors import AccessDenied
    from backends.fit import Option
    from backends.loaded import LoadRequest
    from backends.machine.model import Machine
    from backends.measurements import Load
    from specs.catalog import Catalog
    from specs.model import ModelFamily, Variant
    from tui.settings import Settings
    from tui.widgets.chat_pane import ChatPane

logger = logging.getLogger("modeldeck")

CLOSE_SECONDS = 0.1
"""How long the end waits for engines and downloads to let go; what is slower ends with the process."""
ENOUGH_TOKENS = 16
"""Decoded tokens below which an answer's speed says little."""
READING_DISK = "reading what lies on this disk"


def _palette_provider() -> type[Provider]:
    from tui.palette import Everything  # Textual's command palette is loaded when first asked for

    return Everything


class Deck(App[int]):
    """Browse, downloads and chat, each built when first shown."""

    TITLE = "modeldeck"
    CSS_PATH = ["app.tcss", "screens/browse.tcss"]  # noqa: RUF012
    DEFAULT_MODE = "browse"
    BINDINGS: ClassVar[list[BindingType]] = [*APP]
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_palette_provider}
    PAUSE_GC_ON_SCROLL = True
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny-width"), (40, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-tiny-height"), (10, "-low"), (30, "-tall")]  # noqa: RUF012

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
    crashed_loads: reactive[tuple[Crashed, ...]] = reactive((), repaint=False)
    """Models that took the app down last time; in this one they are loaded apart."""
    jobs: reactive[Mapping[str, Job]] = reactive(dict, repaint=False, always_update=True)
    """Downloads by ID, in the queue's order."""
    notices: reactive[tuple[str, ...]] = reactive((), repaint=False)
    """What went wrong without stopping anything: spec files, devices, background work."""

    class Learned(Message):
        """Background work found out a value of the app."""

        def __init__(self, name: str, value: object) -> None:
            super().__init__()
            self.name = name
            self.value = value

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

    class ServerTold(Message):
        """A server named its models, or did not."""

        def __init__(
            self, url: str, key_variable: str | None, models: tuple[RemoteModel, ...], problem: str = ""
        ) -> None:
            super().__init__()
            self.url = url
            self.key_variable = key_variable
            self.models = models
            self.problem = problem

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

    def __init__(
        self,
        services: Services | None = None,
        *,
        theme: str | None = None,
        launch: Option | None = None,
        request: LoadRequest | None = None,
        conversation: str | None = None,
    ) -> None:
        super().__init__()
        services = services or Services()
        self._kept_loads = services.record_load
        self.services = replace(services, record_load=self._record_load)
        self.settings: Settings | None = None
        self.queue: DownloadQueue | None = None
        self.leave: Callable[[int], NoReturn] | None = None
        """Ends the process once the terminal is given back; None: Textual takes all its widgets down first."""
        self._launch = launch
        self._request = request
        self._conversation = conversation
        self._before_library: ChatWanted | None = None
        """A chat that was asked for before it was known what lies on this disk."""
        self._awaited: ChatWanted | None = None
        """The chat to open when its download is whole, unless the user has moved on."""
        self._closers: list[Callable[[], object]] = []
        self._queue_lock = threading.Lock()
        self._refreshing = False
        self._watch: MachineWatch | None = None
        self._measured_read = False
        self._hub_query = ""
        self._modes = {
            "browse": self._browse,
            "downloads": self._downloads,
            "chat": self._chat,
            "library": self._library,
            "hubs": self._hubs,
        }
        for own in THEMES:
            self.register_theme(own)
        wanted = theme if theme not in {None, "modeldeck"} else default_theme()
        self.theme = wanted if wanted in self.available_themes else default_theme()

    def adopt_settings(self, settings: Settings) -> None:
        """Take over what the user chose: keys, context, notices about the file itself."""
        if settings.keys:
            self.set_keymap(dict(settings.keys))
        if settings.low_bandwidth:
            self.animation_level = "none"
        self.settings = settings
        for problem in settings.problems:
            self.notice(problem)

    def _browse(self) -> Screen[None]:
        from tui.screens.browse import Browse

        screen = Browse(self.services)
        # Its rules are parsed already: without this Textual would parse everything again before the first frame.
        screen._css_update_count = self._css_update_count
        return screen

    def _downloads(self) -> Screen[None]:
        from tui.screens.downloads import Downloads

        return Downloads(self.services)

    def _hubs(self) -> Screen[None]:
        from tui.screens.hubs import HubSearch

        return HubSearch(self.services, self._hub_query)

    def _library(self) -> Screen[None]:
        from tui.screens.library import LibraryScreen

        return LibraryScreen(self.services)

    def _chat(self) -> Screen[None]:
        from tui.screens.chat import ChatScreen

        return ChatScreen(conversation=self._conversation)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return fallback_variables(self.current_theme)

    def get_key_display(self, binding: Binding) -> str:
        """Keys as people say them: "ctrl+r", not "^r"."""
        return binding.key_display or super().get_key_display(binding).replace("^", "ctrl+")

    def on_mount(self) -> None:
        self.set_class(glyphs() is ASCII, "-ascii")
        if not self.is_headless:
            self._listen_to_signals()
            self._take_title()
        self.call_after_refresh(self._learn_everything)

    def _listen_to_signals(self) -> None:
        """End as after ctrl+q when asked from outside, so that the terminal is left as it was found."""
        loop = get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, partial(self.exit, return_code=128 + number))

    def _learn_everything(self) -> None:
        """Read the catalog and look at the machine, once the first frame stands."""
        # What is alive now stays alive: the collector need not walk it again.
        gc.freeze()
        gc.enable()
        services = self.services
        self.learn("statuses", services.statuses, "looking for engines")
        self.learn("machine", services.detect_machine, "looking at the hardware")
        self.read_catalog()
        self.learn("library", services.local_index, READING_DISK)
        self.learn("crashed_loads", services.crashed_loads, "looking for what ended the app last time")
        if services.refresh_seconds:
            self.set_interval(services.refresh_seconds, self._refresh_machine)
        if self._launch is not None:
            self.post_message(ChatWanted(self._launch))
        if self._request is not None:
            self._talk_to(self._request)

    # Work away from the screen's thread

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
        """Find a value of the app in the background and take it over."""
        self.in_background(lambda: self._post(self.Learned(name, find())), what)

    def read_catalog(self) -> None:
        """Read the spec files, again when some were added; safe from any thread."""
        self.learn("catalog", self.services.load_catalog, "reading the catalog")

    def _post(self, message: Message) -> None:
        try:
            self.post_message(message)
        except RuntimeError:
            logger.debug("%s came after the end", type(message).__name__)

    def on_deck_learned(self, message: Learned) -> None:
        if message.name == "machine":
            self._refreshing = False
        setattr(self, message.name, message.value)

    def on_deck_failed(self, message: Failed) -> None:
        self._refreshing = False
        self.notice(f"{message.what}: {message.error}")
        if message.what == READING_DISK and self.library is None:
            self.library = NothingHere()
        if message.what.startswith("planning"):
            self.say(str(message.error), severity="error")

    def watch_crashed_loads(self, crashed_loads: tuple[Crashed, ...]) -> None:
        for one in crashed_loads:
            line = (
                f"the app ended last time while {one.engine} held {one.name}; "
                "this time it is loaded in a process of its own, so that a crash ends its pane alone"
            )
            self.notice(line)
            self.say(line, severity="warning")

    def watch_library(self, library: Library | None) -> None:
        if library is None:
            return
        self._close_moot_question()
        waiting, self._before_library = self._before_library, None
        if waiting is not None:
            self.post_message(waiting)
        self._talk_when_here()

    def watch_jobs(self) -> None:
        self._close_moot_question()

    def _close_moot_question(self) -> None:
        from tui.screens.ask import Ask

        if self.screen_stack and isinstance(self.screen, Ask):
            self.screen.close_if_moot()

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

    def notice(self, text: str) -> None:
        """Keep a line for the notices; each is kept once."""
        line = clean(text)
        if line not in self.notices:
            self.notices = (*self.notices, line)

    def say(self, text: str, *, severity: str = "information") -> None:
        """Say something in a corner for some seconds, as literal text."""
        self.notify(clean(text), severity=severity, markup=False)  # type: ignore[arg-type]

    def _refresh_machine(self) -> None:
        """Look at the memory again, unless nobody sees it or the last look is not back."""
        if self._refreshing or self._current_mode != "browse" or len(self.screen_stack) > 1:
            return
        machine = self.machine
        if machine is None:
            return
        self._refreshing = True
        if self._watch is None:
            self._watch = self.services.open_watch(machine)
            self.at_end(self._watch.close)
        self.learn("machine", self._watch.sample, "looking at the hardware")

    # Downloads

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
        self.jobs = {**self.jobs, job.id: job}
        if before is None or before.progress.state != job.progress.state:
            self.read_queue()
        if job.progress.state == "done" and (before is None or before.progress.state != "done"):
            self.say(f"{job.plan.variant.family.name} {job.plan.variant.quantization} is on this disk")
            self.post_message(LibraryChanged())
        elif job.progress.state == "cancelled":
            if self._awaited is not None and self._awaited.option.variant == job.plan.variant:
                self._awaited = None
        elif job.progress.state == "failed" and (before is None or before.progress.state != "failed"):
            self.say(f"{job.plan.variant.family.name}: {job.progress.note or 'the download failed'}", severity="error")

    def read_queue(self) -> None:
        """Take over the queue's order, and what an earlier run left under way."""
        self.in_background(
            lambda: self._post(self.Learned("jobs", {job.id: job for job in self.download_queue().jobs()})),
            "reading the download queue",
        )

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
        self.say(f"asking the hub for {variant.family.name} {variant.quantization}")

        def work() -> None:
            from backends.errors import AccessDenied

            try:
                plan = self.services.plan(variant, message.hub)
            except AccessDenied as error:
                self._post(self.Refused(error, message.hub or next(iter(variant.hub_names), ""), variant))
            else:
                self._post(self.Planned(plan))

        self.in_background(work, f"planning the download of {variant.family.name} {variant.quantization}")

    def on_deck_refused(self, message: Refused) -> None:
        self.offer_token(message.error, message.hub, lambda: self.post_message(DownloadWanted(message.variant)))

    def offer_token(self, error: AccessDenied, hub: str, again: Callable[[], object]) -> None:
        """Say why a hub refuses, take a token for it, and do it again."""
        if hub != "huggingface":
            self.say(str(error), severity="error")
            return
        self.ask_token(str(error), error.url, again)

    def ask_token(self, reason: str, page: str | None, again: Callable[[], object]) -> None:
        """Take a token for Hugging Face, and do again what it was wanted for."""
        from tui.screens.ask_token import AskToken

        def answered(user: str | None) -> None:
            if user is not None:
                self.say(f"the token speaks for {user} from now on")
                again()

        self.push_screen(AskToken(self.services, reason, page), answered)

    def on_deck_planned(self, message: Planned) -> None:
        plan = message.plan

        def work() -> None:
            self.download_queue().add(plan)

        self.in_background(work, "queueing the download")
        awaited = self._awaited is not None and self._awaited.option.variant == plan.variant
        then = ", and the chat opens when it is here" if awaited else ""
        self.say(f"{units.file_size(plan.missing_bytes)} to fetch: f6 shows the downloads{then}")

    # Chat

    def on_chat_wanted(self, message: ChatWanted) -> None:
        option = message.option
        if option.engine_status != "ready":
            status = (self.statuses or {}).get(option.engine)
            words = (status.reason if status else None) or option.reason or f"{option.engine} is {option.engine_status}"
            line = f"; {status.install_line}" if status and status.install_line else ""
            self.say(f"{words}{line}", severity="warning")
            return
        self._awaited = None
        if self.library is None:
            self._before_library = message
            return
        path = message.path or self.library.path(option.variant)
        if path is None:
            self._offer_download(message)
        elif option.verdict == "no":
            self._ask(
                "It does not fit",
                f"{option.reason or 'This machine has not enough memory for it.'} Load it all the same?",
                partial(self._talk, option, path, message.beside),
            )
        else:
            self._talk(option, path, message.beside)

    def _offer_download(self, message: ChatWanted) -> None:
        option = message.option
        variant: Variant = option.variant
        size = f", {units.file_size(option.download_bytes)}" if option.download_bytes is not None else ""
        verb = "chat" if variant.family.chats else "write on with it"

        def here() -> bool:
            return self.library is not None and self.library.path(variant) is not None

        def answered(yes: bool | None) -> None:
            if yes:
                self._awaited = message
                self.post_message(DownloadWanted(variant))
            elif yes is None:  # it came meanwhile
                self.post_message(message)

        from tui.screens.ask import Ask

        question = f"Download {variant.family.name} {variant.quantization}{size}, then {verb}?"
        self.push_screen(Ask("Not on this disk", question, moot=here), answered)

    def _talk_when_here(self) -> None:
        """Open the chat that a download was for, if the user still waits for it."""
        wanted = self._awaited
        if wanted is None or self.library is None or self.library.path(wanted.option.variant) is None:
            return
        self._awaited = None
        if not self._moved_on(wanted.option.variant):
            self.post_message(wanted)

    def _moved_on(self, variant: Variant) -> bool:
        """Whether the user does something else now than wait for a variant."""
        from tui.screens.browse import Browse

        if len(self.screen_stack) > 1 or self._current_mode == "chat":
            return True
        screen = self.screen
        return isinstance(screen, Browse) and screen.busy_with_other(variant)

    def _ask(self, title: str, question: str, then: Callable[[], object]) -> None:
        from tui.screens.ask import Ask

        def answered(yes: bool | None) -> None:
            if yes:
                then()

        self.push_screen(Ask(title, question), answered)

    def _talk(self, option: Option, path: Path, beside: bool) -> None:
        self._awaited = None
        self.switch_mode("chat")
        screen, machine, statuses, measured = self.screen, self.machine, self.statuses, self.measured
        if option.verdict == "no" or machine is None or statuses is None:
            screen.post_message(LoadAndTalk(option, path, beside=beside))
            return

        def work() -> None:
            from backends.errors import BackendError

            chosen = option
            try:
                knowledge = self.services.knowledge((option.variant,))
                built = self.services.as_built(option, machine, statuses, knowledge, measured)
            except (BackendError, OSError):
                logger.exception("judging a load")
            else:
                # Where the installed build has no room for it the engine says so itself.
                chosen = built if built.verdict != "no" else option
            screen.post_message(LoadAndTalk(chosen, path, beside=beside))

        self.in_background(work, "finding out how to load it")

    def action_talk_to_server(self) -> None:
        """Ask for a server's URL, then for one of its models, and open a pane with it."""
        from tui.screens.ask_line import AskLine

        first = self.settings.remote_url if self.settings is not None else ""

        def named(text: str | None) -> None:
            if text and text.strip():
                self._ask_server(text)

        self.push_screen(AskLine("Talk to a server", first, "its URL, such as http://box:8000/v1"), named)

    def _ask_server(self, text: str) -> None:
        from backends.errors import EngineError
        from backends.servers import models_of, server_url

        settings, key_variable = self.settings, None
        try:
            url = server_url(text)
            # A key goes to the server that it was set for, and to no other.
            if settings is not None and settings.remote_url and server_url(settings.remote_url) == url:
                key_variable = settings.remote_key_env or None
        except EngineError as error:
            self.say(str(error), severity="error")
            return

        def work() -> None:
            try:
                offered = models_of(url, key_variable)
            except EngineError as error:
                self._post(self.ServerTold(url, key_variable, (), str(error)))
            else:
                self._post(self.ServerTold(url, key_variable, offered))

        self.in_background(work, f"asking {url} for its models")

    def on_deck_server_told(self, message: ServerTold) -> None:
        from backends.servers import remote_request
        from tui.screens.servers import ServerModels

        if message.problem or not message.models:
            self.say(message.problem or f"{message.url} offers no model", severity="error")
            return

        def chosen(model: RemoteModel | None) -> None:
            if model is not None:
                self._talk_to(remote_request(model, message.url, message.key_variable))

        if len(message.models) == 1:
            chosen(message.models[0])
        else:
            self.push_screen(ServerModels(message.url, message.models), chosen)

    def _talk_to(self, request: LoadRequest) -> None:
        self._awaited = None
        self.switch_mode("chat")
        self.screen.post_message(LoadWanted(request))

    # Measuring

    def read_measured(self) -> None:
        """Take over what loads on this machine took until now; safe from any thread."""
        machine = self.machine
        if machine is not None:
            self.learn("measured", lambda: self.services.measured(machine), "reading what earlier loads took")

    def _record_load(self, machine: Machine, load: Load) -> None:
        """Called from engines' threads and from our own."""
        self._kept_loads(machine, load)
        self.read_measured()

    def on_chat_pane_answered(self, message: ChatPane.Answered) -> None:
        """The speed of an answer is known."""
        model, stats, machine = message.pane.model, message.pane.last_stats, self.machine
        if model is None or stats is None or machine is None or stats.decoded_tokens < ENOUGH_TOKENS:
            return
        speed = stats.tokens_per_second

        def work() -> None:
            from backends.loaded import load_record

            self._record_load(machine, load_record(model.request, None, speed))

        self.in_background(work, "keeping the speed of an answer")

    # Keys of the whole app

    def action_mode(self, mode: str) -> None:
        """Go to browse, downloads or chat."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.switch_mode(mode)

    def action_help(self) -> None:
        """Show the guide."""
        from tui.screens.help import Help

        if not isinstance(self.screen, Help):
            self.push_screen(Help())

    def action_notices(self) -> None:
        """Show what went wrong on the way."""
        from tui.screens.notices import Notices

        if not isinstance(self.screen, Notices):
            self.push_screen(Notices(self.notices))

    def open_family(self, name: str) -> None:
        """Show a family on the browse screen."""
        from tui.screens.browse import Browse

        self.action_mode("browse")
        screen = self.screen
        if isinstance(screen, Browse):
            screen.open_family(name)

    def open_guest(self, family: ModelFamily) -> None:
        """Show a family that the catalog does not have beside those that it has."""
        taken = {one.name for one in self.catalog.families} if self.catalog is not None else set()
        if family.name in taken and family.source is not None:
            family = replace(family, name=family.source.partition(":")[2].lower())
        self.guests = (*(one for one in self.guests if one.name != family.name), family)
        self.open_family(family.name)

    def keep_guest(self, family: ModelFamily) -> None:
        """Write a family into the user's own catalog."""

        def work() -> None:
            file = self.services.keep_family(family)
            self._post(self.Learned("catalog", self.services.load_catalog()))
            self._post(self.Learned("guests", tuple(one for one in self.guests if one != family)))
            self._post(self.Said(f"{family.name} is in your catalog now; its spec file is {file}"))

        self.in_background(work, "keeping a family")

    def on_deck_said(self, message: Said) -> None:
        self.say(message.words)

    def action_hubs(self) -> None:
        """Search the hubs, for what was searched for in the list if there is something."""
        from tui.screens.browse import Browse
        from tui.screens.hubs import HubSearch

        query = self.screen.list_query if isinstance(self.screen, Browse) else ""
        self._hub_query = query
        self.action_mode("hubs")
        if isinstance(self.screen, HubSearch) and self.screen.is_mounted:
            self.screen.look_for(query)

    def action_flip_theme(self) -> None:
        """Between our dark and our light theme."""
        self.theme = LIGHT if self.current_theme.dark else DARK

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:  # noqa: ARG002
        yield SystemCommand(
            "Talk to a server…", "Choose a model of a server that speaks OpenAI's protocol", self.action_talk_to_server
        )
        yield SystemCommand("Theme: choose", "Preview and choose a colour theme", self.action_change_theme)
        if self._current_mode == "chat":  # which has other uses for these keys
            yield SystemCommand(
                "Library", "Everything on this disk that can be run", partial(self.action_mode, "library")
            )
            yield SystemCommand("Search the hubs", "Any repository, judged like the catalog", self.action_hubs)
        yield SystemCommand("Theme: dark or light", "Change between our dark and light theme", self.action_flip_theme)

    # The end

    def at_end(self, close: Callable[[], object]) -> None:
        """Have something closed when the app ends."""
        self._closers.append(close)

    async def action_quit(self) -> None:
        """Leave at once: what must be written is written, and the terminal is as it was."""
        driver = self._driver
        if self.leave is None or self.is_headless or driver is None:
            self.exit()
            return
        await self._close_all_services()
        self._give_title_back()
        # Textual waits for the thread that reads keys, which sleeps in its call for up to a tenth of a second.
        driver.__dict__["_key_thread"] = None
        driver.stop_application_mode()
        driver.close()
        self.leave(0)

    def _take_title(self) -> None:
        """Call the terminal's window by our name, and have it remember its own."""
        if self._driver is not None and not self.is_headless:
            self._driver.write(f"\x1b[22;2t\x1b]2;{self.TITLE}\x1b\\")

    def _give_title_back(self) -> None:
        if self._driver is not None and not self.is_headless:
            self._driver.write("\x1b[23;2t")

    async def on_unmount(self) -> None:
        self._give_title_back()
        await self._close_all_services()

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
