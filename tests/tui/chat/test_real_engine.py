"""The pane with real weights and llama.cpp: complete, stop, go on, choose another token."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_app import Chat, ChatApp
from textual.app import App

from backends.engines.engine import LoadOptions, Weights
from backends.engines.registry import adapter
from backends.loaded import LoadRequest

pytestmark = pytest.mark.weights


async def test_a_base_model_completes_stops_and_goes_on(gemma_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDECK_ASCII", "0")
    weights = Weights(gemma_gguf, "gemma-3 0.27B", "ggufv2", "Q4_K_M", chats=False)
    request = LoadRequest("llama.cpp", weights, LoadOptions(1024, gpu_layers=0), "gemma-3/0.27B", 400_000_000, "CPU")
    app: App[None] = ChatApp(adapter("llama.cpp"))  # type: ignore[arg-type]
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        c = Chat(app, pilot, None)  # type: ignore[arg-type]
        pane = await c.load(request)
        assert pane.state == "ready", str(pane.model and pane.model.error)
        await c.type("The history of the lighthouse begins with")
        await pilot.press("enter")
        await c.until(lambda: len(pane.passage.parts) > 8)
        await pilot.press("escape")
        await c.quiet()
        stopped = pane.conversation.path()[-1]
        assert stopped.stop_reason == "cancelled"
        assert pane.conversation.path()[0].text == "The history of the lighthouse begins with"
        await pilot.press("ctrl+g")
        await c.until(lambda: len(pane.passage.text) > len(stopped.text) + 120)
        await pilot.press("escape")
        await c.quiet()
        assert pane.conversation.path()[-1].text.startswith(stopped.text)
        assert pane.context_used and pane.context_used > 10
        await pilot.press("tab", "left")
        await c.until(lambda: pane.passage.spot is not None)
        part = pane.passage.parts[pane.passage.spot or 0]
        assert len(part.alternatives) >= 5
        await pilot.press("2")
        await c.until(lambda: pane.generation is not None and pane.generation.tokens > 3)
        await pilot.press("escape")
        await c.quiet()
        assert len(pane.conversation.siblings(pane.conversation.leaf or "")) == 2
