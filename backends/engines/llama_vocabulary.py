"""A GGUF's words and chat template, by llama.cpp's own tokenizer.

Usable from any thread: the tokenizer is safe as long as the model is there.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any, Final

from backends.engines.chat_template import ChatTemplate, built_in
from backends.engines.engine import Turn, Weights
from backends.engines.plain_words import guarded, pieces
from backends.engines.prefix_cache import common_prefix
from backends.engines.reasoning import CHANNEL, USUAL_TAGS
from backends.errors import EngineError

REMEMBERED_TEXTS: Final = 512
"""Turns whose control tokens were looked for: a conversation's past turns come again with each prompt."""


class LlamaVocabulary:
    """The vocabulary of one loaded model."""

    def __init__(self, library: Any, model: Any, weights: Weights) -> None:
        self._library = library
        self._vocabulary = library.llama_model_get_vocab(model)
        self._guard = threading.Lock()
        self._closed = False
        self._marks_found: dict[str, set[str]] = {}
        self._piece_buffer = ctypes.create_string_buffer(256)
        self.words = int(library.llama_vocab_n_tokens(self._vocabulary))
        """How many there are."""
        self._bos = self._name(library.llama_vocab_bos(self._vocabulary))
        eos = self._name(library.llama_vocab_eos(self._vocabulary))
        self._adds_bos = bool(library.llama_vocab_get_add_bos(self._vocabulary))
        self._tags = (weights.reasoning_tags,) if weights.reasoning_tags else USUAL_TAGS
        # Control tokens make no text, and the marks of thinking are such tokens in some vocabularies.
        self._shows_control = any(
            self._is_control(mark) for mark in (CHANNEL, *(tag for pair in self._tags for tag in pair))
        )
        self.has_channels = self._is_control(CHANNEL)
        own = library.llama_model_chat_template(model, None)
        if weights.chat_template is not None:
            self._template = ChatTemplate(weights.chat_template, self._bos, eos)
        elif own:
            self._template = ChatTemplate(own.decode("utf-8", "replace"), self._bos, eos)
        else:
            ours, note = built_in(self._is_control)
            self._template = ChatTemplate(ours.source, self._bos, eos, note=note, stop=ours.stop)
        self.template_note = self._template.note
        self.stop = (*weights.stop, *self._template.stop)

    def close(self) -> None:
        """Refuse from now on; once it returns, no other thread is inside."""
        with self._guard:
            self._closed = True

    def chat(self, turns: Sequence[Turn], thinking: bool | None = None) -> tuple[list[int], tuple[str, str] | None]:
        plain, seam = guarded(turns, self._marks_in)
        text = self._template.render(plain, thinking=thinking)
        tail = text.rstrip()
        opened = next((pair for pair in self._tags if tail.endswith(pair[0])), None)
        return self._prompt(text, seam), opened

    def stable(self, turns: Sequence[Turn], tokens: list[int], thinking: bool | None = None) -> int:
        plain, seam = guarded(turns, self._marks_in)
        past = self._prompt(self._template.render(plain, thinking=thinking, opens_answer=False), seam)
        return common_prefix(past, tokens)

    def text(self, prompt: str) -> list[int]:
        return self._prompt(prompt)

    def count(self, text: str) -> int:
        return len(self.tokenize(text, special=False))

    def inside(self, text: str, special: bool) -> list[int]:
        return self.tokenize(text, special=special)

    def ends(self, token: int) -> bool:
        return bool(self._library.llama_vocab_is_eog(self._vocabulary, token))

    def pieces(self) -> LlamaPieces:
        return LlamaPieces(self)

    def piece(self, token: int) -> str:
        """The text of one token; half a character is the replacement sign."""
        return self.bytes_of(token).decode("utf-8", "replace")

    def bytes_of(self, token: int) -> bytes:
        """What one token adds to a text."""
        buffer = self._piece_buffer
        length = self._library.llama_token_to_piece(
            self._vocabulary, token, buffer, len(buffer), 0, self._shows_control
        )
        if length < 0:
            self._piece_buffer = buffer = ctypes.create_string_buffer(-length)
            length = self._library.llama_token_to_piece(
                self._vocabulary, token, buffer, len(buffer), 0, self._shows_control
            )
        return buffer.raw[:length]

    def tokenize(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        """Tokens of a text.

        Args:
            special: Whether the names of control tokens stand for them.
            begin: Whether to begin as the model wants it.
        """
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        with self._guard:
            if self._closed:
                raise EngineError("the model was closed; load it again")
            tokens = (ctypes.c_int32 * room)()
            count = self._library.llama_tokenize(self._vocabulary, data, len(data), tokens, room, begin, special)
        if count < 0:
            raise EngineError(f"llama.cpp cannot tokenize a text of {len(data):,} bytes")
        return tokens[:count]

    def _prompt(self, text: str, seam: str | None = None) -> list[int]:
        """Tokens of a prompt, begun as the model wants it but never begun twice.

        Args:
            seam: Where the text is cut, so that no control token is seen across it; None: nowhere.
        """
        begun = bool(self._bos) and text.startswith(self._bos)
        parts = pieces(text, seam) if seam else [text]
        tokens = self.tokenize(parts[0] if parts else "", special=True, begin=self._adds_bos and not begun)
        for part in parts[1:]:
            tokens += self.tokenize(part, special=True)
        return tokens

    def _marks_in(self, text: str) -> set[str]:
        """Control tokens that llama.cpp would read in a text."""
        found = self._marks_found.get(text)
        if found is None:
            tokens = self.tokenize(text, special=True)
            found = {
                self._name(token)
                for token in set(tokens)
                if self._library.llama_vocab_is_control(self._vocabulary, token)
            }
            if len(self._marks_found) >= REMEMBERED_TEXTS:
                self._marks_found.clear()
            self._marks_found[text] = found
        return found

    def _name(self, token: int) -> str:
        """What the vocabulary calls a token; "" for none."""
        if token < 0:
            return ""
        found: bytes = self._library.llama_vocab_get_text(self._vocabulary, token)
        return found.decode("utf-8", "replace")

    def _is_control(self, text: str) -> bool:
        tokens = self.tokenize(text, special=True)
        return len(tokens) == 1 and bool(self._library.llama_vocab_is_control(self._vocabulary, tokens[0]))


class LlamaPieces:
    """Each token's bytes, as they are: whoever reads them puts characters together."""

    def __init__(self, vocabulary: LlamaVocabulary) -> None:
        self.token = vocabulary.bytes_of

    def finish(self) -> str:
        """Nothing is held back."""
        return ""
