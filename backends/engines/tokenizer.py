"""A Hugging Face tokenizer as our engines use it: prompts, pieces, and what ends an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.engines.chat_template import ChatTemplate, built_in
from backends.engines.engine import Turn, Weights
from backends.engines.plain_words import guarded, pieces
from backends.engines.prefix_cache import common_prefix
from backends.engines.reasoning import CHANNEL, USUAL_TAGS
from backends.engines.token_text import TokenText


class Tokenizer:
    """Wraps a tokenizer of transformers with the weights' template."""

    def __init__(self, tokenizer: Any, weights: Weights) -> None:
        self._tokenizer = tokenizer
        # The library of the model may encode on another thread, and a tokenizer in Rust refuses two at once.
        self._guard = threading.Lock()
        self._special = _special_texts(tokenizer)
        bos = tokenizer.bos_token or ""
        eos = tokenizer.eos_token or ""
        own = _template(tokenizer.chat_template)
        if weights.chat_template is not None:
            self._template = ChatTemplate(weights.chat_template, bos, eos)
        elif own:
            self._template = ChatTemplate(own, bos, eos)
        else:
            ours, note = built_in(self._is_control)
            self._template = ChatTemplate(ours.source, bos, eos, note=note, stop=ours.stop)
        self.template_note = self._template.note if weights.chats else None
        self.stop = (*weights.stop, *self._template.stop)
        tags = (weights.reasoning_tags,) if weights.reasoning_tags else USUAL_TAGS
        self._tags = tags
        self._marks = tuple(sorted(self._special | {tag for pair in tags for tag in pair}))
        self._hides_control = not any(
            mark in self._special for mark in (CHANNEL, *(tag for pair in tags for tag in pair))
        )
        self.has_channels = self._is_control(CHANNEL)
        self._alone: dict[int, str] = {}
        """Texts of tokens by themselves, as they were met in answers."""
        self.end_tokens = self._end_tokens(weights.path)
        """Tokens that end an answer, by the tokenizer and the model's own settings."""

    def chat(self, turns: Sequence[Turn], thinking: bool | None = None) -> tuple[list[int], tuple[str, str] | None]:
        """Tokens of a conversation, and the pair of tags whose first one the template has written already."""
        plain, seam = guarded(turns, self._marks_in)
        text = self._template.render(plain, thinking=thinking)
        tail = text.rstrip()
        opened = next((pair for pair in self._tags if tail.endswith(pair[0])), None)
        return self._encode(text, seam), opened

    def stable(self, turns: Sequence[Turn], tokens: list[int], thinking: bool | None = None) -> int:
        """How many of a conversation's tokens will stand in the next turn's prompt, whatever this answer becomes."""
        plain, seam = guarded(turns, self._marks_in)
        past = self._encode(self._template.render(plain, thinking=thinking, opens_answer=False), seam)
        return common_prefix(past, tokens)

    def ends(self, token: int) -> bool:
        """Whether this token ends an answer."""
        return token in self.end_tokens

    def _encode(self, text: str, seam: str) -> list[int]:
        # The template writes every special token itself.
        with self._guard:
            return [
                token for part in pieces(text, seam) for token in self._tokenizer.encode(part, add_special_tokens=False)
            ]

    def _marks_in(self, text: str) -> set[str]:
        return {mark for mark in self._marks if mark in text}

    def text(self, prompt: str) -> list[int]:
        """Tokens of a text to be completed, begun as the model wants it."""
        begun = bool(self._tokenizer.bos_token) and prompt.startswith(self._tokenizer.bos_token)
        with self._guard:
            tokens: list[int] = self._tokenizer.encode(prompt, add_special_tokens=not begun)
        return tokens

    def count(self, text: str) -> int:
        """Tokens of a text without special ones."""
        (plain,), seam = guarded([Turn("user", text)], self._marks_in)
        return len(self._encode(plain.text, seam))

    def inside(self, text: str, special: bool) -> list[int]:
        """Tokens of a text in the middle of a prompt.

        Args:
            special: Whether the names of control tokens stand for them.
        """
        if special:
            with self._guard:
                return list(self._tokenizer.encode(text, add_special_tokens=False))
        (plain,), seam = guarded([Turn("user", text)], self._marks_in)
        return self._encode(plain.text, seam)

    def piece(self, token: int) -> str:
        """The text of one token by itself."""
        text: str = self._tokenizer.decode([token])
        return text

    def pieces(self) -> TokenText:
        """A fresh assembler of an answer's text."""
        return TokenText(
            lambda tokens: self._tokenizer.decode(
                tokens, skip_special_tokens=self._hides_control, clean_up_tokenization_spaces=False
            ),
            self._alone,
        )

    def _end_tokens(self, folder: Path) -> frozenset[int]:
        found: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            try:
                told = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
            except (OSError, ValueError, AttributeError):
                continue
            found |= set(told) if isinstance(told, list) else {told}
        found.add(self._tokenizer.eos_token_id)
        for mark in ("<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<|return|>", "<|END_OF_TURN_TOKEN|>"):
            if mark in self._special:
                found.add(self._tokenizer.convert_tokens_to_ids(mark))
        if CHANNEL in self._special:
            # gpt-oss ends every channel with <|end|>, and its answer with <|return|>.
            found.discard(self._tokenizer.convert_tokens_to_ids("<|end|>"))
        return frozenset(token for token in found if isinstance(token, int))

    def _is_control(self, text: str) -> bool:
        if text in self._special:
            return True
        added = getattr(self._tokenizer, "added_tokens_encoder", {})
        return text in added


def _special_texts(tokenizer: Any) -> set[str]:
    """Every text that the tokenizer takes for a control token."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {str(token) for token in added.values() if getattr(token, "special", False)} | set(
        tokenizer.all_special_tokens
    )


def _template(own: object) -> str | None:
    """The default one of a tokenizer that may hold several."""
    if isinstance(own, dict):
        own = own.get("default")
    return own if isinstance(own, str) and own else None
