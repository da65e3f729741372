"""A model that does not fit beside the others."""

from __future__ import annotations

from dataclasses import replace

from chat_app import Chat, RunChat, load_request

from backends.engines.scripted import ScriptedAdapter
from backends.machine.model import Accelerator, Cpu, Machine, Memory
from tui.screens.crowded import Crowded

GIB = 1 << 30


async def crowd(c: Chat) -> None:
    """A card of 6 GiB that one model of 5 GB has nearly filled, and another one wanted."""
    card = Accelerator(0, "cuda", "card", None, 6 * GIB, 1 * GIB)
    c.app.machine = Machine("linux", "x86_64", Cpu("cpu", 8, 8), Memory(16 * GIB, 8 * GIB), (card,))  # type: ignore[attr-defined]
    await c.load(load_request(quantization="Q8_0"))
    await c.screen.load(replace(load_request(), predicted_bytes=3 * GIB), beside=True)
    await c.until(lambda: isinstance(c.app.screen, Crowded))


async def test_it_says_which_one_to_unload_and_does_it(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(memory_bytes=4 * GIB), size=(140, 30)) as c:
        await crowd(c)
        first, second = c.screen.panes
        await c.pilot.press("u")
        await c.until(lambda: second.state == "ready" and first.state == "unloaded")
        assert c.adapter.engines[0].closed


async def test_escape_leaves_everything_as_it_is(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(memory_bytes=4 * GIB), size=(140, 30)) as c:
        await crowd(c)
        first, second = c.screen.panes
        await c.pilot.press("escape")
        await c.until(lambda: second.state == "unloaded")
        assert first.state == "ready"
        assert len(c.adapter.engines) == 1


async def test_it_can_be_loaded_anyway(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(memory_bytes=4 * GIB), size=(140, 30)) as c:
        await crowd(c)
        await c.pilot.press("a")
        await c.until(lambda: all(pane.state == "ready" for pane in c.screen.panes))


async def test_what_models_of_ours_hold_is_room_that_can_be_made(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(memory_bytes=4 * GIB), size=(140, 30)) as c:
        wanted = replace(load_request(), predicted_bytes=6 * GIB, short_bytes=3 * GIB)
        await c.pilot.pause()
        assert not c.screen.has_room_to_make(wanted), "nothing is loaded that could go"
        await c.load(load_request(quantization="Q8_0"))
        assert c.screen.has_room_to_make(wanted)
        assert not c.screen.has_room_to_make(replace(wanted, short_bytes=5 * GIB)), "all of ours are too little"
        assert not c.screen.has_room_to_make(replace(wanted, short_bytes=0)), "the fit says that it fits"
