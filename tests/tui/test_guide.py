"""The guide, the palette and the window's title: every way to find out what can be done."""

from __future__ import annotations

import fake_services as fake
import pytest
from textual.pilot import Pilot
from waiting import until

from tui import window_title
from tui.app import Deck
from tui.every_model import EveryModel
from tui.guide import PLACES, SCREENS, sections
from tui.keys import GUIDE
from tui.screens.browse import Browse
from tui.screens.help import Help
from tui.settings import Settings
from tui.widgets.fit_matrix import FitMatrix


def screen_text(app: Deck) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def press(pilot: Pilot[int], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


def test_every_group_of_keys_has_its_screen() -> None:
    assert {title for title, _ in GUIDE} - {"Everywhere"} == set(PLACES)


@pytest.mark.parametrize("place", SCREENS, ids=lambda place: place.mode)
async def test_the_help_begins_with_the_screen_that_it_was_asked_from(place) -> None:  # type: ignore[no-untyped-def]
    app = Deck(fake.services())
    async with app.run_test(size=(100, 40)) as pilot:
        app.action_mode(place.mode)
        await press(pilot, "f1")
        shown = screen_text(app)
        assert f"{place.title} (here)" in shown
        assert "type to search" in shown


async def test_typing_in_the_help_finds_keys_signs_and_screens() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(100, 40)) as pilot:
        await press(pilot, "question_mark", *"kv", "space", *"type")
        shown = screen_text(app)
        assert "judge with a KV cache of f16, q8_0 or q4_0" in shown
        assert "Put the weights" not in shown
        await press(pilot, "escape")
        assert isinstance(app.screen, Help)
        assert "Models (here)" in screen_text(app)
        await press(pilot, *"zzz")
        assert "Nothing in the guide holds that" in screen_text(app)
        await press(pilot, "escape", "escape")
        assert isinstance(app.screen, Browse)


async def test_the_help_shows_keys_as_the_user_chose_them() -> None:
    app = Deck(fake.services())
    app.adopt_settings(Settings(keys={"browse.fits": "f11"}))
    async with app.run_test(size=(100, 40)):
        lines = [line for section in sections("browse", app) for line in section.lines]
        assert next(line.sign for line in lines if line.words.startswith("fits only")) == "f11"


async def test_the_palette_finds_any_variant_by_what_is_typed() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        # All of it is typed before the catalog is read.
        await press(pilot, "ctrl+p", *"70b", "space", *"llama-3-inst", "space", *"q4")
        await until(pilot, lambda: "llama-3-instruct 70B ggufv2 Q4_K_M" in screen_text(app))
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Browse))
        variant = app.screen.query_one(FitMatrix).variant
        assert variant == fake.variant(fake.LLAMA3, 70, "Q4_K_M")


async def test_the_palette_puts_what_holds_the_words_above_what_only_holds_their_letters() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "ctrl+p", *"llama")
        await until(pilot, lambda: "llama-3.1 405B" in screen_text(app))
        lines = [line.strip("│ ▂") for line in screen_text(app).splitlines()]
        shown = [line for line in lines[lines.index("llama") + 1 :] if line]
        assert shown[0] == "llama-3.1"
        assert not any("fits only" in line for line in shown)


async def test_the_palette_knows_what_can_be_done_on_other_screens() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "ctrl+p", *"pause/res")
        await until(pilot, lambda: "pause/resume  p  (downloads)" in screen_text(app))
        await press(pilot, "enter")
        await until(pilot, lambda: app._current_mode == "downloads")


def test_a_search_wants_every_word_and_puts_families_first() -> None:
    every = EveryModel(fake.FAMILIES)
    assert every.search("qwen3", 3)[0].label == "qwen3"
    assert every.search("qwen3 nonsense", 3) == []
    assert all(found.family.name == "qwen3" for found in every.search("Q4_K_M qwen3", 50))
    assert {v.key for f in fake.FAMILIES for v in f.variants()} == {
        found.variant.key for f in fake.FAMILIES for found in every.search(f.name, 10_000) if found.variant is not None
    }


def test_the_window_is_called_by_what_goes_on() -> None:
    assert window_title.title((), "") == "modeldeck"
    queue = fake.FakeQueue(lambda job: None)
    for quantization in ("Q4_K_M", "Q8_0"):
        queue.add(fake.plan(fake.variant(fake.LLAMA3, 8, quantization)))
    one, other = (job.plan.total_bytes for job in queue.jobs())
    queue.progress("job-1", state="running", done_bytes=(one + other) // 4)
    assert window_title.title(queue.jobs(), "llama 8B\x1b]2;x") == "25% of 2 downloads - llama 8B␛]2;x - modeldeck"
    queue.progress("job-2", state="cancelled")
    queue.progress("job-1", state="done")
    assert window_title.title(queue.jobs(), "") == "modeldeck"
