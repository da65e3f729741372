"""The chat screen: one to four panes, and the prompt that goes to one or to all of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from backends.engines.engine import Adapter
from backends.errors import BackendError, Cancelled
from backends.loaded import load_request
from specs.text import printable
from tui import units
from tui.chat_keys import CHAT
from tui.memory import forget_dead_widgets
from tui.messages import LoadAndTalk, LoadWanted
from tui.screens.chat_settings import ChatSettings, Told
from tui.screens.conversations import Conversations
from tui.screens.dueling import DuelRefused, pair, run_duel
from tui.screens.loaded import Loaded
from tui.screens.making_room import RoomScreen
from tui.screens.panes import MOST_PANES
from tui.widgets.chat_pane import ChatPane
from tui.widgets.hardware_strip import HardwareStrip
from tui.widgets.key_line import KeyLine
from tui.widgets.pane_grid import PaneGrid
from tui.widgets.pane_words import WORDS, State
from tui.widgets.prompt import Draft, Prompt
from tui.widgets.transcript import Transcript

IDLE_CHECK_SECONDS = 30.0
NO_MODEL = "No model is loaded: f5 shows what runs here"
DUEL_STOPPED = "The duel was stopped before the first place"
WITHOUT_MODEL: dict[State, str] = {
    "loading": "is still loading",
    "failed": "failed; ctrl+l loads it again",
    "unloaded": "is unloaded; ctrl+l loads it again",
}
"""Why a pane cannot answer."""


class ChatScreen(RoomScreen):
    """Talk to the models that are loaded."""

    CSS_PATH = "chat.tcss"
    BLANK = True
    BINDINGS: ClassVar[list[BindingType]] = [*CHAT]
    AUTO_FOCUS = "PromptText"

    class Remembered(Message):
        """Prompts of earlier days were read. Posted from a thread."""

        def __init__(self, prompts: tuple[str, ...], draft: str = "") -> None:
            super().__init__()
            self.prompts = prompts
            self.draft = draft

    def __init__(self, adapter: Callable[[str], Adapter] | None = None, *, conversation: str | None = None) -> None:
        super().__init__(adapter)
        self.conversation_wanted = conversation
        """ID of the conversation that the first model is loaded for; None: a new one."""

    def compose(self) -> ComposeResult:
        yield HardwareStrip()
        yield Static(id="tabs")
        yield PaneGrid(id="panes")
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
        settings = getattr(self.app, "settings", None)
        minutes = settings.unload_idle_minutes if settings is not None else 0
        if minutes:
            self.set_interval(IDLE_CHECK_SECONDS, lambda: self.models.unload_idle(minutes * 60.0))
        history = self.history

        def remember() -> None:
            with contextlib.suppress(BackendError):
                self._post(self.Remembered(history.recent_prompts(), history.draft("")))

        threading.Thread(target=remember, name="prompts", daemon=True).start()
        machine = getattr(self.app, "machine", None)
        if machine is not None or hasattr(self.app, "machine"):
            self.watch(self.app, "machine", self._show_machine)
            self.watch(self.app, "notices", self._show_machine)

    def on_chat_screen_remembered(self, event: Remembered) -> None:
        self.prompt.remembered[:0] = event.prompts
        begun = any(pane.conversation.nodes for pane in self.panes)
        if event.draft and not begun and not self.prompt.draft:
            self.prompt.draft = Draft(event.draft)
            if self.active_pane is not None:
                self.active_pane.draft = self.prompt.draft

    def _show_machine(self) -> None:
        machine, notices = getattr(self.app, "machine", None), getattr(self.app, "notices", ())
        self.query_one(HardwareStrip).show(machine, "chat", len(notices))

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

    def on_resize(self, _event: events.Resize) -> None:
        self._arrange()

    def _say_prompt(self) -> None:
        pane = self.active_pane
        prompt = self.prompt
        if pane is None or pane.request is None:
            title = ""
        elif self._editing is not None:
            what = "another text" if pane.completes else "another text for this turn"
            title = f"{what}: enter branches, esc leaves it as it is"
        elif self.broadcast and len(self.panes) > 1:
            title = "to both panes" if len(self.panes) == 2 else f"to all {len(self.panes)} panes"
        elif pane.completes:
            title = f"a text for {pane.title} to continue"
        else:
            title = f"to {pane.title}"
        prompt.border_title = Content(printable(title))
        budget = pane.budget if pane is not None and pane.engine is not None else None
        words, over = "", 0
        if budget is not None and pane is not None:
            # While it answers, the room for an answer is what it takes.
            over = budget.over if pane.generation is None else 0
            answer = budget.reserve if over else 0
            parts = [("system", budget.system), ("history", budget.history)]
            parts += [("draft", budget.draft), ("answer", answer)]
            words = " · ".join(f"{name} {units.count(tokens)}" for name, tokens in parts if tokens)
            words = f"{words} of {units.count(budget.context)} tokens" if words else ""
            if over:
                words = f"{units.counted(over, 'token')} too many: {words}"
        prompt.border_subtitle = Content(words)
        prompt.set_class(over > 0, "-over")
        area = prompt.area
        area.has_listener = pane is not None and pane.request is not None
        if pane is None or pane.request is None:
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

    def on_chat_pane_grew(self, event: ChatPane.Grew) -> None:
        if event.pane is self.active_pane:
            self._say_prompt()

    def on_prompt_edited(self, event: Prompt.Edited) -> None:
        pane = self.active_pane
        if pane is not None and not self.broadcast and self._editing is None:
            pane.draft = event.draft
            pane.draft_changed()

    def on_prompt_sent(self, event: Prompt.Sent) -> None:
        """To the pane, or to all of them; what cannot go now stays in the prompt."""
        draft = event.draft
        if self._editing is not None:
            self._send_edit(draft)
            return
        targets = self.panes if self.broadcast else [pane for pane in (self.active_pane,) if pane is not None]
        if not targets:
            self.notify(NO_MODEL, severity="warning")
            return
        if len(targets) == 1 and self._too_long(targets[0], draft):
            return
        went = False
        waiting: str | None = None
        for pane in targets:
            if not draft and not pane.completes:
                continue
            over = self._over(pane, draft) if len(targets) > 1 else 0
            if over:
                waiting = (
                    f"{units.counted(over, 'token')} too many for the context of {pane.title}, so it did not go there; "
                    "up brings the prompt back, and sent there alone it offers what can be done"
                )
            elif pane.send(draft.whole):
                went = True
            elif pane.state in ("loading", "unloaded"):
                if pane.send_when_ready(draft.whole):
                    went, waiting = True, "It goes as soon as the model is loaded"
                else:
                    waiting = "One prompt waits for the model already; this one stays here"
                if pane.state == "unloaded" and pane.request is not None:
                    self._load_into(pane, pane.request)
            elif pane.request is None:
                waiting = NO_MODEL
            elif pane.state in ("scoring", "summarising"):
                waiting = f"{pane.title} is {WORDS[pane.state]}; send this when it is done, or esc stops it"
            else:
                waiting = f"{pane.title}: {pane.state}; ctrl+l loads it again"
        if waiting:
            self.notify(printable(waiting), markup=False)
        if went:
            self.prompt.remember(draft.text)
            self.prompt.clear()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        pane = self.active_pane
        if action in ("again", "continue", "pane", "new_pane", "close_pane", "zoom", "settings", "reload", "stop"):
            return pane is not None
        if action == "heighten":
            return len(self.panes) == MOST_PANES
        if action in ("broadcast", "duel", "widen"):
            return len(self.panes) > 1
        return True

    def key_label(self, binding: Binding) -> str | None:
        """What a key does now, where its binding cannot know it; None: what the binding says."""
        if binding.id == "chat.both":
            many = "to both" if len(self.panes) == 2 else "to all"
            return "to one" if self.broadcast else many
        return None

    def action_stop(self) -> None:
        """Stop the answer; with none running, give up the edit, or go back from the turns to the prompt."""
        if self._editing is not None:
            self._stop_editing()
            return
        # A duel is one thing in two panes.
        panes = [p for p in self.panes if self.broadcast or p.active or p.state == "scoring"]
        stopped = [pane.stop() for pane in panes]
        if not any(stopped) and sum(pane.leave_duel() for pane in panes) == 0:
            self.prompt.area.focus()

    def action_again(self) -> None:
        for pane in self._targets():
            if not pane.again():
                self._say_why_not(pane, "There is no prompt to answer again")

    def action_continue(self) -> None:
        targets = self._targets()
        if len(targets) == 1 and self._full(targets[0]):
            return
        for pane in targets:
            if not pane.go_on() and pane.generation is None:
                self._say_why_not(pane, "There is nothing to go on with")

    def _say_why_not(self, pane: ChatPane, otherwise: str) -> None:
        if pane.request is None:
            self.notify(NO_MODEL, severity="warning")
            return
        words = WITHOUT_MODEL.get(pane.state)
        self.notify(printable(f"{pane.title} {words}" if words else otherwise), markup=False)

    def _targets(self) -> list[ChatPane]:
        if self.broadcast:
            return self.panes
        return [pane for pane in (self.active_pane,) if pane is not None]

    def action_reload(self) -> None:
        pane = self.active_pane
        if pane is not None:
            again = pane.reload_request()
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
        forget_dead_widgets()
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
        else:
            # Its key is the library's elsewhere: from a chat nobody should be taken there for having one pane less.
            self.notify("There is no other pane: ctrl+n opens one")

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
        except Cancelled:
            self.notify(DUEL_STOPPED)
            return
        except (BackendError, DuelRefused) as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return
        second.show_duel(made, asked[-1] if asked else "")
        if not made.scores:
            self.notify(DUEL_STOPPED)

    def action_widen(self, step: int) -> None:
        """Give the pane's column more or less of the width."""
        self._resize_pane(self.query_one(PaneGrid).widen, step)

    def action_heighten(self, step: int) -> None:
        """Give the pane's row more or less of the height."""
        self._resize_pane(self.query_one(PaneGrid).heighten, step)

    def _resize_pane(self, grow: Callable[[int, int, int], bool], step: int) -> None:
        pane, panes = self.active_pane, self.panes
        if pane is not None and grow(panes.index(pane), len(panes), step):
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
