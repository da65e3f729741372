"""Token numbers made into text for libraries whose tokenizers decode whole lists only."""

from __future__ import annotations

from collections.abc import Callable

UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class TokenText:
    """Gives the text that each token adds.

    A token's text depends on the one before it (spaces, bytes of one character), so a short stretch is decoded twice,
    with and without the new token, and the difference handed out; while it ends in the middle of a character it waits.
    """

    def __init__(self, decode: Callable[[list[int]], str], alone: dict[int, str] | None = None) -> None:
        """Begin.

        Args:
            decode: the library's own decoding.
            alone: texts of single tokens, kept by the caller from answer to answer.
        """
        self._decode = decode
        self._alone = {} if alone is None else alone
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
        before = self._tokens[self._from : self._out]
        if len(before) != 1:
            told = self._decode(before) if before else ""
        else:
            # Most stretches are one token long, and a vocabulary's tokens come again and again.
            known = self._alone.get(before[0])
            told = self._alone[before[0]] = self._decode(before) if known is None else known
        return told, self._decode(self._tokens[self._from :])
