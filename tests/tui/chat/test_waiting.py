"""An answer that waits behind another pane's, and a model that goes meanwhile."""

from __future__ import annotations

import threading

import pytest
from chat_app import Chat, RunChat

from backends.engines.scripted import ScriptedAdapter
from backends.errors import EngineCrashed
from tui.widgets.chat_pane import ChatPane


async def two_panes_of_one_model(c: Chat) -> tuple[ChatPane, ChatPane]:
    """The first one's answer has begun, the second one's waits for its end."""
    first = await c.load()
    await c.type("go")
    await c.pilot.press("enter")
    await c.until(lambda: "one" in c.shown(first))
    await c.pilot.press("ctrl+n")
    await c.until(lambda: len(c.screen.panes) == 2)
    second = c.pane
    await c.type("and you")
    await c.pilot.press("enter")
    await c.until(lambda: second.state == "waiting")
    return first, second


async def test_an_answer_that_waits_its_turn_is_stopped_at_once(chat: RunChat) -> None:
    gate = threading.Event()
    async with chat(ScriptedAdapter(["one ", gate, "two"]), size=(140, 30)) as c:
        first, second = await two_panes_of_one_model(c)
        await c.pilot.press("escape")
        await c.until(lambda: second.generation is None)
        assert "stopped" in c.shown(second)
        assert first.generation is not None
        await c.type("again")
        await c.pilot.press("enter")
        await c.until(lambda: second.state == "waiting")
        gate.set()
        await c.quiet()
        assert c.shown(first).count("two") == c.shown(second).count("two") == 1
        assert [len(call.turns) for call in c.engine.calls] == [1, 3]


async def test_an_answer_that_waits_its_turn_ends_when_the_model_is_unloaded(chat: RunChat) -> None:
    gate = threading.Event()
    async with chat(ScriptedAdapter(["one ", gate, "two"]), size=(140, 30)) as c:
        first, second = await two_panes_of_one_model(c)
        assert first.model is not None
        first.model.close()
        gate.set()
        await c.until(lambda: first.generation is None and second.generation is None)
        await c.until(lambda: first.state == second.state == "unloaded")
        assert "stopped" in c.shown(second)


@pytest.mark.parametrize("name", ["first", "second"])
async def test_an_answer_that_waits_its_turn_ends_when_the_engine_dies(chat: RunChat, name: str) -> None:
    gate = threading.Event()
    script = ["one ", gate, EngineCrashed("llama.cpp ended by signal 9")]
    async with chat(ScriptedAdapter(script), size=(140, 30)) as c:
        first, second = await two_panes_of_one_model(c)
        pane = {"first": first, "second": second}[name]
        gate.set()
        await c.until(lambda: first.generation is None and second.generation is None)
        await c.until(lambda: pane.state == "failed")
        assert "signal 9" in c.notice(pane)
        assert "ctrl+l loads it again in a process of its own" in c.notice(pane)
