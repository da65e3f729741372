"""Several panes: side by side, behind each other, one prompt for all."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from chat_app import Chat, RunChat, load_request
from textual.strip import Strip

from backends.engines.scripted import ScriptedAdapter
from tui.widgets.chat_pane import ChatPane


async def test_a_new_pane_shares_the_model(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.pilot.press("ctrl+n")
        await c.until(lambda: len(c.screen.panes) == 2 and c.pane.state == "ready")
        assert len(c.adapter.engines) == 1
        assert c.screen.models.models()[0].users == 2


async def test_a_repository_s_code_runs_for_the_one_load_that_was_asked_for(chat: RunChat) -> None:
    """A further pane shares what is there; a load after that, by whatever way, runs none unasked."""
    request = load_request()
    async with chat() as c:
        pane = await c.load(replace(request, options=replace(request.options, trust_remote_code=True)))
        await c.pilot.press("ctrl+n")
        await c.until(lambda: len(c.screen.panes) == 2 and c.pane.state == "ready")
        assert [options.trust_remote_code for _, options in c.adapter.asked] == [True]
        c.screen.models.models()[0].close()
        await c.until(lambda: all(one.state == "unloaded" for one in c.screen.panes))
        await c.pilot.press("ctrl+l")
        await c.until(lambda: c.pane.state == "ready")
        assert pane.request == request
        assert [options.trust_remote_code for _, options in c.adapter.asked] == [True, False]


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


async def four(c: Chat) -> list[ChatPane]:
    await c.load()
    for quantization in ("Q5_K_M", "Q6_K", "Q8_0"):
        await c.load(load_request(quantization=quantization), beside=True)
    return c.screen.panes


async def test_a_row_of_four_panes_is_made_taller_by_keys(chat: RunChat) -> None:
    async with chat(size=(140, 40)) as c:
        first, second, third, fourth = await four(c)
        before = [pane.region.size for pane in c.screen.panes]
        await c.pilot.press("tab", "plus", "plus", "plus")
        await c.pilot.pause()
        assert third.region.height == fourth.region.height > first.region.height + 3
        assert first.region.width == third.region.width
        await c.pilot.press("minus", "minus", "minus", "greater_than_sign")
        await c.pilot.pause()
        assert [pane.region.height for pane in c.screen.panes] == [size.height for size in before]
        assert second.region.width == fourth.region.width > third.region.width


async def test_a_row_is_never_lost_to_the_other(chat: RunChat) -> None:
    async with chat(size=(140, 40)) as c:
        panes = await four(c)
        await c.pilot.press("tab", *["plus"] * 20)
        await c.pilot.pause()
        assert panes[0].region.height >= 4


@pytest.mark.parametrize("size", [(90, 40), (140, 18)])
async def test_four_panes_stand_behind_tabs_where_there_is_no_room(chat: RunChat, size: tuple[int, int]) -> None:
    async with chat(size=size) as c:
        await four(c)
        await c.pilot.pause()
        assert [pane.region.width > 0 for pane in c.screen.panes] == [False, False, False, True]
        line = str(c.screen.query_one("#tabs").render())
        assert "▸4" in line
        await c.pilot.press("f9")
        await c.pilot.pause()
        assert [pane.region.width > 0 for pane in c.screen.panes] == [True, False, False, False]
        assert "▸1" in str(c.screen.query_one("#tabs").render())


async def test_chats_that_were_opened_and_closed_leave_no_lines_behind(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("**word** and more " * 40)) as c:

        async def open_and_close() -> int:
            for quantization in ("Q4_K_M", "Q8_0"):
                await c.load(load_request(quantization=quantization), beside=bool(c.screen.panes))
                await c.say("go")
            while c.screen.panes:
                await c.pilot.press("f12")
                await c.pilot.pause()
            gc.collect()
            return sum(isinstance(one, Strip) for one in gc.get_objects())

        await open_and_close()
        before = await open_and_close()
        await open_and_close()
        assert await open_and_close() <= before + 20


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
