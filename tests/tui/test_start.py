"""What stands before the first key: nothing is read, drawn or styled twice, and nothing is made that can wait."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fake_services as fake
import pytest
from textual.app import App, ComposeResult
from textual.css import stylesheet
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from waiting import screen_text

from tui.app import Deck
from tui.screens.browse import Browse
from tui.screens.steady import SteadyScreen
from tui.themes import DARK, LIGHT

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_screen_is_made_without_the_catalog_and_what_judges_it() -> None:
    code = (
        "import sys, tui.start, tui.services, tui.app, tui.screens.browse; "
        "print(*sorted({'specs.model', 'specs.catalog', 'tui.matrix', 'tui.judging', 'backends.fit', 'tui.screens.ask'}"
        " & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert found.stdout.split() == []


async def test_every_rule_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDECK_HOME", str(tmp_path))
    parse, parsed = stylesheet.parse, Counter[object]()

    def counted(scope: str, css: str, read_from: object, *rest: Any, **options: Any) -> object:
        parsed[read_from] += 1
        return parse(scope, css, read_from, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stylesheet, "parse", counted)
    deck = Deck(fake.services(), theme=DARK)
    async with deck.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert {place for place, times in parsed.items() if times > 1} == set()
        assert any("browse.tcss" in str(place) for place in parsed)


@pytest.mark.parametrize("name", [DARK, LIGHT, "nord", "ansi-dark"])
async def test_the_first_theme_looks_as_it_does_when_chosen_later(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELDECK_HOME", str(tmp_path))
    deck = Deck(fake.services(), theme=name)
    async with deck.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        first = (deck.classes, deck.theme_variables, screen_colours(deck))
        deck.theme = "dracula"
        await pilot.pause()
        assert screen_colours(deck) != first[2]
        deck.theme = name
        await pilot.pause()
        assert (deck.classes, deck.theme_variables, screen_colours(deck)) == first


def screen_colours(deck: Deck) -> list[object]:
    """Text and background of everything on the screen."""
    return [(widget.styles.color, widget.styles.background) for widget in deck.screen.walk_children()]


@pytest.mark.parametrize("size", [(30, 8), (80, 24), (120, 40)])
async def test_the_first_screen_is_not_styled_again_for_its_size(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELDECK_HOME", str(tmp_path))
    changes: list[set[str]] = []
    update_classes = Browse.update_classes

    def noted(self: Browse, classes: dict[str, bool], update: bool = True, animate: bool = True) -> Browse:
        before = set(self.classes)
        update_classes(self, classes, update, animate)
        changes.append(set(self.classes) ^ before)
        return self

    monkeypatch.setattr(Browse, "update_classes", noted)
    async with Deck(fake.services()).run_test(size=size) as pilot:
        await pilot.pause()
        assert changes
        assert all(not change for change in changes)


class Counting(Widget):
    """Counts how often it is drawn."""

    drawn = 0

    def render_lines(self, crop: Region) -> list[Strip]:
        type(self).drawn += 1
        return super().render_lines(crop)

    def render(self) -> str:
        return "counted"


class CountedScreen(SteadyScreen[None]):
    def compose(self) -> ComposeResult:
        yield Counting()


async def test_what_changes_in_a_batch_is_drawn_when_it_is_over() -> None:
    app: App[None] = App()
    async with app.run_test() as pilot:
        await app.push_screen(CountedScreen())
        await pilot.pause()
        widget = app.screen.query_one(Counting)
        before = Counting.drawn
        with app.batch_update():
            widget.styles.margin = 1
            await pilot.pause()
            app.screen._refresh_layout()  # as Textual does while the app's first screen is mounted
            await pilot.pause()
            assert Counting.drawn == before
        await pilot.pause()
        await pilot.pause()
        assert Counting.drawn > before
        assert "\n counted" in screen_text(app)
