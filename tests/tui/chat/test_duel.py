"""Two quantizations of one model on one answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from chat_app import RunChat, load_request
from textual.geometry import Region

from backends.engines.scripted import ScriptedAdapter
from backends.machine.model import Accelerator, Cpu, Machine, Memory

GIB = 1 << 30
ANSWER = "one two three four five six seven eight nine ten"


async def test_places_with_another_first_choice_are_marked_and_counted(chat: RunChat) -> None:
    adapter = ScriptedAdapter(ANSWER, choices={"Q4_K_M": {3: " vier"}})
    async with chat(adapter, size=(160, 30)) as c:
        first = await c.load(load_request(quantization="Q8_0"))
        second = await c.load(load_request(), beside=True)
        await c.pilot.press("f9")
        await c.say("count")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        assert "same first choice 90 %, mean divergence 0." in c.foot(second)
        assert ANSWER in c.shown(second)
        assert [part.text for part in second.passage.parts if part.differs] == [" four"]
        assert first.duel is None
        assert len(first.conversation.nodes) == 2
        assert not second.conversation.nodes


async def test_the_token_cursor_says_what_the_other_would_have_said(chat: RunChat) -> None:
    adapter = ScriptedAdapter(ANSWER, choices={"Q4_K_M": {3: " vier"}})
    async with chat(adapter, size=(160, 30)) as c:
        await c.load(load_request(quantization="Q8_0"))
        second = await c.load(load_request(), beside=True)
        await c.pilot.press("f9")
        await c.say("count")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        second.transcript.focus()
        await c.pilot.press("right")
        await c.pilot.pause()
        assert 'its first choice here: " vier" 75 %' in c.notice(second)
        await c.pilot.press("escape", "escape")
        await c.pilot.pause()
        assert second.duel is None


async def test_every_line_is_as_wide_as_the_pane_behind_tabs(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(ANSWER), size=(80, 24)) as c:
        await c.load(load_request(quantization="Q8_0"))
        second = await c.load(load_request(), beside=True)
        await c.pilot.press("f9")
        await c.say("count")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        c.screen.activate(second)
        await c.pilot.pause()
        region = second.transcript.region
        lines = second.transcript.render_lines(Region(0, 0, region.width, region.height))
        assert {sum(segment.cell_length for segment in line) for line in lines} == {80}


async def test_both_models_take_turns_when_one_was_unloaded(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(ANSWER), size=(160, 30)) as c:
        first = await c.load(load_request(quantization="Q8_0"))
        second = await c.load(load_request(), beside=True)
        await c.pilot.press("f9")
        await c.say("count")
        assert second.model is not None
        second.model.close()
        await c.until(lambda: second.state == "unloaded")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        assert "same first choice 100 %" in c.foot(second)
        assert first.state == second.state == "ready"


async def test_a_duel_needs_another_quantization_and_says_so(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.load(load_request("gemma-3 4B"), beside=True)
        await c.say("go")
        await c.pilot.press("ctrl+s")
        await c.pilot.pause()
        assert any("another quantization of gemma-3 4B" in note.message for note in c.app._notifications)


async def test_thinking_is_compared_as_well_and_has_figures_of_its_own(chat: RunChat) -> None:
    adapter = ScriptedAdapter(f"<think>let me count now</think>{ANSWER}", choices={"Q4_K_M": {1: " us", 7: " vier"}})
    async with chat(adapter, size=(160, 30)) as c:
        await c.load(load_request(quantization="Q8_0"))
        second = await c.load(load_request(), beside=True)
        await c.pilot.press("f9")
        await c.say("count")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        assert "same first choice 85 %" in c.foot(second)
        shown = c.shown(second)
        assert "thinking: same 75 %, divergence" in shown
        assert "answer: same 90 %, divergence" in shown
        assert [part.text for part in second.passage.parts if part.differs] == [" me", " four"]


async def test_an_engine_that_scores_nothing_is_named_with_what_to_do(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(ANSWER), size=(160, 30)) as c:
        await c.load(load_request(quantization="Q8_0"))
        second = await c.load(replace(load_request(quantization="none"), engine="vLLM"), beside=True)
        await c.pilot.press("f9")
        await c.say("count")
        await c.pilot.press("ctrl+s")
        await c.pilot.pause()
        said = [note.message for note in c.app._notifications]
        assert any("vLLM tells the probabilities of its own words alone" in one for one in said)
        assert any("load this variant with llama.cpp, Transformers or MLX" in one for one in said)
        assert second.duel is None


async def test_models_that_do_not_fit_beside_each_other_score_one_after_the_other(chat: RunChat) -> None:
    adapter = ScriptedAdapter(ANSWER, memory_bytes=9 * GIB, choices={"Q4_K_M": {3: " vier"}})
    async with chat(adapter, size=(160, 30)) as c:
        card = Accelerator(0, "cuda", "card", None, 12 * GIB, 2 * GIB)
        machine = Machine("linux", "x86_64", Cpu("cpu", 8, 8), Memory(16 * GIB, 8 * GIB), (card,))
        first = await c.load(replace(load_request(quantization="Q8_0"), predicted_bytes=9 * GIB))
        await c.say("count")
        # The other one is beside it, but out of memory: there is room for one only.
        second = await c.screen.add_pane()
        second.request = replace(load_request(), predicted_bytes=9 * GIB)
        second.state = "unloaded"
        c.app.machine = machine  # type: ignore[attr-defined]
        await c.pilot.press("f9")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        assert "same first choice 90 %" in c.foot(second)
        assert first.state == "unloaded"
        assert second.state == "ready"
        assert adapter.engines[0].closed
        assert not adapter.engines[1].closed
        assert any("makes room for" in note.message for note in c.app._notifications)


async def test_a_duel_is_copied_with_its_figures_and_its_places(chat: RunChat, home: Path) -> None:
    adapter = ScriptedAdapter(ANSWER, choices={"Q4_K_M": {3: " vier"}})
    async with chat(adapter, size=(160, 30)) as c:
        await c.load(load_request(quantization="Q8_0"))
        second = await c.load(load_request(), beside=True)
        await c.pilot.press("f9")
        await c.say("count")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        second.transcript.focus()
        await c.pilot.press("c")
        await c.until(lambda: c.app.clipboard)
        asked, _, answer, _, figures, place = c.app.clipboard.splitlines()
        assert (asked, answer) == ("count", ANSWER)
        assert figures.startswith("llama-3-instruct 8B Q4_K_M: same first choice 90 %, mean divergence 0.")
        assert place.startswith('after "one two three": " vier" 75 % instead of " four" ')
