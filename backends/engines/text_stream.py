"""Bytes of tokens made into text: whole characters, up to a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


class TextStream:
    """Assembles an answer as its tokens come in.

    A token may end in the middle of a character, and a stop string may begin in one token and end in another: what
    could still become either is held back until the next token decides.
    """

    def __init__(self, stop: Iterable[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(dict.fromkeys(text for text in stop if text))
        self._held = ""
        self.stopped = False
        """Whether a stop string was met; nothing is given out after it."""

    def feed(self, piece: bytes) -> str:
        """The text that is certain after one more token; "" while it waits."""
        return self.feed_text(self._decoder.decode(piece))

    def feed_text(self, text: str) -> str:
        """The same for a library that hands out whole characters."""
        if self.stopped or not text:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        cut = min((at for stop in self._stops if (at := text.find(stop)) >= 0), default=None)
        if cut is not None:
            self.stopped = True
            self._held = ""
            return text[:cut]
        keep = max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back and turned out to be nothing but text; a broken last character becomes U+FFFD."""
        text = self.feed_text(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return "" if self.stopped else text


def overlap(text: str, mark: str) -> int:
    """How many of the last characters of text could be the beginning of mark, mark itself excluded."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
