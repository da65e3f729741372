"""A model's thinking told apart from its answer while both stream in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backends.engines.text_stream import overlap

USUAL_TAGS: Final[tuple[tuple[str, str], ...]] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
"""DeepSeek R1, Qwen and most others; Claude-like tunes; Magistral; Seed-OSS; Sky-T1."""

CHANNEL: Final = "<|channel|>"
START: Final = "<|start|>"
MESSAGE: Final = "<|message|>"
ENDS: Final = ("<|end|>", "<|return|>", "<|call|>")
"""gpt-oss's harmony format: <|channel|>NAME<|message|>TEXT<|end|><|start|>assistant<|channel|>NAME<|message|>TEXT."""

BARE_THINKING: Final = "analysis"
BARE_ANSWER: Final = "assistantfinal"
"""What is left of the same where a tokenizer swallowed the marks."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of an answer that is all thinking or all answer."""

    text: str
    reasoning: bool
    closes: bool = False
    """A closing tag without an opening one came: what was given out before was thinking after all."""


class ReasoningSplitter:
    """Splits a stream of text; a tag may come in as many pieces as it has characters.

    An opening tag counts at the beginning of a line only, so that a model may speak about "<think>" without its answer
    vanishing. White space next to a tag is dropped.
    """

    def __init__(self, tags: tuple[str, str] | None = None, *, inside: bool = False) -> None:
        """
        Args:
            tags: The family's own pair; None: the usual ones.
            inside: The prompt's end has opened the thinking already.
        """
        self._pairs = (tags,) if tags else USUAL_TAGS
        self._closing: str | None = self._pairs[0][1] if inside else None
        self._channels = False
        self._state = "thinking" if inside else "answer"
        self._held = ""
        self._line = ""
        """The last characters given out of the current line."""
        self._blank = True
        """Whether the part has had nothing but white space so far."""
        self._space = ""
        """White space that waits for what follows it."""
        self._thought = inside
        self._anything = False

    def feed(self, text: str) -> list[Part]:
        """The parts that are certain after this text."""
        return self._run(self._held + text, final=False)

    def finish(self) -> list[Part]:
        """What was held back."""
        parts = self._run(self._held, final=True)
        if self._state == "answer" and self._space:
            parts.append(Part(self._space, reasoning=False))
            self._space = ""
        return parts

    def _run(self, text: str, *, final: bool) -> list[Part]:
        parts: list[Part] = []
        self._held = ""
        while text:
            if self._state == "header":
                at = text.find(MESSAGE)
                if at < 0:
                    # A header is a few words; text without end after <|start|> is an answer all the same.
                    self._held = "" if final else text
                    return parts
                self._enter("answer" if "final" in text[:at] else "thinking")
                text = text[at + len(MESSAGE) :]
                continue
            if not self._anything and self._state == "answer":
                bare = self._bare(text, final=final)
                if bare == "wait":
                    self._held = text
                    return parts
                if bare == "yes":
                    self._enter("thinking")
                    self._closing = BARE_ANSWER
                    self._anything = True
                    text = text.lstrip()[len(BARE_THINKING) :]
                    continue
            at, mark = self._find(text)
            if mark is None:
                keep = 0 if final else max((overlap(text, known) for known in self._marks()), default=0)
                self._held = text[len(text) - keep :]
                self._give(parts, text[: len(text) - keep])
                return parts
            self._give(parts, text[:at])
            text = text[at + len(mark) :]
            self._pass(mark, parts)
        return parts

    def _bare(self, text: str, *, final: bool) -> str:
        """Whether the answer begins with gpt-oss's channel without its marks: "yes", "no" or "wait"."""
        start = text.lstrip()
        if start.startswith(BARE_THINKING) and len(start) > len(BARE_THINKING):
            follower = start[len(BARE_THINKING)]
            return "yes" if follower.isupper() or follower in "\"'“" else "no"
        if not final and BARE_THINKING.startswith(start):
            return "wait"
        return "no"

    def _marks(self) -> list[str]:
        if self._state == "thinking":
            if self._closing is not None:
                return [self._closing]
            return [CHANNEL, START, *ENDS]
        marks = [CHANNEL, START, *ENDS]
        marks += [opening for opening, _ in self._pairs]
        if not self._thought:
            marks += [closing for _, closing in self._pairs]
        return marks

    def _find(self, text: str) -> tuple[int, str | None]:
        """The first mark that counts where it stands."""
        best: tuple[int, str | None] = (len(text), None)
        for mark in self._marks():
            at = text.find(mark)
            while at >= 0 and not self._counts(mark, text[:at]):
                at = text.find(mark, at + 1)
            if 0 <= at < best[0] or (at == best[0] and best[1] is not None and len(mark) > len(best[1])):
                best = (at, mark)
        return best

    def _counts(self, mark: str, before: str) -> bool:
        if self._state == "thinking":
            return True
        line = (self._line + self._space + before).rpartition("\n")[2]
        if any(mark == opening for opening, _ in self._pairs):
            return not line.strip()
        if any(mark == closing for _, closing in self._pairs):
            return line[-1:] not in ("`", '"', "'")
        if mark in ENDS and not self._channels:
            return False
        return mark != START or self._channels or not line.strip()

    def _pass(self, mark: str, parts: list[Part]) -> None:
        """Go over a mark into the state that it opens."""
        if mark in (CHANNEL, START):
            self._channels = True
            self._enter("header")
        elif mark in ENDS:
            # Until the next header; what stands between is "<|start|>assistant" at most.
            self._enter("header" if self._state == "thinking" else "answer")
        elif self._state == "thinking":
            self._enter("answer")
        elif any(mark == opening for opening, _ in self._pairs):
            self._enter("thinking")
            self._closing = next(closing for opening, closing in self._pairs if opening == mark)
        else:
            self._enter("answer")
            self._thought = True
            parts.append(Part("", reasoning=True, closes=True))

    def _enter(self, state: str) -> None:
        self._state = state
        self._blank = True
        self._space = ""
        self._line = ""
        self._closing = None
        self._anything = True
        if state == "thinking":
            self._thought = True

    def _give(self, parts: list[Part], text: str) -> None:
        """Hand out text without the white space at the edges of a thought."""
        if not text:
            return
        reasoning = self._state == "thinking"
        if self._blank and (reasoning or self._thought):
            text = text.lstrip()
        if not text:
            return
        if not reasoning and not self._anything:
            # White space before a first tag belongs to neither part.
            text = self._space + text
            self._space = "" if text.strip() else text
            if self._space:
                return
        if reasoning:
            text = self._space + text
            body = text.rstrip()
            self._space = text[len(body) :]
            text = body
            if not text:
                return
        if text.strip():
            self._blank = False
            self._anything = True
        self._line = (self._line + text).rpartition("\n")[2][-64:]
        parts.append(Part(text, reasoning))


def split(text: str, tags: tuple[str, str] | None = None) -> tuple[str | None, str]:
    """The thinking and the answer of a whole text; None where there is no thinking."""
    splitter = ReasoningSplitter(tags)
    return joined([*splitter.feed(text), *splitter.finish()])


def joined(parts: Sequence[Part]) -> tuple[str | None, str]:
    """The thinking and the answer of all parts together, a late closing tag taken into account."""
    thinking, answer = "", ""
    for part in parts:
        if part.closes:
            thinking, answer = thinking + answer, ""
        elif part.reasoning:
            thinking += part.text
        else:
            answer += part.text
    return thinking.strip() or None, answer
