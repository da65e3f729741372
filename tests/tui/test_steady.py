"""A frame that falls into the moment in which a widget is taken away."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil

import pytest
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip
from textual.widgets import Static
from waiting import screen_text

import tui.screens
from tui.screens.dialog import Dialog
from tui.screens.steady import SteadyScreen


class Lingering(Static):
    """Holds the removal of what is around it until it may go."""

    def __init__(self) -> None:
        super().__init__("lingers")
        self.leaving = asyncio.Event()
        self.may_go = asyncio.Event()

    async def on_unmount(self) -> None:
        self.leaving.set()
        await self.may_go.wait()


class Selectable(Static):
    """Asks for its selection in every frame, as the texts of a pane do."""

    def render_lines(self, crop: Region) -> list[Strip]:
        assert self.text_selection is None
        return super().render_lines(crop)


class Going(Vertical):
    def compose(self) -> ComposeResult:
        yield Selectable("goes at once", id="gone")
        yield Lingering()


class Steady(SteadyScreen[None]):
    def compose(self) -> ComposeResult:
        yield Going()
        yield Static("stays", id="stays")


class SteadyBox(Dialog[None]):
    def compose(self) -> ComposeResult:
        yield Going()
        yield Static("stays", id="stays")


@pytest.mark.parametrize("screen", [Steady, SteadyBox])
async def test_a_frame_beside_a_widget_that_is_being_taken_away_is_painted_again(screen: type[Screen[None]]) -> None:
    app: App[None] = App()
    async with app.run_test() as pilot:
        await app.push_screen(screen())
        await pilot.pause()
        assert "goes at once" in screen_text(app)
        gone = app.screen.query_one("#gone")
        lingering = app.screen.query_one(Lingering)
        removal = app.screen.query_one(Going).remove()
        await lingering.leaving.wait()
        while gone.is_attached:
            await asyncio.sleep(0)
        # In one frame with the place where it was.
        app.screen.query_one("#stays", Static).update("said meanwhile", layout=False)
        app.screen.refresh()
        await asyncio.sleep(0.1)
        lingering.may_go.set()
        await removal
        await pilot.pause()
        assert "goes at once" not in screen_text(app)
        assert "said meanwhile" in screen_text(app)


def test_every_box_and_screen_is_steady() -> None:
    own = {
        one
        for module in pkgutil.iter_modules(tui.screens.__path__, "tui.screens.")
        for one in vars(importlib.import_module(module.name)).values()
        if isinstance(one, type) and issubclass(one, Screen) and one.__module__ == module.name
    }
    assert len(own) > 10
    assert {one for one in own if not issubclass(one, SteadyScreen)} == set()
