"""Whatever is written can be read: in both themes of ours, on every screen, at least 4.5:1 (WCAG 2.2, 1.4.3, AA)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gallery
import pytest
from rich.color import Color
from textual.color import Color as Rgb
from textual.geometry import Region
from textual.screen import ModalScreen

from tui import glyphs
from tui.themes import DARK, LIGHT

LEAST = 4.5


@pytest.fixture(autouse=True)
def unicode_glyphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[None]:
    monkeypatch.setenv("MODELDECK_HOME", str(tmp_path))
    glyphs.choose(False)
    yield
    glyphs.choose(None)


def ratio(one: Rgb, other: Rgb) -> float:
    """The contrast of two colours, by their relative luminance."""

    def luminance(color: Rgb) -> float:
        parts = [n / 12.92 if n <= 0.04045 else ((n + 0.055) / 1.055) ** 2.4 for n in color.normalized]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def rgb(color: Color | None, instead: Rgb) -> Rgb:
    return instead if color is None or color.is_default else Rgb.from_rich_color(color)


def texts(app: Any) -> Iterator[tuple[str, Rgb, Rgb]]:
    """What stands on the screen in letters and figures, with its colour and its ground, but what a box dims."""
    variables = app.theme_variables
    ink, ground = Rgb.parse(variables["foreground"]), Rgb.parse(variables["background"])
    screen = app.screen
    region = screen.region
    if isinstance(screen, ModalScreen) and screen.styles.background.a:
        region = Region.from_union([one.region for one in screen.query("*") if one.region])
    for strip in screen._compositor.render_strips()[region.y : region.bottom]:
        for text, style, _ in strip.crop(region.x, region.right):
            if style is None or not any(letter.isalnum() or letter in "●◐○✕⤓" for letter in text):
                continue
            front, back = rgb(style.color, ink), rgb(style.bgcolor, ground)
            if style.reverse:
                front, back = back, front
            yield text, front.blend(back, 0.5) if style.dim else front, back


def test_the_ratio_is_that_of_wcag() -> None:
    assert ratio(Rgb(0, 0, 0), Rgb(255, 255, 255)) == pytest.approx(21)
    assert ratio(Rgb.parse("#767676"), Rgb(255, 255, 255)) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("theme", [DARK, LIGHT])
@pytest.mark.parametrize("name", gallery.NAMES)
async def test_every_text_stands_out_from_its_ground(name: str, theme: str) -> None:
    async with gallery.shown(name, theme, (120, 40)) as app:
        found = list(texts(app))
    assert found
    faint = {
        (text.strip(), front.hex, back.hex, round(ratio(front, back), 2))
        for text, front, back in found
        if ratio(front, back) < LEAST
    }
    assert not faint
