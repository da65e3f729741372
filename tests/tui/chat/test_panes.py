"""Several panes: side by side, behind each other, one prompt for all."""

from __future__ import annotations

import pytest
from chat_app import RunChat, load_request

from backends.engines.scripted import ScriptedAdapter


async def test_a_new_pane_shares_the_model(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.pilot.press("ctrl+n")
        await c.until(lambda: len(c.screen.panes) == 2 and c.pane.state == "ready")
        assert len(c.adapter.engines) == 1
        assert c.screen.models.models()[0].users == 2


async def test_one_prompt_goes_to_every_pane(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("answered")) as c:
        one = await c.load()
        two = await c.load(load_request(quantization="Q8_0"), beside=True)
        await c.pilot.press("ctrl+b")
        await c.say("to all")
        assert c.shown(one).count("answered") == c.shown(two).count("answered") == 1


async def test_each_pane_keeps_its_own_draft(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.type("for the first")
        await c.load(load_request(quantization="Q8_0"), beside=True)
        assert c.screen.prompt.area.text == ""
        await c.pilot.press("f9")
        await c.pilot.pause()
        assert c.screen.prompt.area.text == "for the first"


async def test_closing_a_pane_unloads_what_no_other_pane_has(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.load(load_request(quantization="Q8_0"), beside=True)
        engine = c.engine
        await c.pilot.press("f12")
        await c.until(lambda: len(c.screen.panes) == 1 and engine.closed)
        assert not c.adapter.engines[0].closed


async def test_four_panes_are_the_most(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        for _ in range(5):
            await c.pilot.press("ctrl+n")
            await c.pilot.pause()
        assert len(c.screen.panes) == 4


@pytest.mark.parametrize(("columns", "shown"), [(80, 1), (140, 2)])
async def test_a_narrow_terminal_shows_one_pane_and_tabs(chat: RunChat, columns: int, shown: int) -> None:
    async with chat(size=(columns, 30)) as c:
        await c.load()
        await c.load(load_request(quantization="Q8_0"), beside=True)
        await c.pilot.pause()
        assert sum(1 for pane in c.screen.panes if pane.region.width) == shown
        assert c.screen.query_one("#tabs").display == (shown == 1)


async def test_zoom_shows_the_pane_alone_and_all_again(chat: RunChat) -> None:
    async with chat(size=(140, 30)) as c:
        await c.load()
        await c.load(load_request(quantization="Q8_0"), beside=True)
        await c.pilot.press("f10")
        await c.pilot.pause()
        assert c.pane.region.width == 140
        await c.pilot.press("f10")
        await c.pilot.pause()
        assert c.pane.region.width == 70


async def test_the_frames_of_panes_stay_whole_through_every_change_of_their_width(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("Sunlight holds all colours. " * 60), size=(120, 40)) as c:
        await c.load()
        await c.say("why")
        await c.pilot.press("ctrl+n")
        await c.until(lambda: len(c.screen.panes) == 2)
        await c.say("and now")
        for change in (c.pilot.press("f10"), c.pilot.press("f10"), c.pilot.resize_terminal(119, 40)):
            await change
            await c.pilot.pause()
            rows = c.screen._compositor.render_strips()
            for pane in c.screen.panes:
                region = pane.transcript.region
                for y in range(region.y, region.bottom):
                    assert (rows[y].text[region.x], rows[y].text[region.right - 1]) == ("│", "│"), rows[y].text
