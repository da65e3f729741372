"""The key line says what a key does here and now, and nothing that it cannot do."""

from __future__ import annotations

from chat_app import Chat, RunChat, load_request

from backends.engines.scripted import ScriptedAdapter
from tui.palette import Everything
from tui.widgets.key_line import KeyLine


def keys(c: Chat) -> dict[str, str]:
    """Labels of the key line, by the binding's ID."""
    return {name: label for name, _, label, _ in c.screen.query_one(KeyLine).items()}


async def test_broadcast_says_to_whom_it_switches(chat: RunChat) -> None:
    async with chat(size=(140, 30)) as c:
        await c.load()
        assert "chat.both" not in keys(c)
        await c.load(load_request(quantization="Q8_0"), beside=True)
        assert keys(c)["chat.both"] == "to both"
        await c.pilot.press("ctrl+b")
        await c.pilot.pause()
        assert keys(c)["chat.both"] == "to one"
        assert str(c.screen.prompt.border_title) == "to both panes"
        await c.pilot.press("ctrl+b", "ctrl+n")
        await c.until(lambda: len(c.screen.panes) == 3)
        assert keys(c)["chat.both"] == "to all"


async def test_turns_offer_branches_and_folding(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("answered")) as c:
        await c.load()
        await c.say("why")
        await c.pilot.press("tab")
        await c.pilot.pause()
        assert (keys(c)["turn.up"], keys(c)["turn.next"]) == ("turn", "branch")
        assert "turn.fold" in keys(c)


async def test_a_completed_text_offers_tokens_and_neither_folding_nor_branches(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(" the sea")) as c:
        await c.load(load_request(chats=False))
        assert str(c.screen.prompt.border_title) == "a text for llama-3-instruct 8B Q4_K_M to continue"
        await c.say("She looked over")
        await c.pilot.press("tab")
        await c.pilot.pause()
        assert (keys(c)["turn.up"], keys(c)["turn.next"]) == ("scroll", "token")
        assert {"turn.copy", "turn.edit"} <= keys(c).keys()
        assert "turn.fold" not in keys(c)
        await c.pilot.press("e")
        await c.pilot.pause()
        assert str(c.screen.prompt.border_title) == "another text: enter branches, esc leaves it as it is"


async def test_a_duel_offers_its_places_and_a_copy_until_it_is_left(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("All colours", choices={"Q4_K_M": {1: " no"}}), size=(140, 30)) as c:
        await c.load(load_request(quantization="Q8_0"))
        second = await c.load(load_request(), beside=True)
        await c.pilot.press("f9")
        await c.say("why")
        await c.pilot.press("ctrl+s")
        await c.until(lambda: second.duel is not None)
        c.screen.activate(second)
        second.transcript.focus()
        await c.pilot.pause()
        assert keys(c)["turn.next"] == "place"
        assert {"turn.copy", "turn.edit"} & keys(c).keys() == {"turn.copy"}
        await c.pilot.press("escape")
        await c.until(lambda: second.duel is None)
        assert keys(c).get("turn.next", "branch") == "branch"


async def test_the_palette_says_the_same_as_the_key_line(chat: RunChat) -> None:
    async with chat(size=(140, 30)) as c:
        await c.load()
        await c.load(load_request(quantization="Q8_0"), beside=True)
        labels = [action.label for action in Everything(c.screen)._here()]
        assert any(label.startswith("to both ") for label in labels)
        await c.pilot.press("ctrl+b")
        await c.pilot.pause()
        labels = [action.label for action in Everything(c.screen)._here()]
        assert any(label.startswith("to one ") for label in labels)
