"""Giving a hub's token, which is never shown again, nor written anywhere but into the hub's own store."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static

from backends.errors import BackendError
from specs.model import HUGGINGFACE, MODELSCOPE
from tui.screens.dialog import Dialog
from tui.services import Services
from tui.widgets.cell_detail import HUB_WORDS
from tui.widgets.lines import clean, plain
from tui.widgets.typing_line import TypingLine

if TYPE_CHECKING:
    from tui.state import State

BEGINS = {HUGGINGFACE: "hf_…", MODELSCOPE: "ms-…"}
"""How a hub's tokens begin."""


class AskToken(Dialog[str | None]):
    """Gives back the user's name at the hub once the token is kept; None: given up."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "close", id="token.leave")]
    DEFAULT_CSS = """
    AskToken {
        Input { background: $panel; margin: 1 0; }
        #said { color: $muted; }
        #said.-wrong { color: $error; }
    }
    """

    class Kept(Message):
        """The hub takes the token, and it is kept."""

        def __init__(self, user: str) -> None:
            super().__init__()
            self.user = user

    class Refused(Message):
        """The hub does not take it, or could not be asked."""

        def __init__(self, words: str) -> None:
            super().__init__()
            self.words = words

    app: State

    def __init__(self, services: Services, reason: str, page: str | None, hub: str) -> None:
        super().__init__()
        self._hub = hub
        self._services = services
        self._reason = reason
        self._page = page

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = plain(f"A token for {HUB_WORDS.get(self._hub, self._hub)}")
            box.border_subtitle = plain("enter keeps it   esc leaves")
            yield Static(clean(self._reason), markup=False)
            if self._page and self._page not in self._reason:
                yield Static(clean(self._page), markup=False)
            yield TypingLine(password=True, placeholder=BEGINS.get(self._hub, ""), compact=True)
            yield Static("It goes into the hub's own store, readable by you alone.", id="said", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        text, event.input.value = event.value.strip(), ""
        if not text:
            return
        self._say("asking the hub")

        def work() -> None:
            try:
                self.post_message(self.Kept(self._services.keep_token(text, self._hub)))
            except BackendError as error:
                self.post_message(self.Refused(str(error)))

        self.app.in_background(work, "keeping a token")

    def _say(self, words: str, *, wrong: bool = False) -> None:
        said = self.query_one("#said", Static)
        said.set_class(wrong, "-wrong")
        said.update(clean(words))

    def on_ask_token_kept(self, message: Kept) -> None:
        self.dismiss(message.user)

    def on_ask_token_refused(self, message: Refused) -> None:
        self._say(message.words, wrong=True)

    def action_leave(self) -> None:
        self.dismiss(None)
