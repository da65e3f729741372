"""An answer that waits behind another pane's, and a model that goes meanwhile."""

from __future__ import annotations

import asyncio
import threading

import pytest
from chat_app import Chat, RunChat, load_request

from backends.engines.engine import LoadOptions, Progress, Score, Turn, Weights
from backends.engines.scripted import ScriptedAdapter, ScriptedEngine
from backends.errors import Cancelled, EngineCrashed
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


async def test_a_summary_that_waits_its_turn_is_stopped_and_the_other_panes_answer_goes_on(chat: RunChat) -> None:
    gate = threading.Event()

    def script(turns: tuple[Turn, ...]) -> list[str | threading.Event]:
        return ["one ", gate, "two"] if turns[-1].text == "go" else ["short"]

    async with chat(ScriptedAdapter(script), size=(140, 30)) as c:
        first = await c.load()
        await c.pilot.press("ctrl+n")
        await c.until(lambda: len(c.screen.panes) == 2)
        second = c.pane
        await c.say("hello")
        c.screen.activate(first)
        await c.type("go")
        await c.pilot.press("enter")
        await c.until(lambda: "one" in c.shown(first))
        c.screen.activate(second)
        given_back: list[bool] = []
        path = tuple(n.id for n in second.conversation.path())
        second.summarise(path, lambda: given_back.append(False), lambda: given_back.append(True))
        await c.pilot.press("escape")
        await c.until(lambda: given_back)
        assert given_back == [True]
        assert second.state == "ready"
        assert first.generation is not None
        gate.set()
        await c.quiet()
        assert "one two" in c.shown(first)
        assert [call.turns[-1].text for call in c.engine.calls] == ["hello", "go"]
        assert not second.conversation.dropped


async def test_half_a_summary_replaces_nothing_when_its_model_is_unloaded(chat: RunChat) -> None:
    gate = threading.Event()
    async with chat(ScriptedAdapter(lambda turns: ["We spoke ", gate] if len(turns) > 2 else "fine")) as c:
        pane = await c.load()
        await c.say("hello")
        outcome: list[bool] = []
        path = tuple(n.id for n in pane.conversation.path())
        pane.summarise(path, lambda: outcome.append(True), lambda: outcome.append(False))
        await c.until(lambda: len(c.engine.calls) == 2)
        assert pane.model is not None
        pane.model.close()
        await c.until(lambda: pane.state == "unloaded")
        assert outcome == [False]
        assert (pane.conversation.dropped, pane.conversation.system) == ((), "")


async def test_esc_ends_a_duel_though_the_other_pane_scores_and_leaves_an_answer_alone(chat: RunChat) -> None:
    entered, goes = threading.Event(), threading.Event()

    class Scores(ScriptedEngine):
        def score(self, *asked: object, **more: object) -> tuple[Score, ...]:  # type: ignore[override]
            entered.set()
            while not self._stopping.is_set():
                assert not goes.wait(0.005), "nobody stopped it"
            return ()

    class Adapter(ScriptedAdapter):
        def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> ScriptedEngine:
            engine = super().load(weights, options, on_progress)
            engine.__class__ = Scores
            return engine

    async with chat(Adapter("one two"), size=(140, 30)) as c:
        first = await c.load(load_request(quantization="Q8_0"))
        await c.say("count")
        second = await c.load(load_request(), beside=True)
        assert c.screen.active_pane is second
        await c.pilot.press("ctrl+s")
        await c.until(entered.is_set)
        assert first.state == "scoring"
        await c.pilot.press("escape")
        await c.until(lambda: first.state == "ready")
        await c.pilot.pause()
        assert second.duel is None
        assert second.state == "ready"
        assert any("duel was stopped" in note.message for note in c.app._notifications)


async def test_what_is_to_be_scored_waits_behind_an_answer_and_is_given_up_at_once(chat: RunChat) -> None:
    gate = threading.Event()
    async with chat(ScriptedAdapter(["one ", gate, "two"]), size=(140, 30)) as c:
        first, second = await two_panes_of_one_model(c)
        await c.pilot.press("escape")
        await c.until(lambda: second.generation is None)
        scores: list[object] = []
        work = asyncio.ensure_future(second.work("scoring", scores.append))
        await c.until(lambda: second.state == "scoring")
        assert second.stop()
        with pytest.raises(Cancelled):
            await asyncio.wait_for(work, 20)
        assert second.state == "ready"
        gate.set()
        await c.quiet()
        assert "one two" in c.shown(first)
        assert scores == []


async def test_a_thread_that_posts_to_a_pane_that_has_just_left_the_screen_goes_on(chat: RunChat) -> None:
    async with chat() as c:
        pane = await c.load()
        await c.pilot.press("f12")
        await c.until(lambda: not c.screen.panes)
        # As Textual leaves it for a moment: out of the tree, and not yet closed.
        pane._closing = pane._closed = False
        raised: list[BaseException] = []

        def post() -> None:
            try:
                pane.post_from_thread(pane.Changed(pane))
            except Exception as error:
                raised.append(error)

        thread = threading.Thread(target=post)
        thread.start()
        thread.join()
        assert raised == []
