"""The fit matrix and the words below it: what is out of sight, and what would have to be installed."""

from __future__ import annotations

from dataclasses import replace

import fake_services as fake
from textual.pilot import Pilot

from backends.fit import Option
from specs.catalog import load_catalog
from tui.app import Deck
from tui.widgets.hardware_strip import HardwareStrip

(QWEN3,) = [family for family in load_catalog().families if family.name == "qwen3"]


def screen_text(app: Deck) -> str:
    """All that is on the screen, line by line."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def press(pilot: Pilot[int], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await pilot.pause()


async def test_the_frame_says_how_many_rows_stand_below_what_is_seen() -> None:
    app = Deck(fake.services(families=(QWEN3,)))
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "enter")
        first = screen_text(app)
        (words,) = [line for line in first.splitlines() if "more rows below" in line]
        below = int(words.split(" more ")[0].split()[-1])
        rows = len({(spec.size_in_billions, spec.format) for spec in QWEN3.specs})
        seen = sum(line.startswith("│") and ("ggufv2" in line or "pytorch" in line) for line in first.splitlines())
        assert below == rows - seen
        await press(pilot, *["down"] * (rows + 2))
        assert "more row" not in screen_text(app)


async def test_what_is_missing_comes_with_the_line_that_installs_it() -> None:
    line = "pip install 'modeldeck[transformers]'"

    def options(*asked: object) -> list[Option]:
        return [
            replace(one, lack=one.reason, install_line=line) if one.engine == "Transformers" else one
            for one in fake.options(*asked)  # type: ignore[arg-type]
        ]

    app = Deck(fake.services(options=options))
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "slash", *"3-inst", "enter", "enter")
        assert "to install:" not in screen_text(app)
        await press(pilot, "down", "down", "down")
        shown = screen_text(app)
        assert "Transformers is not installed" in shown
        assert f"to install: {line}" in shown


async def test_the_long_name_of_another_machine_leaves_room_for_the_context() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(80, 24)) as pilot:
        other = replace(fake.PRESET, label="RTX 4090 + RTX 3060 12 GB, 64 GB RAM")
        app.screen.query_one(HardwareStrip).show(other, "ctx 8,192")
        await pilot.pause()
        top = screen_text(app).splitlines()[0]
        assert "what if: RTX 4090 + RTX 3060" in top
        assert "not this machine" in top
        assert top.rstrip().endswith("ctx 8,192")
