"""A small app round the chat screen, with an engine that answers from a script."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from textual.app import App
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import Input

import tui
from backends.conversation import Conversation, Node
from backends.engines.engine import LoadOptions, Weights
from backends.engines.scripted import ScriptedAdapter, ScriptedEngine
from backends.loaded import LoadRequest
from tui.app import Deck
from tui.screens.ask_line import AskLine
from tui.screens.chat import ChatScreen
from tui.themes import DARK, THEMES, fallback_variables
from tui.widgets.chat_pane import ChatPane

LONGEST_WAIT_SECONDS = 120.0
"""How long a test waits for something to come true."""


class ChatApp(App[None]):
    """Nothing but the chat screen."""

    HORIZONTAL_BREAKPOINTS = Deck.HORIZONTAL_BREAKPOINTS
    VERTICAL_BREAKPOINTS = Deck.VERTICAL_BREAKPOINTS
    CSS_PATH = Path(tui.__file__).parent / "app.tcss"

    def __init__(self, adapter: ScriptedAdapter) -> None:
        super().__init__()
        self.adapter = adapter
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return fallback_variables(self.current_theme)

    def on_mount(self) -> None:
        self.push_screen(ChatScreen(lambda _name: self.adapter))


def load_request(
    name: str = "llama-3-instruct 8B", quantization: str = "Q4_K_M", *, chats: bool = True, context: int = 8192
) -> LoadRequest:
    """What a fit would ask to be loaded."""
    weights = Weights(Path("/weights/model.gguf"), name, "ggufv2", quantization, chats=chats)
    return LoadRequest("llama.cpp", weights, LoadOptions(context), f"{name}/{quantization}", 5_000_000_000, "GPU")


def long_conversation(turns: int) -> Conversation:
    """A conversation of so many turns with a little of everything in each."""
    text = "Sunlight holds **all colours** and `code`.\n\n- an item\n- another\n\n```python\nx = 1\n```\n"
    nodes = tuple(
        Node(f"n{n}", f"n{n - 1}" if n else None, "assistant" if n % 2 else "user", f"{n} {text}") for n in range(turns)
    )
    return Conversation("long", nodes=nodes, leaf=nodes[-1].id)


@dataclass
class Chat:
    """The running app, and the ways a user goes."""

    app: ChatApp
    pilot: Pilot[None]
    adapter: ScriptedAdapter

    @property
    def screen(self) -> ChatScreen:
        screen = self.app.screen_stack[1]
        assert isinstance(screen, ChatScreen)
        return screen

    @property
    def pane(self) -> ChatPane:
        pane = self.screen.active_pane
        assert pane is not None
        return pane

    @property
    def engine(self) -> ScriptedEngine:
        return self.adapter.engines[-1]

    async def until(self, true: Callable[[], object]) -> None:
        """Let the app run until something is so.

        A wait for nothing ends here: pytest's own deadline may strike inside a handler of Textual's, where it ends
        that handler's task and not this wait.
        """
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while not true():
            assert self.app.is_running, f"the app ended meanwhile: {self.app._exception}"
            assert time.monotonic() < deadline, f"waited {LONGEST_WAIT_SECONDS:.0f} s for nothing"
            await self.pilot.pause(0.001)
        await self.pilot.pause()

    async def load(self, request: LoadRequest | None = None, *, beside: bool = False) -> ChatPane:
        pane = await self.screen.load(request or load_request(), beside=beside)
        await self.until(lambda: pane.state != "loading")
        return pane

    async def type(self, text: str) -> None:
        self.screen.prompt.area.insert(text)
        await self.pilot.pause()

    async def say(self, text: str) -> None:
        """Type, send, and wait for every answer."""
        await self.type(text)
        await self.pilot.press("enter")
        await self.quiet()

    async def answer(self, text: str) -> None:
        """Type into the one-line question that is asked."""
        await self.until(lambda: isinstance(self.app.screen, AskLine))
        asked = self.app.screen
        asked.query_one(Input).value = text
        await self.pilot.press("enter")
        await self.until(lambda: self.app.screen is not asked)

    async def quiet(self) -> None:
        await self.pilot.pause()
        await self.until(lambda: all(pane.generation is None for pane in self.screen.panes))

    def foot(self, pane: ChatPane) -> str:
        """What stands below the pane."""
        return self._line(pane._foot.region)

    def notice(self, pane: ChatPane) -> str:
        """What the pane says of itself."""
        return self._line(pane._notice.region)

    def _line(self, region: Region) -> str:
        rows = self.screen._compositor.render_strips()
        return "\n".join(rows[y].crop(region.x, region.right).text for y in range(region.y, region.bottom))

    def shown(self, pane: ChatPane | None = None) -> str:
        """What stands in the transcript's part of the screen, as it was painted, without the scroll bar."""
        region = (pane or self.pane).transcript.content_region
        rows = self.screen._compositor.render_strips()
        return "\n".join(rows[y].text[region.x : region.right - 1].rstrip() for y in range(region.y, region.bottom))


RunChat = Callable[..., AbstractAsyncContextManager[Chat]]


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> RunChat:
    """Start the app: `async with chat(adapter) as c`."""
    monkeypatch.setenv("MODELDECK_ASCII", "0")

    @asynccontextmanager
    async def run(adapter: ScriptedAdapter | None = None, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Chat]:
        adapter = adapter or ScriptedAdapter()
        app = ChatApp(adapter)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield Chat(app, pilot, adapter)

    return run
