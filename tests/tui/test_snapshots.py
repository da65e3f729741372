"""How the screens look, for the states worth looking at."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import fake_services as fake
import pytest
from textual.pilot import Pilot

from tui import glyphs
from tui.app import Deck
from tui.themes import DARK, LIGHT

Q4 = fake.variant(fake.LLAMA3, 8, "Q4_K_M")
INTO_LLAMA = ("slash", *"3-inst", "enter", "enter")
Compare = Callable[..., bool]


@pytest.fixture(autouse=True)
def unicode_glyphs() -> Iterable[None]:
    glyphs.choose(False)
    yield
    glyphs.choose(None)


def deck(theme: str = DARK) -> Deck:
    app = Deck(fake.services(on_disk=(Q4,)), theme=theme)
    app.animation_level = "none"
    return app


@pytest.mark.parametrize(
    ("theme", "size"), [(DARK, (120, 40)), (LIGHT, (120, 40)), (DARK, (80, 24)), (LIGHT, (200, 60))]
)
def test_browse(snap_compare: Compare, theme: str, size: tuple[int, int]) -> None:
    assert snap_compare(deck(theme), terminal_size=size, press=["down", "down"])


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
def test_a_family_with_its_matrix_and_memory_bar(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(deck(), terminal_size=size, press=INTO_LLAMA)


def test_a_cell_that_does_not_fit(snap_compare: Compare) -> None:
    assert snap_compare(deck(), terminal_size=(120, 40), press=(*INTO_LLAMA, "down", "down", "down", "down", "down"))


def test_judging_for_another_machine(snap_compare: Compare) -> None:
    assert snap_compare(deck(), terminal_size=(120, 40), press=(*INTO_LLAMA, "m", "down", "enter"))


@pytest.mark.parametrize("size", [(120, 24), (80, 24)])
def test_downloads(snap_compare: Compare, size: tuple[int, int]) -> None:
    queue = fake.FakeQueue(lambda job: None)
    for size_in_billions, quantization in ((8, "Q4_K_M"), (8, "Q8_0"), (70, "Q4_K_M")):
        queue.add(fake.plan(fake.variant(fake.LLAMA3, size_in_billions, quantization)))
    queue.progress("job-1", state="running", done_bytes=2_744_000_000, bytes_per_second=84e6, seconds_left=26.0)
    queue.progress("job-3", state="failed", note="gated: read and accept the licence at the model's page")
    app = Deck(fake.services(open_queue=lambda on_change: queue), theme=DARK)
    app.animation_level = "none"

    async def look(pilot: Pilot[int]) -> None:
        await pilot.press("f6")
        await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=look)
