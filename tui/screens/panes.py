"""The ground of the chat screen: panes with their models, and the history that keeps what is said in them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from backends.at_work import AtWork
from backends.engines.engine import Adapter
from backends.history import History
from backends.home import at_work_folder
from backends.loaded import LoadedModel, LoadedModels, LoadRequest, load_record
from backends.room import Room, held_bytes, room
from specs.text import printable
from tui.screens.crowded import Choice, Crowded
from tui.screens.steady import SteadyScreen
from tui.widgets.chat_pane import ChatPane
from tui.widgets.pane_grid import PaneGrid, tabs
from tui.widgets.prompt import Prompt

MOST_PANES = 4
UNLOAD_SECONDS = 10.0
"""How long a load waits for the memory of a model that makes room for it."""


class PaneScreen(SteadyScreen[None]):
    """One to four panes, each with a model."""

    broadcast: reactive[bool] = reactive(False)
    """Whether a prompt goes to every pane."""
    zoomed: reactive[bool] = reactive(False)
    """Whether the pane that is talked to stands alone."""

    class Trouble(Message):
        """The history cannot be written, or can again. Posted from its thread."""

        def __init__(self, what: str | None) -> None:
            super().__init__()
            self.what = what

    class Noted(Message):
        """Conversations are kept elsewhere than they should. Posted from the history's thread."""

        def __init__(self, note: str) -> None:
            super().__init__()
            self.note = note

    def __init__(self, adapter: Callable[[str], Adapter] | None = None) -> None:
        super().__init__()
        self._adapter = adapter
        self._models: LoadedModels | None = None
        self._history: History | None = None
        self._closers: list[Callable[[], object]] = []
        self._trouble = ""
        """What keeps the history from being written; "": nothing."""

    # -- models and history

    @property
    def models(self) -> LoadedModels:
        """The models in memory."""
        if self._models is None:
            self._models = LoadedModels(
                self._adapter or self._app_adapter,
                self._recorder(),
                AtWork(at_work_folder()),
                lambda: getattr(self.app, "crashed_loads", ()),
            )
            self._at_end(self._models.close)
        return self._models

    def _recorder(self) -> Callable[[LoadedModel], None] | None:
        """Keeps what loads take, so that later fits are corrected by it."""
        app = self.app
        services = getattr(app, "services", None)
        if services is None:
            return None

        def record(model: LoadedModel) -> None:
            machine, measured = getattr(app, "machine", None), model.measured_bytes()
            if machine is not None and measured is not None:
                services.record_load(machine, load_record(model.request, measured))

        return record

    def _app_adapter(self, name: str) -> Adapter:
        services = getattr(self.app, "services", None)
        if services is not None:
            found: Adapter = services.adapter(name)
            return found
        from backends.engines.registry import adapter

        return adapter(name)

    @property
    def history(self) -> History:
        """Where conversations are kept."""
        if self._history is None:
            self._history = History(
                on_trouble=lambda what: self._post(self.Trouble(what)),
                on_note=lambda note: self._post(self.Noted(note)),
            )
            self._at_end(self._close_history)
        return self._history

    def _close_history(self) -> None:
        for pane in self.panes:
            pane.keep_draft()
        if self._history is not None:
            self._history.close()

    def _at_end(self, close: Callable[[], object]) -> None:
        at_end = getattr(self.app, "at_end", None)
        if at_end is not None:
            at_end(close)
        else:
            self._closers.append(close)

    def _post(self, message: Message) -> None:
        # From other threads, and perhaps after the end.
        with contextlib.suppress(RuntimeError):
            self.post_message(message)

    def on_pane_screen_trouble(self, event: Trouble) -> None:
        self._trouble = event.what or ""
        for pane in self.panes:
            pane.trouble = self._trouble
            pane.say_all()
        if event.what is None:
            self.notify("The history is written again; nothing was lost")

    def on_pane_screen_noted(self, event: Noted) -> None:
        self.notify(printable(event.note), severity="warning", timeout=30, markup=False)

    def on_unmount(self) -> None:
        for close in self._closers:
            close()

    # -- panes

    @property
    def panes(self) -> list[ChatPane]:
        """The panes, in the order of the screen."""
        return list(self.query(ChatPane))

    @property
    def active_pane(self) -> ChatPane | None:
        """The pane that the prompt goes to."""
        return next((pane for pane in self.panes if pane.active), None)

    @property
    def prompt(self) -> Prompt:
        """The prompt."""
        return self.query_one(Prompt)

    async def load(self, request: LoadRequest, *, beside: bool = False) -> ChatPane:
        """Load a model into a pane and talk to it."""
        pane = self.active_pane
        if pane is None or (beside and len(self.panes) < MOST_PANES):
            pane = await self.add_pane()
        self._load_into(pane, request)
        self.prompt.area.focus()
        return pane

    def has_room_to_make(self, request: LoadRequest) -> bool:
        """Whether what the fit found missing is held by models of ours, so that which of them goes is the question."""
        return 0 < request.short_bytes <= sum(held_bytes(model) for model in self.models.models())

    def _load_into(self, pane: ChatPane, request: LoadRequest) -> None:
        """Load it, or ask first where it does not fit beside the models that are there."""
        own = pane.model
        # What the pane has alone goes when another model takes its place.
        others = [model for model in self.models.models() if model is not own or model.users > 1]
        found = room(request, others, getattr(self.app, "machine", None))
        if own is not None and own not in others and found is not None:
            found = replace(found, free_bytes=min(found.total_bytes, found.free_bytes + held_bytes(own)))
        if found is None or not found.missing_bytes:
            pane.load(request)
            return

        def chosen(choice: Choice | None) -> None:
            if choice == "anyway":
                pane.load(request)
            elif choice == "unload":
                self.run_worker(self._unload_and_load(pane, request, found.unload), group="room")
            elif pane.model is None:
                pane.request = request
                pane.state = "unloaded"

        self.app.push_screen(Crowded(request, found), chosen)

    async def _unload_and_load(self, pane: ChatPane, request: LoadRequest, unload: tuple[LoadedModel, ...]) -> None:
        for model in unload:
            model.close()
        for model in unload:
            await asyncio.to_thread(model.wait_closed, UNLOAD_SECONDS)
        if pane.is_mounted:
            pane.load(request)

    def _room_of(self, pane: ChatPane) -> Room | None:
        if pane.request is None:
            return None
        return room(pane.request, self.models.models(), getattr(self.app, "machine", None))

    async def add_pane(self) -> ChatPane:
        """One more pane, and the prompt goes to it."""
        pane = ChatPane(self.models)
        pane.keeper.history = self.history
        pane.trouble = self._trouble
        await self.query_one(PaneGrid).mount(pane)
        self.activate(pane)
        self._arrange()
        return pane

    def activate(self, pane: ChatPane) -> None:
        """Let the prompt go to this pane; each keeps its own draft."""
        before = self.active_pane
        if before is pane:
            return
        self._stop_editing()
        if before is not None:
            if not self.broadcast:
                before.draft = self.prompt.draft
            before.active = False
        pane.active = True
        if before is None and self.prompt.draft:
            pane.draft = self.prompt.draft  # typed before there was a pane
        elif not self.broadcast:
            self.prompt.draft = pane.draft
        self._arrange()

    def _stop_editing(self) -> None:
        """The prompt is for something else from now on."""

    def watch_zoomed(self) -> None:
        if self.is_mounted:
            self._arrange()

    def watch_broadcast(self) -> None:
        if self.is_mounted:
            self._arrange()
            self.refresh_bindings()

    def _arrange(self) -> None:
        panes = self.panes
        self.query_one("#empty").set_class(bool(panes), "-hidden")
        alone = self.query_one(PaneGrid).place(len(panes), *self.size, zoomed=self.zoomed)
        line = self.query_one("#tabs", Static)
        line.set_class(alone, "-some")
        if alone:
            line.update(Content(tabs(panes, self.size.width - 2)))
        self._say_prompt()
        retitle = getattr(self.app, "retitle", None)
        if retitle is not None:
            retitle()

    def _say_prompt(self) -> None:
        """Say where the prompt goes."""
