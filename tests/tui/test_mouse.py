"""Everything can be done with the mouse; nothing needs it."""

from __future__ import annotations

import fake_services as fake
import pytest
from textual.pilot import Pilot
from textual.widget import Widget

from tui.app import Deck
from tui.screens.ask import Ask
from tui.screens.browse import Browse
from tui.screens.hardware import Hardware
from tui.screens.help import Help
from tui.screens.machines import MachinePicker
from tui.screens.notices import Notices
from tui.widgets.family_list import FamilyList
from tui.widgets.fit_matrix import FitMatrix
from tui.widgets.hardware_strip import HardwareStrip
from tui.widgets.key_line import KeyLine


async def click(pilot: Pilot[int], widget: Widget, x: int, y: int, times: int = 1) -> None:
    await pilot.click(widget, offset=(x, y), times=times)
    await pilot.pause()


async def click_key(pilot: Pilot[int], label: str) -> None:
    """Click on a key of the footer."""
    line = pilot.app.screen.query_one(KeyLine)
    at = line.render_line(0).text.index(label)
    await click(pilot, line, at + 1, 0)


async def test_a_model_is_found_judged_and_asked_for_with_the_mouse_alone() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        families = app.screen.query_one(FamilyList)
        await click(pilot, families, 6, 3)
        assert families.family is not None and families.family.name == "llama-3-instruct"
        await click(pilot, families, 6, 3)
        matrix = app.screen.query_one(FitMatrix)
        assert matrix.has_focus
        header = matrix.render_line(0).text
        await click(pilot, matrix, header.index("Q8_0") + 2, 2)
        assert matrix.variant == fake.variant(fake.LLAMA3, 8, "Q8_0")
        await click_key(pilot, "context")
        assert "16,384" in app.screen.query_one(HardwareStrip).render_line(0).text
        await click_key(pilot, "chat")
        assert isinstance(app.screen, Ask)
        await pilot.click(offset=(1, 1))
        await pilot.pause()
        assert isinstance(app.screen, Browse)


@pytest.mark.parametrize(("label", "screen"), [("machine", MachinePicker), ("help", Help)])
async def test_boxes_are_opened_and_left_with_the_mouse(label: str, screen: type) -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await click_key(pilot, label)
        assert isinstance(app.screen, screen)
        await pilot.click(offset=(1, 20))
        await pilot.pause()
        assert isinstance(app.screen, Browse)


async def test_the_strip_on_top_tells_more_when_it_is_clicked() -> None:
    app = Deck(fake.services(problems=("a file: 1: wrong",)))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        strip = app.screen.query_one(HardwareStrip)
        await click(pilot, strip, 15, 0)
        assert isinstance(app.screen, Hardware)
        await pilot.press("escape")
        await click(pilot, strip, 108, 0)
        assert isinstance(app.screen, Notices)


async def test_without_the_mouse_every_screen_is_reached_by_keys() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(80, 24)) as pilot:
        for key, mode in (("f6", "downloads"), ("f7", "chat"), ("f5", "browse"), ("f9", "library"), ("f4", "hubs")):
            await pilot.press(key)
            await pilot.pause()
            assert app._current_mode == mode
