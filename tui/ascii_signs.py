"""A last look at every line for terminals without Unicode: frames, bars and bullets become ASCII, cell for cell.

What people and models write is left as it is.
"""

from __future__ import annotations

from typing import Final

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

SIGNS: Final = {
    "─━╌╍┄┅╴╶═▔▁": "-",
    "│┃╎╏┆┇║▏▕▎▍▌▐┊┋": "|",
    "╭╮╰╯┌┐└┘├┤┬┴┼┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬": "+",
    "█▉▊▋▇▆▓": "#",
    "▂▃▄▅▀▒": "=",
    "░": ":",
    "·": "-",
    "•●◆■": "*",
    "○◦☐□": "o",
    "☑✓": "x",
    "✕✗": "x",
    "…": "~",
    "▸▶›❯→»": ">",
    "‹←«↵◀": "<",
    "▾▼↓⤓": "v",
    "▴▲↑": "^",
    "“”„": '"',
    "‘’": "'",
    "–—": "-",
}
"""What stands for our signs and Textual's."""
_TABLE: Final = str.maketrans({sign: plain for signs, plain in SIGNS.items() for sign in signs})


class AsciiSigns(LineFilter):
    """Draws the frames of every widget, Textual's own too, in ASCII."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002
        return [
            segment
            if segment.control or segment.text.isascii()
            else Segment(segment.text.translate(_TABLE), segment.style)
            for segment in segments
        ]
