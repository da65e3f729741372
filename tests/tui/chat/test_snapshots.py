"""How the chat looks, in the states worth looking at."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from threading import Event

import pytest
from chat_app import Chat, ChatApp, load_request
from textual.pilot import Pilot

from backends.engines.engine import Alternative, Chunk
from backends.engines.scripted import ScriptedAdapter
from backends.errors import EngineError
from backends.machine.model import Accelerator, Cpu, Machine, Memory
from tui import glyphs
from tui.screens.crowded import Crowded
from tui.screens.overflow import Overflow

Compare = Callable[..., bool]
Do = Callable[[Chat], Awaitable[None]]
GIB = 1 << 30
BOTH = pytest.mark.parametrize("size", [(120, 40), (80, 24)])
ANSWER = """Sunlight holds **all colours**, and air scatters `short` waves more than long ones.

| colour | wavelength | scattered |
|---|---:|---:|
| blue | 450 nm | 4.4 |
| red | 700 nm | 0.7 |

```python
def scattered(wavelength: float) -> float:
    return (650 / wavelength) ** 4
```

1. The sky is blue where you look away from the sun.
2. It is red where the light has come a long way.
"""
PLAIN = "Sunlight holds all colours and air scatters the short waves of blue light more than the long ones of red"


@pytest.fixture(autouse=True)
def unicode_glyphs(monkeypatch: pytest.MonkeyPatch) -> Iterable[None]:
    glyphs.choose(False)
    yield
    glyphs.choose(None)


def looks(snap_compare: Compare, size: tuple[int, int], adapter: ScriptedAdapter, do: Do) -> None:
    app = ChatApp(adapter)
    app.animation_level = "none"

    async def before(pilot: Pilot[None]) -> None:
        c = Chat(app, pilot, adapter)
        await do(c)
        # Figures that differ from run to run.
        for pane in c.screen.panes:
            if pane._last is not None and pane._last.stats is not None:
                pane._last.stats = replace(
                    pane._last.stats, prefill_seconds=0.09, decode_seconds=(pane._last.stats.decoded_tokens - 1) / 118
                )
            elif pane._last is not None:
                pane._last.started, pane._last.first_at, pane._last.last_at = 0.0, 0.09, 0.1
            pane.say_all()
        await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=before)


@BOTH
def test_nothing_is_loaded_yet(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        await c.pilot.pause()

    looks(snap_compare, size, ScriptedAdapter(), do)


@BOTH
def test_an_answer_with_markdown_and_folded_thinking(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        await c.load()
        await c.say("Why is the sky blue?")

    steps = [Chunk("The user asks about scattering.", reasoning=True, tokens=6), *ANSWER.splitlines(keepends=True)]
    looks(snap_compare, size, ScriptedAdapter(lambda _: steps), do)


@BOTH
def test_a_duel(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        await c.load(load_request(quantization="Q8_0"))
        second = await c.load(load_request(), beside=True)
        await c.pilot.press("f9")
        await c.say("Why is the sky blue?")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        c.screen.activate(second)
        second.transcript.focus()
        await c.pilot.press("right")
        await c.pilot.pause()

    looks(snap_compare, size, ScriptedAdapter(PLAIN, choices={"Q4_K_M": {5: " the", 11: " violet"}}), do)


def among(*choices: tuple[str, float]) -> tuple[Alternative, ...]:
    return tuple(Alternative(text, n, math.log(share)) for n, (text, share) in enumerate(choices))


@BOTH
def test_a_duel_with_thinking(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        await c.load(load_request(quantization="Q8_0"))
        second = await c.load(load_request(), beside=True)
        await c.pilot.press("f9")
        await c.say("Why is the sky blue?")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        c.screen.activate(second)
        await c.pilot.pause()

    thought = "<think>The user asks about the scattering of light.</think>"
    looks(snap_compare, size, ScriptedAdapter(thought + PLAIN, choices={"Q4_K_M": {3: " wants", 14: " violet"}}), do)


@BOTH
def test_a_completion_with_alternatives(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        await c.load(load_request("llama-3.1 8B", chats=False))
        await c.say("The lighthouse stood on the cliff and")
        await c.pilot.press("tab", "left")
        await c.pilot.pause()

    first = among((" the", 0.18), (" was", 0.12), (" looked", 0.11), (" watched", 0.11), (" a", 0.03))
    second = among((" out", 0.6), (" over", 0.3), (" down", 0.05), (" at", 0.02), ("\n", 0.01))
    steps = [
        Chunk(" looked", tokens=1, alternatives=(first,)),
        Chunk(" out", tokens=1, alternatives=(second,)),
        Chunk(" over the sea.", tokens=1),
    ]
    looks(snap_compare, size, ScriptedAdapter(lambda _: steps), do)


@BOTH
def test_an_engine_that_died_in_the_middle(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        await c.load()
        await c.say("Why is the sky blue?")

    steps = [*PLAIN.split(" ")[:1], " holds", EngineError("llama.cpp failed on llama-3-instruct", "out of memory")]
    looks(snap_compare, size, ScriptedAdapter(lambda _: steps), do)


@BOTH
def test_loading(snap_compare: Compare, size: tuple[int, int]) -> None:
    hold = Event()

    async def do(c: Chat) -> None:
        pane = await c.screen.load(load_request())
        await c.until(lambda: pane.model is not None and pane.model.share > 0)

    try:
        looks(snap_compare, size, ScriptedAdapter(hold=hold), do)
    finally:
        hold.set()


@BOTH
def test_not_enough_room_beside_the_others(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        await c.load(load_request(quantization="Q8_0"))
        card = Accelerator(0, "cuda", "card", None, 12 * GIB, 2 * GIB)
        machine = Machine("linux", "x86_64", Cpu("cpu", 8, 8), Memory(16 * GIB, 8 * GIB), (card,))
        c.app.machine = machine  # type: ignore[attr-defined]
        await c.screen.load(load_request(), beside=True)
        await c.until(lambda: isinstance(c.app.screen, Crowded))

    looks(snap_compare, size, ScriptedAdapter(memory_bytes=9 * GIB), do)


@BOTH
def test_more_than_the_context_holds(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        await c.load(load_request(context=64))
        await c.say("one two three four five")
        await c.type("word " * 60)
        await c.pilot.press("enter")
        await c.until(lambda: isinstance(c.app.screen, Overflow))

    looks(snap_compare, size, ScriptedAdapter(PLAIN), do)


@BOTH
def test_four_panes_on_one_prompt(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        for quantization in ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"):
            await c.load(load_request(quantization=quantization), beside=True)
        await c.pilot.press("ctrl+b")
        await c.say("Why is the sky blue?")

    looks(snap_compare, size, ScriptedAdapter(PLAIN), do)


@BOTH
def test_settings(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def do(c: Chat) -> None:
        await c.load()
        await c.pilot.press("f2")
        await c.pilot.pause()

    looks(snap_compare, size, ScriptedAdapter(), do)
