"""An answer in the making: tokens in, chunks out."""

from __future__ import annotations

from collections.abc import Iterable

from backends.engines.engine import Alternative, Chunk
from backends.engines.reasoning import Part, ReasoningSplitter
from backends.engines.text_stream import TextStream


class Answer:
    """Turns the pieces of one answer into chunks: whole characters, thinking apart, ended by a stop string."""

    def __init__(
        self,
        stop: Iterable[str] = (),
        tags: tuple[str, str] | None = None,
        *,
        thinking: bool = False,
        plain: bool = False,
    ) -> None:
        """
        Args:
            thinking: The prompt's end has opened the thinking.
            plain: A completion: nothing is looked for in its text.
        """
        self._text = TextStream(stop)
        self._splitter = None if plain else ReasoningSplitter(tags, inside=thinking)
        self._tokens = 0
        self._alternatives: list[tuple[Alternative, ...]] = []
        self.tokens = 0
        """Tokens so far."""

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended it."""
        return self._text.stopped

    def token(self, piece: bytes | str, alternatives: tuple[Alternative, ...] | None = None) -> list[Chunk]:
        """One more token; its chunks, none while it waits for the rest of a character or a tag."""
        self.tokens += 1
        self._tokens += 1
        if alternatives is not None:
            self._alternatives.append(alternatives)
        text = self._text.feed_text(piece) if isinstance(piece, str) else self._text.feed(piece)
        return self._chunks(self._parts(text))

    def text(self, text: str) -> list[Chunk]:
        """Text that belongs to tokens which were counted already."""
        return self._chunks(self._parts(self._text.feed_text(text)))

    def finish(self) -> list[Chunk]:
        """What was held back, and tokens that made no text."""
        parts = self._parts(self._text.finish())
        if self._splitter is not None:
            parts += self._splitter.finish()
        chunks = self._chunks(parts)
        if self._tokens:
            chunks += self._chunks([Part("", reasoning=False)])
        return chunks

    def _parts(self, text: str) -> list[Part]:
        if not text:
            return []
        return [Part(text, reasoning=False)] if self._splitter is None else self._splitter.feed(text)

    def _chunks(self, parts: list[Part]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for part in parts:
            chunks.append(Chunk(part.text, part.reasoning, self._tokens, tuple(self._alternatives), None, part.closes))
            self._tokens = 0
            self._alternatives.clear()
        return chunks
