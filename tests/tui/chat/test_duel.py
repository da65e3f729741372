"""Two quantizations of one model on one answer."""

from __future__ import annotations

from chat_app import RunChat, load_request

from backends.engines.scripted import ScriptedAdapter

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
        assert "its first choice here:  vier 75 %" in c.notice(second)
        await c.pilot.press("escape", "escape")
        await c.pilot.pause()
        assert second.duel is None


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
