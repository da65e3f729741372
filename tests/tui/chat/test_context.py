"""The context: counted live, and nothing cut without being asked."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from chat_app import Chat, RunChat, load_request
from textual.widgets import Static

from backends.engines.engine import Sampling, Turn
from backends.engines.remote import RemoteModel
from backends.engines.scripted import ScriptedAdapter
from backends.errors import EngineCrashed
from backends.servers import remote_request
from tui.screens.overflow import Overflow


async def full(c: Chat) -> None:
    """A conversation that leaves no room in 100 tokens for the next prompt."""
    await c.load(load_request(context=100))
    await c.say("word " * 30)
    await c.say("more " * 30)
    await c.type("next " * 20)
    await c.pilot.press("enter")
    await c.until(lambda: isinstance(c.app.screen, Overflow))


async def test_system_history_and_draft_are_counted_while_one_types(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("one two three")) as c:
        await c.load()
        c.pane.tell("be brief", c.pane.sampling)
        await c.say("hello there")
        await c.type("four words of draft")
        await c.until(lambda: c.pane.budget and c.pane.budget.draft)
        subtitle = str(c.screen.prompt.border_subtitle)
        assert "system 2" in subtitle
        assert "draft 5" in subtitle
        assert "of 8,192 tokens" in subtitle


async def test_a_prompt_that_does_not_fit_is_not_sent_without_asking(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("short")) as c:
        await full(c)
        assert len(c.engine.calls) == 2
        await c.pilot.press("escape")
        await c.until(lambda: c.app.screen is c.screen)
        assert c.screen.prompt.area.text == "next " * 20


async def test_the_oldest_turns_can_be_left_out_and_say_so(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("short")) as c:
        await full(c)
        await c.pilot.press("d")
        await c.quiet()
        assert c.engine.calls[-1].turns == (
            Turn("user", "more " * 30), Turn("assistant", "short"), Turn("user", "next " * 20),
        ) or c.engine.calls[-1].turns == (Turn("user", "next " * 20),)  # fmt: skip
        assert len(c.pane.transcript.entries) == 6
        assert c.pane.transcript.entries[0].note == "left out of the context"


async def test_the_oldest_turns_can_be_summarised(chat: RunChat) -> None:
    def script(turns: tuple[Turn, ...]) -> str:
        return "We spoke of words." if "Summarise" in turns[-1].text else "short"

    async with chat(ScriptedAdapter(script)) as c:
        await full(c)
        await c.pilot.press("s")
        await c.until(lambda: len(c.engine.calls) == 4)
        await c.quiet()
        assert c.engine.calls[-1].turns[0].role == "system"
        assert "We spoke of words." in c.engine.calls[-1].turns[0].text
        assert c.engine.calls[-1].turns[-1] == Turn("user", "next " * 20)


async def test_the_model_can_be_loaded_with_a_longer_context(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("short")) as c:
        await full(c)
        await c.pilot.press("l")
        await c.until(lambda: len(c.adapter.engines) == 2 and c.engine.calls)
        await c.quiet()
        assert c.engine.context == 200
        assert str(c.screen.prompt.border_subtitle).endswith("of 200 tokens")
        assert len(c.engine.calls[-1].turns) == 5


async def test_a_draft_that_was_sent_is_not_counted_behind_its_answer(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("one two three")) as c:
        await c.load()
        await c.say("hello there")
        counted = c.pane.context_used
        # The typing has rested by now, which was for the draft before the answer.
        assert c.pane._draft_timer is not None
        c.pane._draft_timer._callback()  # type: ignore[misc]
        await c.until(lambda: c.pane.model is not None and not c.pane.model.busy)
        assert c.pane.context_used == counted == 6


async def test_a_draft_typed_during_an_answer_is_counted_when_it_ends(chat: RunChat) -> None:
    go = threading.Event()
    async with chat(ScriptedAdapter(["one", go, " two"])) as c:
        await c.load()
        await c.type("hello")
        await c.pilot.press("enter")
        await c.until(lambda: "one" in c.shown())
        await c.type("three more words")
        go.set()
        await c.quiet()
        await c.until(lambda: c.pane.budget is not None and c.pane.budget.draft == 4)


async def test_a_context_that_does_not_fit_is_not_offered(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("done")) as c:
        await c.load(replace(load_request(context=64), max_context=100))
        await c.type("word " * 80)
        await c.pilot.press("enter")
        await c.until(lambda: isinstance(c.app.screen, Overflow))
        await c.pilot.press("l")
        await c.pilot.pause()
        assert isinstance(c.app.screen, Overflow)
        await c.pilot.press("escape")
        assert c.screen.prompt.area.text == "word " * 80


async def test_a_prompt_for_all_stays_out_of_a_pane_whose_context_is_full(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("done"), size=(140, 30)) as c:
        large = await c.load(load_request(quantization="Q8_0"))
        small = await c.load(load_request(context=64), beside=True)
        await c.pilot.press("ctrl+b")
        await c.say("word " * 80)
        assert [n.text for n in large.conversation.path()] == ["word " * 80, "done"]
        assert not small.conversation.nodes
        said = [note.message for note in c.app._notifications]
        assert any("tokens too many for the context of llama-3-instruct 8B Q4_K_M" in one for one in said)
        await c.pilot.press("up")
        assert c.screen.prompt.area.text == "word " * 80


async def test_the_room_that_an_answer_needs_is_counted_and_said(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("short"), size=(110, 30)) as c:
        await full(c)
        budget = c.pane.budget
        assert budget is not None
        assert budget.over == budget.total + 12 - 100
        await c.pilot.pause()
        rows = " ".join(strip.text.strip(" │") for strip in c.app.screen._compositor.render_strips())
        assert f"are {budget.total} tokens, an answer needs at least 12 more, and the context holds 100." in " ".join(
            rows.split()
        )
        await c.pilot.press("escape")
        await c.until(lambda: c.app.screen is c.screen)
        subtitle = str(c.screen.prompt.border_subtitle)
        assert subtitle.startswith(f"{budget.over} tokens too many: ")
        assert f"draft {budget.draft} · answer 12 of 100 tokens" in subtitle


async def test_a_single_token_too_many_is_one_token(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("short"), size=(110, 30)) as c:
        await c.load(load_request(context=64))
        await c.type("word " * 55)  # 57 tokens in its template, and 8 for an answer
        await c.until(lambda: str(c.screen.prompt.border_subtitle).startswith("1 token too many: "))


async def test_a_summary_can_be_stopped_and_the_prompt_comes_back(chat: RunChat) -> None:
    go = threading.Event()

    def script(turns: tuple[Turn, ...]) -> list[str | threading.Event] | str:
        return ["We", go, " spoke"] if "Summarise" in turns[-1].text else "short"

    async with chat(ScriptedAdapter(script)) as c:
        await full(c)
        await c.pilot.press("s")
        await c.until(lambda: len(c.engine.calls) == 3)
        assert "summarising" in c.foot(c.pane)
        assert "tok/s" not in c.foot(c.pane)
        await c.type("more")
        await c.pilot.press("enter")
        await c.pilot.pause()
        assert any("is summarising what was said" in note.message for note in c.app._notifications)
        c.screen.prompt.clear()
        await c.pilot.press("escape")
        go.set()
        await c.until(lambda: c.pane.state == "ready")
        await c.until(lambda: c.screen.prompt.area.text == "next " * 20)
        assert len(c.engine.calls) == 3
        assert not c.pane.conversation.dropped
        assert not c.pane.conversation.system


async def test_a_summary_that_is_itself_too_long_asks_again(chat: RunChat) -> None:
    def script(turns: tuple[Turn, ...]) -> str:
        return "much " * 70 if "Summarise" in turns[-1].text else "short"

    async with chat(ScriptedAdapter(script)) as c:
        await full(c)
        await c.pilot.press("s")
        await c.until(lambda: c.pane.conversation.dropped)
        await c.until(lambda: isinstance(c.app.screen, Overflow))
        assert len(c.engine.calls) == 3
        await c.pilot.press("escape")
        await c.until(lambda: c.app.screen is c.screen)
        assert c.screen.prompt.area.text == "next " * 20


async def test_what_was_too_many_is_not_said_any_more_once_it_answers(chat: RunChat) -> None:
    go = threading.Event()

    def script(turns: tuple[Turn, ...]) -> list[str | threading.Event] | str:
        return ["one", go] if turns[-1].text.startswith("next") else "short"

    async with chat(ScriptedAdapter(script)) as c:
        await full(c)
        assert "too many" in str(c.screen.prompt.border_subtitle)
        await c.pilot.press("d")
        await c.until(lambda: "one" in c.shown())
        subtitle = str(c.screen.prompt.border_subtitle)
        go.set()
        assert "too many" not in subtitle
        assert "draft" not in subtitle


async def test_what_an_answer_takes_is_counted_behind_the_prompt_while_it_comes(
    chat: RunChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.widgets.answering_pane.PULSE_SECONDS", 0.01)
    monkeypatch.setattr("tui.widgets.answering_pane.GROWTH_SECONDS", 0.0)
    gate = threading.Event()
    async with chat(ScriptedAdapter(["one", " two", " three", gate, " four"])) as c:
        pane = await c.load()
        await c.type("hello")
        await c.pilot.press("enter")
        await c.until(lambda: "three" in c.shown())
        await c.until(lambda: pane.context_used == 5)
        await c.until(lambda: str(c.screen.prompt.border_subtitle) == "history 5 of 8,192 tokens")
        gate.set()
        await c.quiet()


async def test_an_answer_that_fills_the_context_goes_on_after_the_oldest_turns_were_left_out(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(lambda turns: "short" if len(turns) < 3 else "much " * 200)) as c:
        pane = await c.load(load_request(context=100))
        await c.say("first " * 40)
        await c.say("second")
        assert pane.conversation.path()[-1].stop_reason == "context"
        assert "the context is full · ctrl+g asks how to make room and goes on" in c.shown()
        first, answer = (n.id for n in pane.conversation.path()[:2])
        await c.pilot.press("ctrl+g")
        await c.until(lambda: isinstance(c.app.screen, Overflow))
        await c.pilot.press("escape")
        await c.until(lambda: c.app.screen is c.screen)
        assert len(c.engine.calls) == 2
        await c.pilot.press("ctrl+g")
        await c.until(lambda: isinstance(c.app.screen, Overflow))
        await c.pilot.press("d")
        await c.until(lambda: len(c.engine.calls) == 3)
        await c.quiet()
        assert pane.conversation.dropped == (first, answer)
        assert [turn.role for turn in c.engine.calls[-1].turns] == ["user", "assistant"]


async def test_a_first_answer_that_fills_the_context_can_only_go_on_in_a_longer_one(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("much " * 200)) as c:
        pane = await c.load(load_request(context=50))
        await c.say("go")
        before = pane.conversation.path()[-1].text
        await c.pilot.press("ctrl+g")
        await c.until(lambda: isinstance(c.app.screen, Overflow))
        await c.pilot.press("d", "s")
        await c.pilot.pause()
        assert isinstance(c.app.screen, Overflow)
        await c.pilot.press("l")
        await c.until(lambda: len(c.adapter.engines) == 2 and c.engine.calls)
        await c.quiet()
        assert c.engine.context == 100
        assert pane.conversation.path()[-1].text.startswith(before)
        assert len(pane.conversation.path()[-1].text) > len(before)


async def test_an_answer_cut_at_its_own_limit_just_goes_on(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("much " * 200)) as c:
        pane = await c.load(load_request(context=500))
        pane.sampling = Sampling(max_tokens=5)
        await c.say("go")
        assert pane.conversation.path()[-1].stop_reason == "length"
        assert "cut at the token limit · ctrl+g goes on" in c.shown()
        await c.pilot.press("ctrl+g")
        await c.until(lambda: len(c.engine.calls) == 2)
        await c.quiet()


async def test_a_crash_during_a_summary_is_said_at_once_and_the_prompt_comes_back(chat: RunChat) -> None:
    def script(turns: tuple[Turn, ...]) -> list[str | Exception] | str:
        return ["We", EngineCrashed("the process ended")] if "Summarise" in turns[-1].text else "short"

    async with chat(ScriptedAdapter(script)) as c:
        await full(c)
        await c.pilot.press("s")
        await c.until(lambda: c.pane.state == "failed")
        await c.until(lambda: c.screen.prompt.area.text == "next " * 20)
        assert "the process ended" in c.notice(c.pane)
        assert "ctrl+l loads it again in a process of its own" in c.notice(c.pane)
        assert not c.pane.conversation.dropped


async def test_a_servers_own_context_is_not_offered_to_be_enlarged(chat: RunChat) -> None:
    told = remote_request(RemoteModel("small", 100), "http://box:8000/v1")
    async with chat(ScriptedAdapter("short")) as c:
        await c.load(told)
        await c.type("next " * 200)
        await c.pilot.press("enter")
        await c.until(lambda: isinstance(c.app.screen, Overflow))
        asked = " ".join(str(widget.render()) for widget in c.app.screen.query(Static))
        assert "load the model again" not in asked
        assert "when it is shorter" in asked
    assert remote_request(RemoteModel("untold", None), "http://box:8000/v1").max_context is None
