"""A terminal that is made too small and large again: the keys go where they went before."""

from __future__ import annotations

from pathlib import Path

import fake_services as fake
import pytest
from textual.pilot import Pilot
from waiting import until

from tui.app import Deck
from tui.widgets.line_list import LineList
from tui.widgets.too_small import TooSmall


async def small_and_back(pilot: Pilot[None], columns: int, rows: int) -> None:
    too_small = pilot.app.screen.query_one(TooSmall)
    await pilot.resize_terminal(20, 5)
    await until(pilot, lambda: too_small.display)
    await pilot.resize_terminal(columns, rows)
    await until(pilot, lambda: not too_small.display)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("keys", [(), ("enter",), ("f4",), ("f6",), ("f9",)])
async def test_what_had_the_keys_has_them_again(
    keys: tuple[str, ...], size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELDECK_HOME", str(tmp_path))
    app = Deck(fake.services())
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.focused)
        for key in keys:
            await pilot.press(key)
            await until(pilot, lambda: app.focused)
        before = app.focused
        await small_and_back(pilot, *size)
        await until(pilot, lambda: app.focused is before)


async def test_the_cursor_moves_on_after_the_terminal_was_too_small() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.focused)
        await small_and_back(pilot, 80, 24)
        await pilot.press("down", "down")
        await pilot.pause()
        assert isinstance(app.focused, LineList)
        assert app.focused.cursor == 2
