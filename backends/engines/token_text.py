"""Token numbers made into text for libraries whose tokenizers decode whole lists only."""

from __future__ import annotations

from collections.abc import Callable

UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class TokenText:
    """Gives the text that each token adds.

    A token's text depends on the one before it (spaces, bytes of one character), so a short stretch is decoded twice,
    with and without the new token, and the difference handed out; while it ends in the middle of a character it waits.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._from = 0
        """Where decoding begins: some tokens before the ones that are not out yet."""
        self._out = 0
        """Tokens whose text was handed out."""

    def token(self, token: int) -> str:
        """The text that became certain with this token."""
        self._tokens.append(token)
        before, now = self._both()
        if now.endswith(UNFINISHED) or len(now) <= len(before):
            return ""
        self._from = self._out
        self._out = len(self._tokens)
        return now[len(before) :]

    def finish(self) -> str:
        """What was held back, with U+FFFD where a character was never finished."""
        before, now = self._both()
        self._from = self._out = len(self._tokens)
        return now[len(before) :]

    def _both(self) -> tuple[str, str]:
        return self._decode(self._tokens[self._from : self._out]), self._decode(self._tokens[self._from :])
