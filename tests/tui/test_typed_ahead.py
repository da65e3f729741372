"""Letters that are typed faster than the screen follows are for what was asked for, and do nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import fake_services as fake
import pytest
from ttybench import TtySession

from tui.app import Deck
from tui.palette import Palette
from tui.screens.ask import Ask

ROOT = Path(__file__).parents[2]
CONTROL_P = b"\x10"


@pytest.mark.parametrize("tour", [False, True], ids=["no tour", "tour"])
@pytest.mark.parametrize("at", ["modeldeck", r"\d+ families"])
def test_what_is_typed_right_after_the_palette_s_key_is_searched_for(tmp_path: Path, tour: bool, at: str) -> None:
    if not tour:
        (tmp_path / "tour-was-shown").touch()
    environment = {"MODELDECK_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    with TtySession([sys.executable, "-m", "tui"], 100, 30, env=environment) as session:
        assert session.wait_for(at) is not None, session.dump_text()
        session.send(CONTROL_P + b"qwen3 14b pytorch none")
        assert session.wait_for(r"qwen3 14B pytorch none", 30) is not None, session.dump_text()
        assert "qwen3 14b pytorch none" in session.dump_text()
        assert "1 of 3" not in session.dump_text()


async def test_over_a_question_there_is_no_palette() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(Ask("Quit?", "All of it?"))
        await pilot.pause()
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        await pilot.press("escape", "ctrl+p")
        await pilot.pause()
        assert isinstance(app.screen, Palette)
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert sum(isinstance(screen, Palette) for screen in app.screen_stack) == 1
