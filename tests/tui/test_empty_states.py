"""Every list that has nothing to show says why, and what to do first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fake_services as fake
import pytest
from textual.pilot import Pilot

from backends.hubs.repository import Found
from tui.app import Deck
from tui.widgets.key_line import KeyLine


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("slash", *"zzz"), "nothing matches: backspace for less, esc for all, f4 searches the hubs"),
        (("o",), "nothing on this disk yet: o shows all, d downloads"),
        (("f6",), "No downloads yet. esc goes to the models"),
        (("f9",), "nothing here yet: f5 goes to the models"),
        (("f7",), "No model is loaded yet"),
        (("f7", "f3"), "i bring in"),
        (("f7", "f3"), "No conversation yet. Load a model (f5"),
        (("f7", "f3", "slash", *"zzz"), "Nobody said this"),
        (("f7", "f4"), "No model"),
        (("f4",), "type what to look for"),
        (("f4", *"zzz"), "the hubs have nothing by this name: backspace"),
        (("f4", *"dead"), "no hub has answered"),
        (("f8",), "othing"),
    ],
)
async def test_a_place_with_nothing_in_it_says_what_to_do(
    keys: tuple[str, ...], words: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELDECK_HOME", str(tmp_path))

    def search(query: str) -> Found:
        return Found((), ("huggingface.co does not answer",) if query.startswith("dead") else ())

    app = Deck(fake.services(search_hubs=search))
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        rows = [strip.text for strip in app.screen._compositor.render_strips()]
        shown = " ".join(" ".join(rows).replace("│", " ").split())
        assert words in shown, "\n".join(rows)


@pytest.mark.parametrize(
    ("keys", "label"),
    [
        (("f9",), "chat"),
        (("slash", *"zzz"), "open"),
        (("f4",), "look into it"),
        (("f6",), "pause/resume"),
        (("f7",), "send"),
        (("f7",), "stop"),
    ],
)
async def test_a_place_with_nothing_in_it_offers_no_key_that_does_nothing(
    keys: tuple[str, ...], label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELDECK_HOME", str(tmp_path))
    app = Deck(fake.services())
    async with app.run_test(size=(120, 30)) as pilot:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        offered = app.screen.query_one(KeyLine).items()
        assert label not in {words for _, _, words, _ in offered}
        assert "help" in {words for _, _, words, _ in offered}


async def test_the_filter_of_the_list_is_asked_for_at_once_and_clearing_it_starts_anew() -> None:
    asked: list[str] = []
    held: list[Callable[[], None]] = []

    def search(query: str) -> Found:
        asked.append(query)
        return Found((), ())

    app = Deck(fake.services(search_hubs=search))
    async with app.run_test(size=(120, 30)) as pilot:
        await settle(pilot)
        for key in ("slash", *"zzz"):
            await pilot.press(key)
            await settle(pilot)
        app.in_background = lambda work, what: held.append(work)  # type: ignore[method-assign, assignment]
        await pilot.press("f4")
        await settle(pilot)
        assert "asking the hubs for zzz" in shown(app)
        assert "type what to look for" not in shown(app)
        held.pop()()
        await settle(pilot)
        assert asked == ["zzz"]
        assert "the hubs have nothing by this name" in shown(app)
        assert "ask again" in shown(app).splitlines()[-1]
        await pilot.press("ctrl+u")
        await settle(pilot)
        assert "type what to look for" in shown(app)


def shown(app: Deck) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def settle(pilot: Pilot[int]) -> None:
    for _ in range(3):
        await pilot.pause()
