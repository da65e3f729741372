"""The way to a chat: from the wish to talk to a variant or a server to the chat screen that loads it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from tui import units
from tui.fetching import Fetching
from tui.messages import ChatWanted, DownloadWanted, LoadAndTalk, LoadWanted
from tui.services import Library, Services

if TYPE_CHECKING:
    from backends.at_work import Crashed
    from backends.engines.remote import RemoteModel
    from backends.fit import Option
    from backends.loaded import LoadRequest
    from specs.model import Variant
    from tui.screens.chat import ChatScreen
    from tui.widgets.chat_pane import ChatPane

logger = logging.getLogger("modeldeck")

ENOUGH_TOKENS = 16
"""Decoded tokens below which an answer's speed says little."""


class Talking(Fetching):
    """Asks what must be asked first, has missing weights downloaded, and hands over to the chat screen."""

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

    def __init__(self, services: Services | None = None) -> None:
        super().__init__(services)
        self._before_library: ChatWanted | None = None
        """A chat that was asked for before it was known what lies on this disk."""
        self._chat_screen: ChatScreen | None = None
        """None: nobody talked yet."""
        self._wish = 0
        """Counts what was wanted for the pane that is talked to: finding out how to load takes its time."""

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
        if not self.screen_stack or not self.screen.is_modal:
            return
        from tui.screens.ask import Ask  # not before there is a question: it would keep the first frame waiting

        if isinstance(self.screen, Ask):
            self.screen.close_if_moot()

    def on_chat_wanted(self, message: ChatWanted) -> None:
        option = message.option
        if option.engine_status != "ready":
            status = (self.statuses or {}).get(option.engine)
            if status is not None:
                status = status.of(option.variant.spec.format, option.variant.quantization)
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
        elif option.verdict == "no" and not self._has_room_to_make(option, path):
            reason = option.reason or "This machine has not enough memory for it"
            self._ask(
                "It does not fit",
                f"{reason.removesuffix('.')}. Load it all the same?",
                partial(self._talk, option, path, message.beside),
            )
        else:
            self._talk(option, path, message.beside)

    def room_note(self, option: Option) -> str:
        if option.verdict != "no" or not self._has_room_to_make(option, Path()):
            return ""
        return "models of yours in memory hold what it lacks: enter asks which of them to unload for it"

    def _has_room_to_make(self, option: Option, path: Path) -> bool:
        """Whether models of ours are in its way: the chat then asks which of them is to go."""
        from backends.loaded import load_request

        chat = self._chat_screen
        return chat is not None and chat.has_room_to_make(load_request(option, path))

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
        self._wish += not beside
        wish = self._wish
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
            if not beside and wish != self._wish:
                return  # another model was wanted for this pane meanwhile
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

    def on_talking_server_told(self, message: ServerTold) -> None:
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
        self._wish += 1
        self.switch_mode("chat")
        self.screen.post_message(LoadWanted(request))

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
