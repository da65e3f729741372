"""What survives a restart: drafts and presets; and how wide panes are."""

from __future__ import annotations

from pathlib import Path

from chat_app import RunChat, load_request
from textual.widgets import Input

from backends.conversation import Conversation, Node
from backends.engines.engine import Alternative, Chunk, Sampling
from backends.engines.scripted import ScriptedAdapter
from backends.history import History
from backends.presets import preset_of, presets, save_preset
from tui.screens.chat_settings import ChatSettings, Cycle

CHOICES = [["│", "1", '"', 'sun"', "82"], ["│", "2", '"', 'moon"', "17"]]


async def test_a_draft_is_there_again_after_a_restart(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.type("half a thou")
        await c.until(lambda: c.screen.history.draft("") == "half a thou")
    async with chat() as c:
        await c.until(lambda: c.screen.prompt.area.text == "half a thou")
        await c.load()
        assert c.screen.prompt.area.text == "half a thou"


async def test_each_conversation_has_its_own_draft(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.say("first")
        name = c.pane.conversation.id
        await c.type("and then")
        await c.until(lambda: c.screen.history.draft(name) == "and then")
    async with chat() as c:
        await c.load()
        assert c.screen.prompt.area.text == ""
        await c.screen.open_conversation(name)
        assert c.screen.prompt.area.text == "and then"


async def test_what_was_sent_is_no_draft(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.type("go")
        await c.until(lambda: c.screen.history.draft("") == "go")
        await c.pilot.press("enter")
        await c.quiet()
        await c.until(lambda: c.screen.history.draft("") == "")


async def test_settings_are_kept_as_a_preset_and_chosen_again(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.pilot.press("f2")
        c.app.screen.query_one("#temperature", Input).value = "0.42"
        await c.pilot.press("ctrl+n")
        await c.answer("mine")
        screen = c.app.screen
        assert isinstance(screen, ChatSettings)
        cycle = screen.query_one("#preset", Cycle)
        assert cycle.words[cycle.at] == "mine"
    assert presets()["mine"].temperature == 0.42
    assert preset_of(Sampling(temperature=0.42), presets()) == "mine"


def test_a_preset_can_be_forgotten_and_a_broken_file_hides_none_of_ours(home: Path) -> None:
    save_preset("mine", Sampling(top_k=7))
    save_preset("mine", None)
    assert "mine" not in presets()
    next(home.rglob("presets.json")).write_text("{broken")
    assert "balanced" in presets()


async def test_a_pane_is_made_wider_by_keys(chat: RunChat) -> None:
    async with chat(size=(140, 30)) as c:
        one = await c.load()
        two = await c.load(load_request(quantization="Q8_0"), beside=True)
        await c.pilot.press("tab", "greater_than_sign", "greater_than_sign")
        await c.pilot.pause()
        assert two.region.width > one.region.width + 10
        await c.pilot.press("less_than_sign", "less_than_sign")
        await c.pilot.pause()
        assert two.region.width == one.region.width


async def test_the_app_opens_the_conversation_that_it_was_asked_for(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.say("remember me")
        name = c.pane.conversation.id
    history = History()
    try:
        assert history.load(name[:8]).id == name
    finally:
        history.close()


async def test_a_reopened_completion_still_shows_what_else_could_have_stood_there(chat: RunChat) -> None:
    spots = (Alternative(" sun", 1, -0.2), Alternative(" moon", 2, -1.8))
    steps = [Chunk(" the"), Chunk(" sun", tokens=1, alternatives=(spots,)), Chunk(" rose")]
    async with chat(ScriptedAdapter(lambda _: steps)) as c:
        await c.load(load_request("llama-3.1 8B", chats=False))
        await c.say("In the morning")
        name = c.pane.conversation.id
    async with chat(ScriptedAdapter(lambda _: [" went down"])) as c:
        await c.load(load_request("llama-3.1 8B", chats=False))
        await c.screen.open_conversation(name)
        assert "In the morning the sun rose" in c.shown()
        await c.pilot.press("tab", "left")
        await c.pilot.pause()
        assert [line.split("%")[0].split() for line in c.notice(c.pane).splitlines()[-2:]] == CHOICES
        await c.pilot.press("2")
        await c.quiet()
        assert "In the morning the moon went down" in c.shown()
        assert c.engine.calls[-1].prompt == "In the morning the moon"
        # The chosen token still knows the one that it was chosen instead of.
        await c.pilot.press("left")
        await c.pilot.pause()
        assert [line.split("%")[0].split() for line in c.notice(c.pane).splitlines()[-2:]] == CHOICES


async def test_the_last_words_typed_before_the_end_are_in_the_draft(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.type("quick and gone")
    async with chat() as c:
        await c.until(lambda: c.screen.prompt.area.text == "quick and gone")


async def test_a_pane_opened_while_the_history_cannot_be_written_says_so_too(chat: RunChat) -> None:
    async with chat(size=(140, 30)) as c:
        await c.load()
        assert c.screen.history.on_trouble is not None
        c.screen.history.on_trouble("the history is not written: disk full")
        await c.until(lambda: "disk full" in c.notice(c.pane))
        later = await c.load(load_request(quantization="Q8_0"), beside=True)
        await c.pilot.pause()
        assert "disk full" in c.notice(later)
        c.screen.history.on_trouble(None)
        await c.until(lambda: not any("disk full" in c.notice(pane) for pane in c.screen.panes))


async def test_an_answer_that_the_program_did_not_outlive_says_how_to_go_on(chat: RunChat) -> None:
    cut = Conversation(
        "c", nodes=(Node("u", None, "user", "why?"), Node("a", "u", "assistant", "Because of")), leaf="a"
    )
    async with chat(ScriptedAdapter([" the air."])) as c:
        await c.load()
        c.screen.history.save_all(cut)
        c.screen.history.flush()
        await c.screen.open_conversation("c")
        await c.pilot.pause()
        assert "modeldeck ended before this answer did · ctrl+g goes on" in c.shown()
        await c.pilot.press("ctrl+g")
        await c.quiet()
        assert "Because of the air." in c.shown()
        assert "modeldeck ended" not in c.shown()


async def test_an_answer_that_the_user_wrote_anew_is_not_cut_off(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("one two")) as c:
        await c.load()
        await c.say("count")
        c.pane.edit(c.pane.conversation.path()[-1].id, "three")
        await c.pilot.pause()
        assert "three" in c.shown()
        assert "modeldeck ended" not in c.shown()
