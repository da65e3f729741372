"""The chat screen: one to four panes, and the prompt that goes to one or to all of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Static

from backends.at_work import AtWork
from backends.engines.engine import Adapter
from backends.errors import BackendError
from backends.history import History
from backends.home import at_work_folder
from backends.loaded import LoadedModel, LoadedModels, LoadRequest, load_record, load_request
from backends.room import Room, held_bytes, room
from specs.text import printable
from tui import units
from tui.chat_keys import CHAT
from tui.clipboard import code_blocks, copy
from tui.messages import LoadAndTalk, LoadWanted
from tui.screens.ask import Ask
from tui.screens.ask_line import AskLine
from tui.screens.chat_settings import ChatSettings, Told
from tui.screens.conversations import Conversations
from tui.screens.crowded import Choice, Crowded
from tui.screens.dueling import DuelRefused, pair, run_duel
from tui.screens.loaded import Loaded
from tui.screens.overflow import Overflow, Way
from tui.widgets.chat_pane import ChatPane
from tui.widgets.hardware_strip import HardwareStrip
from tui.widgets.key_line import KeyLine
from tui.widgets.prompt import Draft, Prompt, PromptText
from tui.widgets.transcript import Transcript

MOST_PANES = 4
IDLE_SECONDS = 30 * 60.0
"""How long a model stays in memory that nobody talks to."""
IDLE_CHECK_SECONDS = 30.0
UNLOAD_SECONDS = 10.0
"""How long a load waits for the memory of a model that makes room for it."""
NARROW = 100
"""Columns below which panes stand behind each other instead of side by side."""
_COLUMNS = {1: 1, 2: 2, 3: 3, 4: 2}
"""Panes that stand beside each other, by how many there are."""
EVEN, NARROWEST, WIDEST = 10, 4, 30
"""A column's share of the width: to begin with, at least, at most."""
_COUNTS = {1: "-one", 2: "-two", 3: "-three", 4: "-four"}


def _tabs(panes: list[ChatPane], width: int) -> str:
    """All panes in one line; where it is too short, only the one that is talked to says its whole name."""

    def line(name: Callable[[ChatPane], str]) -> str:
        return "   ".join(f"{'▸' if pane.active else ' '}{n} {name(pane)}" for n, pane in enumerate(panes, 1))

    whole = line(lambda pane: printable(pane.title))
    if len(whole) <= width:
        return whole
    return line(lambda pane: printable(pane.title if pane.active else pane.title.rpartition(" ")[2]))


class Panes(Container):
    """Where the panes stand; nothing of its own is drawn."""

    BLANK = True


class ChatScreen(Screen[None]):
    """Talk to the models that are loaded."""

    CSS_PATH = "chat.tcss"
    BLANK = True
    BINDINGS: ClassVar[list[BindingType]] = [*CHAT]
    AUTO_FOCUS = "PromptText"

    broadcast: reactive[bool] = reactive(False)
    """Whether a prompt goes to every pane."""
    zoomed: reactive[bool] = reactive(False)
    """Whether the pane that is talked to stands alone."""

    def __init__(self, adapter: Callable[[str], Adapter] | None = None, *, conversation: str | None = None) -> None:
        super().__init__()
        self.conversation_wanted = conversation
        """ID of the conversation that the first model is loaded for; None: a new one."""
        self._adapter = adapter
        self._models: LoadedModels | None = None
        self._history: History | None = None
        self._closers: list[Callable[[], object]] = []
        self._editing: tuple[ChatPane, str] | None = None
        self._widths: list[int] = []
        """Shares of the columns; of another length than there are columns: all are as wide."""

    def compose(self) -> ComposeResult:
        yield HardwareStrip()
        yield Static(id="tabs")
        yield Panes(id="panes")
        with Vertical(id="empty"):
            yield Static("No model is loaded yet", id="empty-title")
            yield Static(
                Content(
                    "f5   choose a model and press enter to load it\n"
                    "f3   open an earlier conversation\n"
                    "\nThen type here; what you say and what it answers\nstays on this machine."
                ),
                id="empty-steps",
            )
        yield Prompt(id="prompt")
        yield KeyLine()

    # -- models and panes

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

    @property
    def history(self) -> History:
        """Where conversations are kept."""
        if self._history is None:
            self._history = History(
                on_trouble=lambda what: self._post(self.Trouble(what)),
                on_note=lambda note: self._post(self.Noted(note)),
            )
            self._at_end(self._history.close)
        return self._history

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

    class Remembered(Message):
        """Prompts of earlier days were read. Posted from a thread."""

        def __init__(self, prompts: tuple[str, ...], draft: str = "") -> None:
            super().__init__()
            self.prompts = prompts
            self.draft = draft

    def on_chat_screen_trouble(self, event: Trouble) -> None:
        for pane in self.panes:
            pane.trouble = event.what or ""
            pane.say_all()
        if event.what is None:
            self.notify("The history is written again; nothing was lost")

    def on_chat_screen_noted(self, event: Noted) -> None:
        self.notify(printable(event.note), severity="warning", timeout=30, markup=False)

    def on_chat_screen_remembered(self, event: Remembered) -> None:
        self.prompt.remembered[:0] = event.prompts
        begun = any(pane.conversation.nodes for pane in self.panes)
        if event.draft and not begun and not self.prompt.draft:
            self.prompt.draft = Draft(event.draft)
            if self.active_pane is not None:
                self.active_pane.draft = self.prompt.draft

    def _adopt_keys(self) -> None:
        """The user's own keys for sending and for a new line."""
        settings = getattr(self.app, "settings", None)
        if settings is None:
            return
        named = dict(settings.keys)
        chosen: dict[str, str] = {}
        if settings.send_key != "enter" and "prompt.send" not in named:
            chosen["prompt.send"] = settings.send_key
        if settings.newline_key != "alt+enter" and "prompt.newline" not in named:
            chosen["prompt.newline"] = f"{settings.newline_key},ctrl+j"
        if chosen:
            self.app.set_keymap({**named, **chosen})

    def on_mount(self) -> None:
        self._adopt_keys()
        self._arrange()
        self.set_interval(IDLE_CHECK_SECONDS, lambda: self.models.unload_idle(IDLE_SECONDS))
        history = self.history

        def remember() -> None:
            with contextlib.suppress(BackendError):
                self._post(self.Remembered(history.recent_prompts(), history.draft("")))

        threading.Thread(target=remember, name="prompts", daemon=True).start()
        machine = getattr(self.app, "machine", None)
        if machine is not None or hasattr(self.app, "machine"):
            self.watch(self.app, "machine", self._show_machine)
            self.watch(self.app, "notices", self._show_machine)

    def _show_machine(self) -> None:
        machine, notices = getattr(self.app, "machine", None), getattr(self.app, "notices", ())
        self.query_one(HardwareStrip).show(machine, "chat", len(notices))

    def on_unmount(self) -> None:
        for close in self._closers:
            close()

    async def on_load_and_talk(self, event: LoadAndTalk) -> None:
        """Weights are here: load them into the pane that is talked to, or into one beside it."""
        event.stop()
        await self.load(load_request(event.option, event.path), beside=event.beside)
        await self._open_wanted()

    async def on_load_wanted(self, event: LoadWanted) -> None:
        event.stop()
        await self.load(event.request)
        await self._open_wanted()

    async def _open_wanted(self) -> None:
        """The conversation that the command line named, once."""
        wanted, self.conversation_wanted = self.conversation_wanted, None
        if wanted:
            await self.open_conversation(wanted)

    async def load(self, request: LoadRequest, *, beside: bool = False) -> ChatPane:
        """Load a model into a pane and talk to it."""
        pane = self.active_pane
        if pane is None or (beside and len(self.panes) < MOST_PANES):
            pane = await self.add_pane()
        self._load_into(pane, request)
        self.prompt.area.focus()
        return pane

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

    async def add_pane(self) -> ChatPane:
        """One more pane, and the prompt goes to it."""
        pane = ChatPane(self.models)
        pane.history = self.history
        await self.query_one("#panes").mount(pane)
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

    def on_resize(self, _event: events.Resize) -> None:
        self._arrange()

    def watch_zoomed(self) -> None:
        if self.is_mounted:
            self._arrange()

    def watch_broadcast(self) -> None:
        if self.is_mounted:
            self._arrange()

    def _arrange(self) -> None:
        panes = self.panes
        box = self.query_one("#panes")
        count = len(panes)
        box.set_class(count > 0, "-some")
        self.query_one("#empty").set_class(count > 0, "-hidden")
        for number, name in _COUNTS.items():
            box.set_class(number == count, name)
        alone = count > 1 and (
            self.zoomed or self.size.width < NARROW or (count == 3 and self.size.width < NARROW + 30)
        )
        box.set_class(alone, "-alone")
        columns = _COLUMNS.get(count, 1)
        if alone or len(self._widths) != columns:
            box.styles.grid_columns = None
        else:
            box.styles.grid_columns = " ".join(f"{width}fr" for width in self._widths)
        tabs = self.query_one("#tabs", Static)
        tabs.set_class(alone, "-some")
        if alone:
            tabs.update(Content(_tabs(panes, self.size.width - 2)))
        self._say_prompt()
        retitle = getattr(self.app, "retitle", None)
        if retitle is not None:
            retitle()

    def _say_prompt(self) -> None:
        pane = self.active_pane
        prompt = self.prompt
        if pane is None:
            title = ""
        elif self._editing is not None:
            title = "another text for this turn: enter branches, esc leaves it as it is"
        elif self.broadcast and len(self.panes) > 1:
            title = f"to all {len(self.panes)} panes"
        elif pane.completes:
            title = f"goes on in {pane.title}"
        else:
            title = f"to {pane.title}"
        prompt.border_title = Content(printable(title))
        budget = pane.budget if pane is not None and pane.engine is not None else None
        words = ""
        if budget is not None:
            parts = [("system", budget.system), ("history", budget.history), ("draft", budget.draft)]
            words = " · ".join(f"{name} {units.count(tokens)}" for name, tokens in parts if tokens)
            words = f"{words} of {units.count(budget.context)} tokens" if words else ""
            if budget.over:
                words = f"{units.count(budget.over)} tokens too many: {words}"
        prompt.border_subtitle = Content(words)
        prompt.set_class(budget is not None and budget.over > 0, "-over")
        area = prompt.area
        if pane is None:
            area.placeholder = "Load a model first: f5"
        elif pane.state == "loading":
            area.placeholder = "Write while it loads; enter sends when it is ready"
        elif pane.completes:
            area.placeholder = "A text that the model continues; enter goes on"
        else:
            area.placeholder = "Say something"

    # -- talking

    def on_chat_pane_changed(self, _event: ChatPane.Changed) -> None:
        self._arrange()
        self.refresh_bindings()

    def on_chat_pane_answered(self, _event: ChatPane.Answered) -> None:
        self.refresh_bindings()

    def on_prompt_edited(self, event: Prompt.Edited) -> None:
        pane = self.active_pane
        if pane is not None and not self.broadcast and self._editing is None:
            pane.draft = event.draft
            pane.draft_changed()

    def on_prompt_sent(self, event: Prompt.Sent) -> None:
        """To the pane, or to all of them; what cannot go now stays in the prompt."""
        draft = event.draft
        if self._editing is not None:
            pane, key = self._editing
            if draft and key in pane.conversation:
                self._editing = None
                pane.edit(key, draft.whole)
                self.prompt.draft = pane.draft
                self._say_prompt()
            return
        targets = self.panes if self.broadcast else [pane for pane in (self.active_pane,) if pane is not None]
        if not targets:
            self.notify("No model is loaded: f5 shows what runs here", severity="warning")
            return
        if len(targets) == 1 and self._too_long(targets[0], draft):
            return
        went = False
        waiting: str | None = None
        for pane in targets:
            if not draft and not pane.completes:
                continue
            if pane.send(draft.whole):
                went = True
            elif pane.state in ("loading", "unloaded"):
                if pane.send_when_ready(draft.whole):
                    went, waiting = True, "It goes as soon as the model is loaded"
                else:
                    waiting = "One prompt waits for the model already; this one stays here"
                if pane.state == "unloaded" and pane.request is not None:
                    self._load_into(pane, pane.request)
            else:
                waiting = f"{pane.title}: {pane.state}; ctrl+l loads it again"
        if waiting:
            self.notify(printable(waiting), markup=False)
        if went:
            self.prompt.remember(draft.text)
            self.prompt.clear()

    def _too_long(self, pane: ChatPane, draft: Draft) -> bool:
        """Whether it does not fit the context any more; then the user is asked what to do, and nothing is cut."""
        budget = pane.measure(draft.whole)
        if budget is None or not budget.over or pane.request is None:
            return False
        oldest = pane.oldest_to_drop(budget.over)
        context = budget.context
        while context < budget.total + budget.reserve:
            context *= 2
        most = pane.request.max_context
        ways: list[tuple[Way, str]] = []
        if oldest and budget.draft + budget.system + budget.reserve <= budget.context and not pane.completes:
            ways.append(("drop", f"leave the {len(oldest)} oldest turns out; they stay on the screen"))
            ways.append(("summarise", f"let the model put the {len(oldest)} oldest turns into a few words first"))
        if most is None or most >= context:
            fits = "" if most is None else "; the fit says that it fits"
            ways.append(("enlarge", f"load the model again with a context of {units.count(context)}{fits}"))
        what = (
            f"System prompt, conversation and this prompt are {units.count(budget.total)} tokens, "
            f"and the context holds {units.count(budget.context)}."
        )

        def go() -> None:
            pane.send(draft.whole)

        def chosen(way: Way | None) -> None:
            if way is None:
                return
            self.prompt.remember(draft.text)
            self.prompt.clear()
            if way == "drop":
                pane.drop(oldest)
                go()
            elif way == "summarise":
                pane.summarise(oldest, go)
            else:
                pane.enlarge(context, go)

        self.app.push_screen(Overflow(what, ways), chosen)
        return True

    # -- a turn under the cursor

    def on_transcript_wished(self, event: Transcript.Wished) -> None:
        """Copy, edit, delete a turn, or walk to the branch beside it."""
        pane = event.transcript.parent
        entry = event.transcript.chosen
        if not isinstance(pane, ChatPane) or entry is None:
            return
        match event.what:
            case "copy":
                self.notify(printable(copy(self.app, entry.text, "The turn")), markup=False)
            case "copy_code":
                blocks = code_blocks(entry.text)
                if blocks:
                    self.notify(printable(copy(self.app, blocks[-1], "The last code block")), markup=False)
                else:
                    self.notify("There is no code in this turn")
            case "edit":
                self._edit(pane, entry.key)
            case "previous" | "next" if not pane.completes:
                if not pane.walk(entry.key, -1 if event.what == "previous" else 1):
                    self.notify("There is no further branch at this turn")
            case "delete" if not pane.completes:
                self._delete(pane, entry.key)

    def _edit(self, pane: ChatPane, key: str) -> None:
        """Put a turn into the prompt; what is sent then becomes a branch beside it."""
        if pane.completes:
            path = pane.conversation.path()
            if not path:
                return
            key = path[0].id
            text = "".join(n.text for n in path)
        else:
            text = pane.conversation.node(key).text
        self.activate(pane)
        pane.draft = self.prompt.draft
        self._editing = (pane, key)
        self.prompt.draft = Draft(text)
        self.prompt.area.focus()
        self._say_prompt()

    def _stop_editing(self) -> None:
        if self._editing is not None:
            pane, _ = self._editing
            self._editing = None
            self.prompt.draft = pane.draft
            self._say_prompt()

    def _delete(self, pane: ChatPane, key: str) -> None:
        after = (
            len(pane.conversation.path()) - 1 - next(i for i, n in enumerate(pane.conversation.path()) if n.id == key)
        )

        def answered(yes: bool | None) -> None:
            if yes and key in pane.conversation:
                pane.delete(key)

        more = f" and the {after} below it" if after else ""
        self.app.push_screen(
            Ask("Delete this turn", f"Delete this turn{more}, on every branch that goes on from it?"), answered
        )

    def on_prompt_text_attach_wanted(self, event: PromptText.AttachWanted) -> None:
        event.stop()

        def named(name: str | None) -> None:
            if name and name.strip():
                problem = self.prompt.attach_file(Path(name.strip()))
                if problem:
                    self.notify(printable(problem), severity="warning", markup=False)

        self.app.push_screen(AskLine("Send a text file along", placeholder="its path"), named)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        pane = self.active_pane
        if action in ("again", "continue", "new_pane", "close_pane", "zoom", "settings", "reload"):
            return pane is not None
        if action in ("broadcast", "pane", "duel", "widen"):
            return len(self.panes) > 1
        return True

    def action_stop(self) -> None:
        """Stop the answer; with none running, give up the edit, or go back from the turns to the prompt."""
        if self._editing is not None:
            self._stop_editing()
            return
        panes = self.panes if self.broadcast else [p for p in (self.active_pane,) if p is not None]
        stopped = [pane.stop() for pane in panes]
        if not any(stopped) and sum(pane.leave_duel() for pane in panes) == 0:
            self.prompt.area.focus()

    def action_again(self) -> None:
        for pane in self._targets():
            if not pane.again():
                self.notify("There is no prompt to answer again")

    def action_continue(self) -> None:
        for pane in self._targets():
            pane.go_on()

    def _targets(self) -> list[ChatPane]:
        if self.broadcast:
            return self.panes
        return [pane for pane in (self.active_pane,) if pane is not None]

    def action_reload(self) -> None:
        pane = self.active_pane
        if pane is not None:
            failed = pane.state == "failed" or any(n.error for n in pane.conversation.path()[-1:])
            again = pane.reload_request(smaller=failed)
            if again is not None:
                self._load_into(pane, again)

    def action_other_side(self) -> None:
        """Between the prompt and the turns."""
        pane = self.active_pane
        if pane is None:
            return
        if self.prompt.has_focus_within:
            pane.transcript.focus()
        else:
            self.prompt.area.focus()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        widget = event.widget
        if isinstance(widget, Transcript) and isinstance(widget.parent, ChatPane):
            self.activate(widget.parent)

    async def action_new_pane(self) -> None:
        """A further pane with the same model, sharing it."""
        pane = self.active_pane
        if pane is None or pane.request is None:
            return
        if len(self.panes) >= MOST_PANES:
            self.notify(f"{MOST_PANES} panes are as many as there are; f12 closes one")
            return
        request = pane.request
        await self.load(request, beside=True)

    async def action_close_pane(self) -> None:
        """Close the pane; its model goes unless another pane has it."""
        pane = self.active_pane
        if pane is None:
            return
        panes = self.panes
        at = panes.index(pane)
        pane.active = False
        await pane.remove()
        rest = self.panes
        if rest:
            self.activate(rest[min(at, len(rest) - 1)])
        else:
            self.prompt.clear()
        self.broadcast = self.broadcast and len(rest) > 1
        self._arrange()
        self.prompt.area.focus()

    def action_pane(self, step: int) -> None:
        panes = self.panes
        pane = self.active_pane
        if pane is not None and len(panes) > 1:
            self.activate(panes[(panes.index(pane) + step) % len(panes)])

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed

    def action_broadcast(self) -> None:
        self.broadcast = not self.broadcast

    async def action_duel(self) -> None:
        """Score this pane's answer with the other quantization's model."""
        try:
            first, second = pair(self.panes, self.active_pane)
        except DuelRefused as refused:
            self.notify(printable(str(refused)), severity="warning", markup=False)
            return
        self.run_worker(self._duel(first, second), group="duel", exclusive=True)

    async def _duel(self, first: ChatPane, second: ChatPane) -> None:
        asked = [turn.text for turn in first.conversation.path() if turn.role == "user"]
        try:
            made = await run_duel(first, second, self._room_of, lambda what: self.notify(printable(what), markup=False))
        except (BackendError, DuelRefused) as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return
        second.show_duel(made, asked[-1] if asked else "")
        if not made.scores:
            self.notify("The duel was stopped before the first place")

    def _room_of(self, pane: ChatPane) -> Room | None:
        if pane.request is None:
            return None
        return room(pane.request, self.models.models(), getattr(self.app, "machine", None))

    def action_widen(self, step: int) -> None:
        """Give the pane's column more or less of the width."""
        pane = self.active_pane
        columns = _COLUMNS.get(len(self.panes), 1)
        if pane is None or columns < 2:
            return
        if len(self._widths) != columns:
            self._widths = [EVEN] * columns
        at = self.panes.index(pane) % columns
        self._widths[at] = max(NARROWEST, min(WIDEST, self._widths[at] + step))
        self._arrange()

    def action_settings(self) -> None:
        """System prompt, sampling and thinking of the pane."""
        pane = self.active_pane
        if pane is None:
            return

        def told(what: Told | None) -> None:
            if what is not None:
                pane.tell(what.system, what.sampling)

        self.app.push_screen(
            ChatSettings(pane.title, pane.conversation.system, pane.sampling, completes=pane.completes), told
        )

    def action_history(self) -> None:
        """Search and open conversations."""

        async def chosen(name: str | None) -> None:
            if name is not None:
                await self.open_conversation(name)

        self.app.push_screen(Conversations(self.history), chosen)

    async def open_conversation(self, name: str) -> None:
        """Show a conversation in the pane, which keeps its model."""
        try:
            found = self.history.load(name)
        except BackendError as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return
        pane = self.active_pane or await self.add_pane()
        other = next((p for p in self.panes if p.conversation.id == found.id), None)
        if other is not None:
            self.activate(other)
            return
        pane.open(found)
        with contextlib.suppress(BackendError):
            kept = self.history.draft(found.id)
            if kept and not self.prompt.draft:
                self.prompt.draft = pane.draft = Draft(kept)
        self.prompt.area.focus()

    def action_loaded(self) -> None:
        """Models in memory."""
        self.app.push_screen(Loaded(self.models))
