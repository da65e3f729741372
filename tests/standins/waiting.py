"""Waiting for the app instead of for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

LONGEST_WAIT_SECONDS = 120.0


def screen_text(app: Any) -> str:
    """The screen as it was painted last."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def until(pilot: Pilot[Any], true: Callable[[], object], seconds: float = LONGEST_WAIT_SECONDS) -> None:
    """Let the app run until something is so; a wait for nothing fails with what the screen shows."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, screen_text(pilot.app)
        await pilot.pause(0.005)
    await pilot.pause()
