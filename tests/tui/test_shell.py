"""What surrounds the screens: settings that change while the app runs, the tour, a slow line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_services as fake
import pexpect
import pytest
from ttybench import TtySession

from tui.app import Deck
from tui.first_frame import outline
from tui.screens.tour import Tour
from tui.settings import load_settings
from tui.widgets.family_list import FamilyList

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MODELDECK_HOME", str(tmp_path))
    yield tmp_path / "config.toml"


async def test_themes_and_keys_change_while_the_app_runs(config: Path) -> None:
    deck = Deck(fake.services())
    deck.adopt_settings(load_settings())
    async with deck.run_test(size=(100, 30)) as pilot:
        deck.watch_settings_file()
        await pilot.pause()
        config.write_text('theme = "nord"\n[keys]\n"app.downloads" = "f12"\n')
        deck._look_at_settings()
        await pilot.pause()
        assert deck.theme == "nord"
        await pilot.press("f12")
        assert deck._current_mode == "downloads"
        await pilot.press("f5")
        config.unlink()
        deck._look_at_settings()
        assert deck.theme == "modeldeck-dark"
        await pilot.press("f12")
        assert deck._current_mode == "browse"
        await pilot.press("f6")
        assert deck._current_mode == "downloads"


async def test_a_theme_and_a_key_that_are_not_there_are_named_with_the_nearest(config: Path) -> None:
    config.write_text('theme = "nordd"\n[keys]\n"app.downlods" = "f12"\n')
    deck = Deck(fake.services())
    deck.adopt_settings(load_settings())
    said = "\n".join(deck.notices)
    assert "no theme 'nordd'; did you mean nord?" in said
    assert "'app.downlods'; did you mean app.downloads?" in said


async def test_the_tour_has_three_steps(config: Path) -> None:
    deck = Deck(fake.services())
    deck.tour_wanted = True
    async with deck.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        titles = []
        while isinstance(deck.screen, Tour):
            titles.append(str(deck.screen.query_one(".box").border_title))
            await pilot.press("space")
            await pilot.pause()
        assert [title[:6] for title in titles] == ["1 of 3", "2 of 3", "3 of 3"]


@pytest.mark.parametrize(("key", "mode"), [("escape", "browse"), ("f6", "downloads")])
async def test_the_tour_is_skipped_and_swallows_no_key(config: Path, key: str, mode: str) -> None:
    deck = Deck(fake.services())
    deck.tour_wanted = True
    async with deck.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert isinstance(deck.screen, Tour)
        await pilot.press(key)
        await pilot.pause()
        await pilot.pause()
        assert not isinstance(deck.screen, Tour)
        assert deck._current_mode == mode


def app(home: Path, *flags: str) -> TtySession:
    environment = {**os.environ, "MODELDECK_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9"}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    return TtySession([sys.executable, "-m", "tui", *flags], 100, 30, env=environment)


def test_the_tour_comes_once(tmp_path: Path) -> None:
    with app(tmp_path) as session:
        assert session.wait_for("1 of 3: Find a model", 30) is not None, session.dump_text()
        session.close("ctrl+q")
    with app(tmp_path) as session:
        assert session.wait_for(r"\d+ families", 30) is not None, session.dump_text()
        session.quiesce(0.5, 10)
        assert "1 of 3" not in session.dump_text()
        session.close("ctrl+q")


def test_a_start_that_comes_to_nothing_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("import tui.start\ntui.start._deck = lambda *a: 1 / 0\ntui.start.run_app()\n")
    environment = {**os.environ, "MODELDECK_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    ran = pexpect.spawn(sys.executable, [str(script)], env=environment, encoding="utf-8", timeout=30)
    ran.expect(pexpect.EOF)
    assert ran.before.index("\x1b[?1049h") < ran.before.index("\x1b[?25h\x1b[?1049l") < ran.before.index("ZeroDivision")


def test_the_outline_stands_where_the_app_draws_its_list() -> None:
    drawn = outline(80, 24, plain=False)
    assert "\x1b[1;1H modeldeck\x1b[2;1H╭" in drawn
    assert "\x1b[23;1H╰" in drawn and "\x1b[24;1H" not in drawn
    assert outline(80, 24, plain=True).isascii()


async def test_over_a_slow_line_a_list_scrolls_by_half_a_page(config: Path) -> None:
    tops = {}
    for calm in (False, True):
        config.write_text(f"low_bandwidth = {str(calm).lower()}\n")
        families = tuple(fake.family(f"family-{n:03}", fake.gguf(8, "Q4_K_M")) for n in range(100))
        deck = Deck(fake.services(families=families))
        deck.adopt_settings(load_settings())
        async with deck.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            listed = deck.screen.query_one(FamilyList)
            height = listed.scrollable_content_region.height
            await pilot.press(*["down"] * height)
            tops[calm] = listed.scroll_offset.y
    assert tops == {False: 1, True: 1 + height // 2}
