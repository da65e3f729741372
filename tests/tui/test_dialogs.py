"""Boxes over a screen, and keys that come faster than they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fake_services as fake
import pytest
from textual.pilot import Pilot
from textual.screen import ModalScreen
from waiting import until

from backends.engines.scripted import ScriptedAdapter
from backends.loaded import LoadedModels
from tui.app import Deck
from tui.screens.ask import Ask
from tui.screens.browse import Browse
from tui.screens.dialog import Dialog
from tui.screens.help import Help
from tui.screens.loaded import Loaded
from tui.screens.notices import Notices
from tui.screens.tour import Tour


async def type_at_once(pilot: Pilot[int], *keys: str) -> None:
    """All keys are in the queue of the box in front before it answers the first of them."""
    for key in keys:
        pilot.app.simulate_key(key)
    for _ in range(5):
        await pilot.pause()


@pytest.mark.parametrize(
    ("box", "keys"),
    [
        (Tour, ("x", "x", "x")),
        (Tour, ("escape", "escape", "x")),
        (lambda: Ask("Really?", "yes or no"), ("enter", "enter", "escape")),
        (Help, ("escape", "escape", "escape")),
    ],
    ids=["tour, other keys", "tour", "question", "help"],
)
async def test_keys_typed_faster_than_a_box_leaves_close_nothing_below_it(box, keys: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    app = Deck(fake.services())
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        await app.push_screen(box())
        await type_at_once(pilot, *keys)
        assert isinstance(app.screen, Browse)


async def test_a_box_behind_another_leaves_that_one_alone() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(100, 30)) as pilot:
        below, above = Tour(), Help()
        await app.push_screen(below)
        await app.push_screen(above)
        below.dismiss()
        await pilot.pause()
        assert app.screen is above
        assert isinstance(app.screen, ModalScreen)


@pytest.mark.parametrize(
    "box", [lambda: Loaded(LoadedModels(lambda _name: ScriptedAdapter())), lambda: Notices(("one",))]
)
async def test_what_is_only_read_lets_the_user_go_elsewhere(box: Callable[[], Dialog[Any]]) -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.press("f6")
        app.push_screen(box())
        await pilot.pause()
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, Browse))
        app.push_screen(Ask("A question", "Yes?"))
        await pilot.pause()
        await pilot.press("f6")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
