"""Text from files, hubs and models, made fit to stand on a terminal."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_BLANK: Final = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e0fff"
)
"""Characters that take no place or turn the direction of what follows."""
_NEWLINES: Final = re.compile("\r\n|[\x85\u2028\u2029]")


@lru_cache(maxsize=1)
def _unsafe() -> re.Pattern[str]:
    """Built when a text first needs it: most never do, and the first frame has none that does."""
    return re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_BLANK}\u200c\u200d]")


def printable(text: str, *, newlines: bool = False) -> str:
    """The same text with nothing left in it that a terminal would obey.

    Control characters become their pictures (an escape sequence stays readable as "␛[31m"), bidirectional overrides and
    invisible characters become "\N{REPLACEMENT CHARACTER}". Joiners inside words and emoji stay, since Persian, Hindi
    and many emoji are written with them.

    Args:
        text: from a spec file, a hub, a model or a library.
        newlines: whether line ends and tabs are wanted; else they become spaces.
    """
    if text.isprintable():
        return text
    text = _NEWLINES.sub("\n", text)

    def visible(match: re.Match[str]) -> str:
        character = match.group()
        code = ord(character)
        if character in "\n\t":
            return character if newlines else " "
        if code < 0x20:
            return " " if character == "\r" and not newlines else chr(0x2400 + code)
        if code == 0x7F:
            return "\N{SYMBOL FOR DELETE}"
        if character in "\u200c\u200d" and _joins(text, match.start()):
            return character
        return "\N{REPLACEMENT CHARACTER}"

    return _unsafe().sub(visible, text)


def _joins(text: str, at: int) -> bool:
    """Whether the joiner stands between two characters that may need one."""
    return 0 < at < len(text) - 1 and ord(text[at - 1]) >= 0x600 and ord(text[at + 1]) >= 0x600


def one_line(text: str) -> str:
    """Printable text with every run of white space as one space."""
    return printable(" ".join(text.split()))
