"""What a server of OpenAI's protocol says: events made into chunks, refusals into one line."""

from __future__ import annotations

import html
import re
from http import HTTPStatus
from typing import Any, Final

from backends.engines.answer import Answer
from backends.engines.engine import Alternative, Chunk
from backends.errors import EngineError

UNKNOWN_TOKEN: Final = -1
"""Servers name the text of alternatives, not their numbers."""
LONGEST_WORDS: Final = 200
"""Characters of a server's own words in a message of ours."""


class EventReader:
    """Makes the events of one answer chunks. Every field may be absent or null: servers differ in all of them."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._half = ""
        """The first half of a character beyond the 65,536 first, which JSON may write as two and a server may part."""
        self.usage: Any = None
        """The server's own counts; None: it has not told them."""
        self.finish: str | None = None
        """Why the answer has ended, in the server's word; None: it has not told."""

    def read(self, event: Any) -> list[Chunk]:
        """The chunks of one event."""
        self.usage = getattr(event, "usage", None) or self.usage
        chunks: list[Chunk] = []
        for choice in (getattr(event, "choices", None) or ())[:1]:
            chunks += self._choice(choice)
            self.finish = getattr(choice, "finish_reason", None) or self.finish
        return chunks

    def finished(self) -> list[Chunk]:
        """What was held back."""
        rest = self._answer.text("\N{REPLACEMENT CHARACTER}") if self._half else []
        self._half = ""
        return [*rest, *self._answer.finish()]

    def _choice(self, choice: Any) -> list[Chunk]:
        delta = getattr(choice, "delta", None)
        said = getattr(delta, "content", None) or getattr(choice, "text", None)
        # vLLM, SGLang and DeepSeek; Ollama, OpenRouter and later versions of vLLM.
        thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        chunks: list[Chunk] = []
        if isinstance(thought, str) and (text := self._whole(thought)):
            self._answer.tokens += 1
            chunks.append(Chunk(text, reasoning=True, tokens=1))
        if isinstance(said, str) and (text := self._whole(said)):
            chunks += self._answer.token(text, alternatives(choice))
        return chunks

    def _whole(self, text: str) -> str:
        text = self._half + text
        self._half = ""
        if text.isascii():
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def alternatives(choice: Any) -> tuple[Alternative, ...] | None:
    """What could have stood in the place of a choice's token; None: the server does not say."""
    told = getattr(choice, "logprobs", None)
    if told is None:
        return None
    if getattr(told, "content", None):
        ranked = [(one.token, one.logprob) for one in told.content[0].top_logprobs or ()]
    elif getattr(told, "top_logprobs", None) and told.top_logprobs[0]:
        ranked = list(told.top_logprobs[0].items())
    else:
        return None
    ranked.sort(key=lambda pair: -pair[1])
    return tuple(Alternative(text, UNKNOWN_TOKEN, logprob) for text, logprob in ranked)


def refusal(openai: Any, error: Exception, url: str, key: str) -> EngineError:
    """A server's or the network's error in our words, with its own line and without the key."""
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        words = str(cause) or f"the connection broke ({type(cause).__name__})"
        return EngineError(f"no answer from {url}", _without(key, words))
    said = _without(key, own_words(error))
    status = getattr(error, "status_code", None)
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return EngineError(f"{url} does not take this key", said)
    if isinstance(error, openai.RateLimitError):
        after = error.response.headers.get("retry-after", "")
        when = f"in {after} s" if after.isdigit() else "in a while"
        return EngineError(f"{url} asks to wait; try again {when}", said)
    if isinstance(status, int) and status >= 500:
        return EngineError(f"{url} has trouble of its own; its log says more", said)
    return EngineError(f"{url} refused", said)


def own_words(error: Any) -> str:
    """What a server says of its refusal, in one line: whatever form of it the server has."""
    said = _said(getattr(error, "body", None))
    status = getattr(error, "status_code", None)
    if not said and isinstance(status, int):
        try:
            said = f"{status} {HTTPStatus(status).phrase}"
        except ValueError:
            said = f"status {status}"
    said = " ".join((said or str(error)).split())
    return said if len(said) <= LONGEST_WORDS else f"{said[: LONGEST_WORDS - 1]}…"


def _said(body: Any) -> str:
    if isinstance(body, dict):
        # OpenAI's own form; FastAPI's; TGI's and Ollama's.
        return next((said for name in ("message", "detail", "error", "msg") if (said := _said(body.get(name)))), "")
    if isinstance(body, list):
        return "; ".join(said for one in body if (said := _said(one)))
    if not isinstance(body, str):
        return ""
    if "<" not in body:
        return body
    # A proxy's page: its title, else its words.
    title = re.search(r"<title[^>]*>(.*?)</title>", body, re.DOTALL | re.IGNORECASE)
    return html.unescape(title.group(1) if title else re.sub(r"<[^>]*>?", " ", body)).replace("<", "")


def _without(key: str, words: str) -> str:
    """A server that names the key in its refusal would have it shown and kept."""
    return words.replace(key, "…")
