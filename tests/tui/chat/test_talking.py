"""Talking to one model: what a user types, sees and stops."""

from __future__ import annotations

import re
import threading

import pytest
from chat_app import ChatApp, RunChat, load_request
from textual import events
from textual.widgets import Input

from backends.engines.engine import Chunk, Turn
from backends.engines.scripted import ScriptedAdapter
from backends.errors import DamagedWeights, EngineCrashed, EngineError
from tui.screens.ask_line import AskLine
from tui.settings import Settings


async def test_without_a_model_the_screen_says_what_to_do_first(chat: RunChat) -> None:
    async with chat() as c:
        assert c.screen.query_one("#empty").display
        assert "f5" in str(c.screen.query_one("#empty-steps").render())


async def test_an_answer_stands_below_its_prompt(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("It scatters.")) as c:
        await c.load()
        await c.say("Why is the sky blue?")
        assert "Why is the sky blue?" in c.shown()
        assert "It scatters." in c.shown()
        assert c.engine.calls[0].turns == (Turn("user", "Why is the sky blue?"),)


async def test_the_head_says_model_engine_and_place(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        assert c.pane.query_one("#head").text == "llama-3-instruct 8B Q4_K_M · llama.cpp · CPU"


async def test_the_foot_counts_the_context(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("one two three")) as c:
        await c.load()
        await c.say("hello there")
        assert "6 of 8,192" in c.pane.query_one("#foot").text


async def test_loading_shows_how_far_it_is_and_a_prompt_may_be_sent_already(chat: RunChat) -> None:
    hold = threading.Event()
    async with chat(ScriptedAdapter("done", hold=hold)) as c:
        pane = await c.screen.load(load_request())
        await c.until(lambda: "25 %" in str(pane.query_one("#notice").render()))
        await c.type("early")
        await c.pilot.press("enter")
        hold.set()
        await c.until(lambda: pane.conversation.nodes and pane.generation is None)
        assert [n.text for n in pane.conversation.path()] == ["early", "done"]


async def test_a_failed_load_shows_the_inner_line_and_offers_a_smaller_one(chat: RunChat) -> None:
    adapter = ScriptedAdapter(fails=EngineError("llama.cpp could not load it", "failed to allocate KV cache"))
    async with chat(adapter) as c:
        await c.load()
        notice = str(c.pane.query_one("#notice").render())
        assert "failed to allocate KV cache" in notice
        assert "4,096" in notice
        adapter.fails = None
        await c.pilot.press("ctrl+l")
        await c.until(lambda: c.pane.state == "ready")
        assert c.pane.context == 4096


async def test_weights_that_are_not_whole_are_not_offered_smaller_but_verified(chat: RunChat) -> None:
    line = "tensor 'token_embd.weight' data is not within the file bounds, model is corrupted or incomplete"
    async with chat(ScriptedAdapter(fails=EngineError("llama.cpp cannot load it", line))) as c:
        await c.load()
        notice = " ".join(c.notice(c.pane).split())
        assert "`modeldeck library verify` says which file is not whole" in notice
        assert "4,096" not in notice
        await c.pilot.press("ctrl+l")
        await c.until(lambda: c.pane.state == "failed")
        assert c.pane.context == 8192


async def test_damaged_weights_are_to_be_checked_and_not_loaded_smaller(chat: RunChat) -> None:
    damaged = DamagedWeights(
        "llama.cpp cannot load it; modeldeck library verify 'm' checks it", "not within the bounds"
    )
    adapter = ScriptedAdapter(fails=damaged)
    async with chat(adapter) as c:
        await c.load()
        notice = str(c.pane.query_one("#notice").render())
        assert "modeldeck library verify 'm'" in notice
        assert "with a context of" not in notice
        context = c.pane.context
        adapter.fails = None
        await c.pilot.press("ctrl+l")
        await c.until(lambda: c.pane.state == "ready")
        assert c.pane.context == context


async def test_escape_stops_and_keeps_what_came(chat: RunChat) -> None:
    never = threading.Event()
    async with chat(ScriptedAdapter(["What", " came", never, " not this"])) as c:
        await c.load()
        await c.type("go")
        await c.pilot.press("enter")
        await c.until(lambda: "What came" in c.shown())
        await c.pilot.press("escape")
        await c.quiet()
        assert c.pane.conversation.path()[-1].text == "What came"
        assert c.pane.conversation.path()[-1].stop_reason == "cancelled"
        assert "stopped" in c.shown()


async def test_ctrl_g_goes_on_with_a_stopped_answer(chat: RunChat) -> None:
    never = threading.Event()
    answers = iter([["What", " came", never], [" and the rest"]])
    async with chat(ScriptedAdapter(lambda turns: next(answers))) as c:
        await c.load()
        await c.type("go")
        await c.pilot.press("enter")
        await c.until(lambda: "What came" in c.shown())
        await c.pilot.press("escape")
        await c.quiet()
        await c.pilot.press("ctrl+g")
        await c.quiet()
        assert c.engine.calls[1].turns == (Turn("user", "go"), Turn("assistant", "What came"))
        assert c.pane.conversation.path()[-1].text == "What came and the rest"
        assert len(c.pane.conversation.nodes) == 2


async def test_ctrl_r_answers_again_on_a_branch(chat: RunChat) -> None:
    answers = iter(["first answer", "second answer"])
    async with chat(ScriptedAdapter(lambda turns: next(answers))) as c:
        await c.load()
        await c.say("go")
        await c.pilot.press("ctrl+r")
        await c.quiet()
        assert "second answer" in c.shown()
        assert "first answer" not in c.shown()
        assert "2 of 2" in c.shown()


async def test_one_stream_at_a_time_whatever_is_pressed(chat: RunChat) -> None:
    never = threading.Event()
    async with chat(ScriptedAdapter(["Some", " words", never])) as c:
        await c.load()
        for prompt in ("one", "two", "three"):
            await c.type(prompt)
            await c.pilot.press("enter")
        await c.pilot.press("ctrl+r")
        await c.until(lambda: "Some words" in c.shown())
        await c.pilot.press("escape")
        await c.quiet()
        assert c.engine.streams_at_once == 1
        assert [n.text for n in c.pane.conversation.path() if n.role == "user"] == ["one", "two", "three"]


async def test_an_engine_that_dies_leaves_its_words_and_says_why(chat: RunChat) -> None:
    died = EngineError("llama.cpp failed while decoding", "llama_decode returned -3")
    async with chat(ScriptedAdapter(["What", " came", died])) as c:
        await c.load()
        await c.say("go")
        assert "What came" in c.shown()
        assert "llama_decode returned -3" in c.shown()
        assert c.pane.state == "ready"


async def test_a_model_whose_process_died_is_offered_smaller_and_in_one_of_its_own(chat: RunChat) -> None:
    died = EngineCrashed("the engine's process ended by SIGABRT", "GGML_ASSERT(ctx) failed")
    async with chat(ScriptedAdapter(["What", " came", died])) as c:
        await c.load()
        await c.say("go")
        await c.until(lambda: c.pane.state == "failed")
        assert "What came" in c.shown()
        notice = str(c.pane.query_one("#notice").render())
        assert "GGML_ASSERT(ctx) failed" in notice
        assert "in a process of its own" in notice
        assert "4,096" in notice
        dead = c.pane.model
        await c.pilot.press("ctrl+l")
        await c.until(lambda: c.pane.model is not dead)
        assert c.pane.request is not None
        assert c.pane.request.isolated


async def test_thinking_folds_and_counts_its_tokens(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("<think>Let me see now</think>Blue light scatters.")) as c:
        await c.load()
        await c.say("go")
        assert "thought," in c.shown()
        assert "Let me see" not in c.shown()
        await c.pilot.press("tab", "space")
        await c.pilot.pause()
        assert "Let me see now" in c.shown()


async def test_a_thought_of_one_token_counts_as_one(chat: RunChat) -> None:
    async with chat(ScriptedAdapter([Chunk("hm", reasoning=True, tokens=1), "Blue light scatters."])) as c:
        await c.load()
        await c.say("go")
        assert re.search(r"thought, 1 token(?!s)", c.shown())


async def test_scrolled_up_it_stays_there_while_the_answer_grows(chat: RunChat) -> None:
    go = threading.Event()
    lines = [f"line {n}\n\n" for n in range(60)]
    async with chat(ScriptedAdapter([*lines, go, *lines])) as c:
        await c.load()
        await c.type("go")
        await c.pilot.press("enter")
        await c.until(lambda: "line 59" in c.shown())
        c.pane.transcript.focus()
        await c.pilot.press("pageup")
        await c.until(lambda: "line 59" not in c.shown())
        before = c.shown()
        go.set()
        await c.quiet()
        assert c.shown() == before


async def test_at_the_end_it_follows(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("\n\n".join(f"line {n}" for n in range(80)))) as c:
        await c.load()
        await c.say("go")
        assert "line 79" in c.shown()


async def test_a_base_model_continues_the_text_without_a_template(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(" there was a model.")) as c:
        await c.load(load_request("llama-3.1 8B", chats=False))
        await c.say("Once upon a time")
        assert c.engine.calls[0].prompt == "Once upon a time"
        assert "Once upon a time there was a model." in c.shown()


async def test_closing_the_app_in_the_middle_closes_the_engine(chat: RunChat) -> None:
    never = threading.Event()
    async with chat(ScriptedAdapter(["Some", never])) as c:
        await c.load()
        await c.type("go")
        await c.pilot.press("enter")
        await c.until(lambda: "Some" in c.shown())
        engine = c.engine
    assert engine.closed


async def test_a_draft_waits_for_a_model_instead_of_getting_lost(chat: RunChat) -> None:
    async with chat() as c:
        await c.type("my words")
        await c.pilot.press("enter")
        assert c.screen.prompt.area.text == "my words"


async def test_it_works_in_80_columns(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("word " * 60), size=(80, 24)) as c:
        await c.load()
        await c.say("go")
        assert all(len(line) <= 80 for line in c.shown().splitlines())
        assert c.shown().count("word") == 60


async def test_a_20_by_5_terminal_does_not_break_it(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("word " * 60), size=(20, 5)) as c:
        await c.load()
        await c.say("go")
        assert c.pane.conversation.path()[-1].text.startswith("word")


async def test_a_model_that_nobody_used_is_unloaded_and_comes_back_with_the_next_prompt(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("here again")) as c:
        await c.load()
        await c.until(lambda: not c.pane.model.busy)
        c.screen.models.unload_idle(0.0)
        await c.until(lambda: c.pane.state == "unloaded")
        words = " ".join(c.notice(c.pane).replace("│", " ").split())
        assert "unloaded because nobody talked to it. Your next prompt or ctrl+l loads it again" in words
        await c.type("hello")
        await c.pilot.press("enter")
        await c.until(lambda: len(c.adapter.engines) == 2 and c.pane.conversation.nodes)
        await c.quiet()
        assert "here again" in c.shown()


@pytest.mark.parametrize(("minutes", "state"), [(30, "unloaded"), (120, "ready"), (0, "ready")])
async def test_the_setting_says_when_an_idle_model_is_unloaded(
    chat: RunChat, monkeypatch: pytest.MonkeyPatch, minutes: int, state: str
) -> None:
    monkeypatch.setattr("tui.screens.chat.IDLE_CHECK_SECONDS", 0.01)
    monkeypatch.setattr(ChatApp, "settings", Settings(unload_idle_minutes=minutes), raising=False)
    async with chat() as c:
        await c.load()
        await c.until(lambda: not c.pane.model.busy)
        c.pane.model.used_at -= 3600.0
        for _ in range(20):
            await c.pilot.pause(0.01)
        await c.until(lambda: c.pane.state == state)


async def test_a_prompt_that_waits_for_another_pane_ends_when_the_model_is_unloaded(chat: RunChat) -> None:
    go = threading.Event()
    async with chat(ScriptedAdapter(["one", go, " two"]), size=(140, 30)) as c:
        first = await c.load()
        await c.pilot.press("ctrl+n")
        await c.until(lambda: len(c.screen.panes) == 2 and c.pane.state == "ready")
        second = c.pane
        first.send("hello")
        await c.until(lambda: "one" in c.shown(first))
        second.send("and here")
        assert second.state == "waiting"
        model = second.model
        assert model is not None
        model.close()
        go.set()
        await c.until(lambda: second.state == first.state == "unloaded")
        assert second.generation is None
        assert first.generation is None
        assert [turn.stop_reason for turn in second.conversation.path()] == [None, "cancelled"]


async def test_again_and_continue_without_a_model_say_how_to_load_it(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(["came", EngineCrashed("the process ended")])) as c:
        await c.load()
        await c.say("hello")
        await c.until(lambda: c.pane.state == "failed")
        for key in ("ctrl+r", "ctrl+g"):
            await c.pilot.press(key)
            await c.pilot.pause()
            assert list(c.app._notifications)[-1].message == f"{c.pane.title} failed; ctrl+l loads it again"
            c.app.clear_notifications()


async def test_a_second_prompt_while_loading_stays_in_the_prompt(chat: RunChat) -> None:
    hold = threading.Event()
    async with chat(ScriptedAdapter("done", hold=hold)) as c:
        pane = await c.screen.load(load_request())
        for text in ("first", "second"):
            await c.type(text)
            await c.pilot.press("enter")
            await c.pilot.pause()
        assert c.screen.prompt.area.text == "second"
        hold.set()
        await c.until(lambda: pane.conversation.nodes and pane.generation is None)
        assert pane.conversation.path()[0].text == "first"


BURST = ("a", "b", "backspace", "c", "d", "left", "x")


@pytest.mark.parametrize("where", ["prompt", "box"])
async def test_keys_typed_in_one_go_act_in_their_order(chat: RunChat, where: str) -> None:
    async with chat() as c:
        await c.load()
        if where == "box":
            await c.pilot.press("ctrl+t")
            await c.until(lambda: isinstance(c.app.screen, AskLine))
        for key in BURST:
            c.app.post_message(events.Key(key, key if len(key) == 1 else None))
        line = c.app.screen.query_one(Input) if where == "box" else None
        await c.until(lambda: "x" in (line.value if line is not None else c.screen.prompt.area.text))
        assert (line.value if line is not None else c.screen.prompt.area.text) == "acxd"
