"""Rich styles of a transcript, made once a theme from its variables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from rich.segment import Segment
from rich.style import Style
from textual.color import Color, ColorParseError

STRONG: Final = 1
EMPHASIS: Final = 2
CODE: Final = 4
LINK: Final = 8
STRIKE: Final = 16
MATH: Final = 32
MUTED: Final = 64
"""Bits of an inline style; they add up."""

_TOKENS: Final[tuple[tuple[str, str, str], ...]] = (
    # pygments token, theme variable, attributes; the longest prefix wins
    ("Token.Comment", "muted", "italic"),
    ("Token.Keyword", "accent", ""),
    ("Token.Keyword.Constant", "success", ""),
    ("Token.Keyword.Type", "primary", ""),
    ("Token.Literal.String", "success", ""),
    ("Token.Literal.String.Doc", "success", "italic"),
    ("Token.Literal.Number", "warning", ""),
    ("Token.Name.Function", "primary", ""),
    ("Token.Name.Class", "primary", "bold"),
    ("Token.Name.Decorator", "secondary", ""),
    ("Token.Name.Builtin", "primary", ""),
    ("Token.Name.Tag", "primary", ""),
    ("Token.Name.Attribute", "warning", ""),
    ("Token.Name.Exception", "error", ""),
    ("Token.Operator.Word", "accent", ""),
    ("Token.Generic.Deleted", "error", ""),
    ("Token.Generic.Inserted", "success", ""),
    ("Token.Generic.Heading", "primary", "bold"),
    ("Token.Generic.Subheading", "secondary", ""),
    ("Token.Error", "foreground", ""),
)


class Palette:
    """What each part of an answer looks like in one theme, on one background."""

    def __init__(self, variables: Mapping[str, str], background: Color) -> None:
        self._variables = variables
        self._background = background
        foreground = self._colour("foreground", Color.parse("#d0d0d0"))
        # A terminal's own colours have no numbers to mix: there the ground stays as it is.
        mixes = background.ansi is None and foreground.ansi is None
        raised = background.blend(foreground, 0.06) if mixes else background
        self.muted_colour = self._colour("muted", background.blend(foreground, 0.6) if mixes else foreground)
        self.text = Style(color=foreground.rich_color, bgcolor=background.rich_color)
        self.raised = Style(color=foreground.rich_color, bgcolor=raised.rich_color)
        self.muted = self.text + Style(color=self.muted_colour.rich_color)
        self.raised_muted = self.raised + Style(color=self.muted_colour.rich_color)
        self.primary = self.text + self._colour_style("primary")
        self.accent = self.text + self._colour_style("accent")
        self.warning = self.text + self._colour_style("warning")
        self.error = self.text + self._colour_style("error")
        self.rule = self.text + self._colour_style("rule", "muted")
        self.edge = self.text + self._colour_style("border", "primary")
        self.heading = self.text + self._colour_style("primary") + Style(bold=True)
        self.bullet = self.text + self._colour_style("primary")
        self.chosen_mark = Segment("▌ ", self.accent)
        self.user_mark = Segment("▎ ", self.primary)
        self.no_mark = Segment("  ", self.text)
        self._token_styles: dict[str, Style] = {}
        self._inline: dict[tuple[int, int], Style] = {}

    @property
    def look(self) -> tuple[Style, ...]:
        """What two palettes are compared by."""
        return (self.text, self.primary, self.accent, self.muted, self.raised, self.rule)

    def _colour(self, name: str, default: Color) -> Color:
        try:
            return Color.parse(self._variables[name])
        except (KeyError, ColorParseError):
            return default

    def _colour_style(self, *names: str) -> Style:
        for name in names:
            if name in self._variables:
                try:
                    return Style(color=Color.parse(self._variables[name]).rich_color)
                except ColorParseError:
                    continue
        return Style()

    def inline(self, bits: int, base: Style) -> Style:
        """The style of inline text with these bits, on a base."""
        key = (bits, id(base))
        style = self._inline.get(key)
        if style is None:
            style = base
            if bits & CODE:
                style += Style(color=self._colour("accent", Color.parse("yellow")).rich_color)
            if bits & LINK:
                style += self._colour_style("primary") + Style(underline=True)
            if bits & MATH:
                style += self._colour_style("secondary", "primary")
            if bits & MUTED:
                style += Style(color=self.muted_colour.rich_color)
            style += Style(
                bold=True if bits & STRONG else None,
                italic=True if bits & EMPHASIS else None,
                strike=True if bits & STRIKE else None,
            )
            self._inline[key] = style
        return style

    def token(self, kind: str) -> Style:
        """The style of a pygments token in a code block."""
        style = self._token_styles.get(kind)
        if style is None:
            style = self.raised
            for prefix, variable, attributes in _TOKENS:
                if kind == prefix or kind.startswith(prefix + "."):
                    style = self.raised + self._colour_style(variable) + _parse(attributes)
            self._token_styles[kind] = style
        return style


@lru_cache(maxsize=32)
def _parse(attributes: str) -> Style:
    return Style.parse(attributes) if attributes else Style()
