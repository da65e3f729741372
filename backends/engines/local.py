"""A model in this process: the contract of an engine, met once for the libraries that draw its tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from backends.engines.answer import Answer
from backends.engines.engine import Alternative, Chunk, Progress, Sampling, Score, Stats, StopReason, Turn, Weights
from backends.engines.failures import failure
from backends.engines.model_thread import Job, ModelThread
from backends.engines.progress import Teller
from backends.engines.sampling import bounded
from backends.engines.scoring import Stretch, given_tokens, score_all, stretches
from backends.errors import BackendError, EngineError, PromptTooLong

Drawn = tuple[int, tuple[Alternative, ...] | None]
"""A token, and what could have stood there, where sampling.logprobs asks for it."""


class Pieces(Protocol):
    """Makes the tokens of one answer text, as they come."""

    def token(self, token: int) -> bytes | str:
        """What this token adds: bytes, or whole characters."""
        ...

    def finish(self) -> str:
        """What was held back."""
        ...


class Vocabulary(Protocol):
    """A model's words and its chat template."""

    template_note: str | None
    stop: tuple[str, ...]
    """Stop strings of the template and of the family."""
    has_channels: bool
    """Whether answers come in gpt-oss's channels."""

    def chat(self, turns: Sequence[Turn], thinking: bool | None = None) -> tuple[list[int], tuple[str, str] | None]:
        """Tokens of a conversation, and the pair of tags whose first one the template has written already."""
        ...

    def stable(self, turns: Sequence[Turn], tokens: list[int], thinking: bool | None = None) -> int:
        """How many of a conversation's tokens will stand in the next turn's prompt, whatever this answer becomes."""
        ...

    def text(self, prompt: str) -> list[int]:
        """Tokens of a text to be completed, begun as the model wants it."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text without special ones."""
        ...

    def inside(self, text: str, special: bool) -> list[int]:
        """Tokens of a text in the middle of a prompt.

        Args:
            special: Whether the names of control tokens stand for them.
        """
        ...

    def piece(self, token: int) -> str:
        """The text of one token; half a character is the replacement sign."""
        ...

    def ends(self, token: int) -> bool:
        """Whether this token ends an answer."""
        ...

    def pieces(self) -> Pieces:
        """A fresh one for one answer's text."""
        ...


@dataclass(slots=True)
class Wanted:
    """What one answer is drawn from."""

    tokens: list[int]
    stable: int
    """Tokens of the prompt that the next one will begin with, where the runner asked for them; else all."""
    sampling: Sampling
    """Within bounds: see sampling.bounded()."""
    limit: int
    """Tokens that may be drawn."""
    cached_tokens: int = 0
    """The runner notes here how many tokens of the prompt it need not compute."""

    @property
    def exact(self) -> bool:
        """Whether the same seed must give the same text, so that nothing computed otherwise may be used again."""
        return self.sampling.seed is not None


class Runner(Protocol):
    """One library with one model. All its methods are called on the model's thread."""

    name: str
    context: int
    where: str
    measured_bytes: int | None
    wants_stable: bool
    """Whether going back in its cache needs to know where to."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Once it is loaded."""
        ...

    def load(self, tell: Teller) -> None:
        """Load the weights, or raise EngineError; tell() raises when it is to end."""
        ...

    def draw(self, job: Job, wanted: Wanted) -> Iterator[Drawn]:
        """Tokens, each computed when it is asked for; ends by itself when the job is cancelled."""
        ...

    def failed(self, error: Exception) -> str:
        """Trust nothing that an answer has left behind; the error's inner line."""
        ...

    def free(self) -> None:
        """Give everything back; after a load that failed half-way too."""
        ...


class LocalEngine:
    """Runs one runner on a thread of its own and makes its tokens an answer."""

    def __init__(
        self,
        runner: Runner,
        weights: Weights,
        on_progress: Progress | None,
        *,
        on_abort: Callable[[bool], None] | None = None,
        close_seconds: float = 5.0,
    ) -> None:
        """
        Args:
            on_abort: Told whether what runs now is to end, for libraries that can be interrupted in native code.
            close_seconds: How long close() waits for the library to give everything back.
        """
        self.name = runner.name
        self._runner = runner
        self._weights = weights
        self._close_seconds = close_seconds
        self._thread = ModelThread(weights.name, runner.free, on_abort)
        try:
            self._thread.call(lambda job: runner.load(Teller(job, on_progress, f"loading {weights.name} was stopped")))
        except BaseException:
            self._thread.close(wait_seconds=close_seconds)
            raise
        self.context = runner.context
        self.where = runner.where
        self.template_note = runner.vocabulary.template_note if weights.chats else None

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        if not self._weights.chats:
            raise EngineError(f"{self._weights.name} is a base model without chat: it completes a text as it stands")
        asked = list(turns)
        return self._thread.stream(lambda job: self._chat(job, asked, sampling))

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        def run(job: Job) -> Iterator[Chunk]:
            tokens = self._runner.vocabulary.text(prompt)
            # What follows may merge with the last token.
            return self._answer(job, tokens, len(tokens) - 1, Answer(sampling.stop, plain=True), sampling)

        return self._thread.stream(run)

    def count_tokens(self, text: str) -> int:
        self._refuse_when_closed()
        return self._runner.vocabulary.count(text)

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        self._refuse_when_closed()
        return len(self._runner.vocabulary.chat(turns)[0])

    def stop(self) -> None:
        self._thread.stop()

    def measured_bytes(self) -> int | None:
        return None if self._thread.closed else self._runner.measured_bytes

    def close(self) -> None:
        self._thread.close(wait_seconds=self._close_seconds)

    def _refuse_when_closed(self) -> None:
        if self._thread.closed:
            raise EngineError("the model was closed; load it again")

    # On the model's thread

    def _chat(self, job: Job, turns: list[Turn], sampling: Sampling) -> Iterator[Chunk]:
        vocabulary = self._runner.vocabulary
        tokens, opened = vocabulary.chat(turns, sampling.thinking)
        stable = vocabulary.stable(turns, tokens, sampling.thinking) if self._runner.wants_stable else len(tokens)
        tags = opened or self._weights.reasoning_tags
        answer = Answer((*sampling.stop, *vocabulary.stop), tags, thinking=opened is not None)
        yield from self._answer(job, tokens, stable, answer, sampling)

    def _answer(self, job: Job, tokens: list[int], stable: int, answer: Answer, sampling: Sampling) -> Iterator[Chunk]:
        if not tokens:
            raise EngineError("there is nothing to go on from: the prompt is empty")
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        room = self.context - len(tokens)
        limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        wanted = Wanted(tokens, stable, bounded(sampling), limit)
        pieces = self._runner.vocabulary.pieces()
        ends = self._runner.vocabulary.ends
        reason: StopReason = "length"
        started = first = last = time.perf_counter()
        try:
            with closing(self._runner.draw(job, wanted)) as drawn:  # type: ignore[type-var] # all are generators
                for token, alternatives in drawn if limit > 0 else ():
                    if job.cancelled:
                        break
                    last = time.perf_counter()
                    if not answer.tokens:
                        first = last
                    if ends(token):
                        reason = "end"
                        break
                    yield from answer.token(pieces.token(token), alternatives)
                    if answer.stopped:
                        reason = "stop"
                        break
                    if answer.tokens >= limit:
                        break
        except BackendError:
            raise
        except Exception as error:  # a library of this size raises anything
            what = f"{self.name} failed on {self._weights.name}"
            raise failure(what, self._weights, self._runner.failed(error)) from error
        if job.cancelled and reason == "length" and answer.tokens < limit:
            reason = "cancelled"
        if not answer.tokens:
            first = last = time.perf_counter()
        yield from answer.text(pieces.finish())
        yield from answer.finish()
        yield Chunk(
            stats=Stats(len(tokens), wanted.cached_tokens, first - started, answer.tokens, last - first, reason)
        )


class ScoringRunner(Runner, Protocol):
    """A library that gives the whole distribution at a place."""

    scored_at_once: int
    """Tokens that behind_each() is given at most."""

    def behind_prompt(self, job: Job, prompt: list[int]) -> Any:
        """The logits after a prompt as numpy knows them, valid until the next call; None: stopped."""
        ...

    def behind_each(self, job: Job, tokens: list[int]) -> Sequence[Any] | None:
        """The same after each of some more tokens."""
        ...


class ScoringEngine(LocalEngine):
    """A local engine that is a Scorer too."""

    _runner: ScoringRunner

    def score(
        self, asked: Sequence[Turn] | str, answer: str, reasoning: str = "", reference: Sequence[Score] = ()
    ) -> tuple[Score, ...]:
        return self._thread.call(lambda job: self._score(job, asked, answer, reasoning, tuple(reference)))

    def _score(
        self, job: Job, asked: Sequence[Turn] | str, answer: str, reasoning: str, reference: tuple[Score, ...]
    ) -> tuple[Score, ...]:
        runner, vocabulary = self._runner, self._runner.vocabulary
        if isinstance(asked, str):
            tokens, parts = vocabulary.text(asked), [Stretch(answer)]
        else:
            tokens, opened = vocabulary.chat(asked, bool(reasoning))
            channels = vocabulary.has_channels
            parts = stretches(answer, reasoning, self._weights.reasoning_tags, opened, channels=channels)
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        given = given_tokens(parts, vocabulary.inside, reference)[: self.context - len(tokens)]
        try:
            first = runner.behind_prompt(job, tokens)
            if first is None:
                return ()
            return score_all(
                given,
                first,
                lambda more: runner.behind_each(job, more),
                vocabulary.piece,
                reference,
                block_tokens=runner.scored_at_once,
            )
        except BackendError:
            raise
        except Exception as error:  # a library of this size raises anything
            raise EngineError(f"{self.name} failed on {self._weights.name}", runner.failed(error)) from error
