"""Colours of line-rendered widgets by the names of theme variables.

A component class costs one more pass of the stylesheet each; at some fifty of them that is a third of the way from
the import to the first frame. A variable of the theme costs one look into a dictionary.
"""

from __future__ import annotations

from functools import lru_cache

from rich.style import Style
from textual.color import Color, ColorParseError
from textual.widget import Widget

VERDICT_INKS = {"gpu": "success", "split": "warning", "cpu": "primary", "no": "muted"}
"""Theme variables by verdict, as the lists and cells use them."""


@lru_cache(maxsize=256)
def _style(foreground: str | None, background: str | None, bold: bool) -> Style:
    return Style(color=_color(foreground), bgcolor=_color(background), bold=True if bold else None)


def _color(text: str | None):  # type: ignore[no-untyped-def]
    if text is None:
        return None
    try:
        color = Color.parse(text.split()[0])
    except ColorParseError:
        return None
    return color.rich_color if color.a else None


def ink(widget: Widget, name: str | None = None, *, on: str | None = None, bold: bool = False) -> Style:
    """The style of a theme variable as text, on another as ground; None leaves either as it is."""
    variables = widget.app.theme_variables
    return _style(variables.get(name) if name else None, variables.get(on) if on else None, bold)
