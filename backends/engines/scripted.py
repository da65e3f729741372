"""The engine without a model: it answers from a script, at a rate that the test sets."""

from __future__ import annotations

import math
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from backends.engines.engine import (
    Alternative,
    Chunk,
    EngineStatus,
    LoadOptions,
    Progress,
    Sampling,
    Score,
    Stats,
    StopReason,
    Turn,
    Weights,
)
from backends.engines.reasoning import ReasoningSplitter
from backends.engines.scoring import divergence
from backends.engines.text_stream import TextStream
from backends.errors import BackendError, EngineError, PromptTooLong

Step = str | Chunk | BackendError | threading.Event
"""A token's text, a whole chunk, a failure at this place, or a wait until the test sets the event."""
Answer = str | Sequence[Step]
"""A string is streamed word by word."""
Script = Answer | Callable[[Sequence[Turn]], Answer]
"""What to answer; a function sees the turns, or for complete() one user's turn with the prompt."""


class Clock(Protocol):
    """Time as the engine sees it."""

    def now(self) -> float:
        """Seconds from any beginning."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait so long, or until the event is set."""
        ...


class RealClock:
    """The time on the wall."""

    def now(self) -> float:
        return time.perf_counter()

    def wait(self, event: threading.Event, seconds: float) -> None:
        event.wait(seconds)


class ManualClock:
    """Time that passes only when somebody waits: a slow engine in a fast test."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def wait(self, event: threading.Event, seconds: float) -> None:
        if not event.is_set():
            self.seconds += seconds


@dataclass(frozen=True, slots=True)
class Call:
    """One question that the engine was asked."""

    turns: tuple[Turn, ...]
    prompt: str | None
    """The text of complete(); None for stream()."""
    sampling: Sampling


def words(text: str) -> list[str]:
    """Text cut into what stands in for tokens: words with the white space before them."""
    return re.findall(r"\s*\S+|\s+$", text)


def _number(word: str) -> int:
    """What stands for a word in the vocabulary."""
    return zlib.crc32(word.encode())


class ScriptedEngine:
    """Streams its script; stops, counts and remembers as a real engine does."""

    name = "scripted"
    where = "CPU"

    def __init__(
        self,
        script: Script = "This answer was written beforehand.",
        tokens_per_second: float | None = None,
        context: int = 8192,
        clock: Clock | None = None,
        *,
        prefill_seconds: float = 0.0,
        template_note: str | None = None,
        memory_bytes: int | None = 1_000_000,
        choices: Mapping[int, str] | None = None,
    ) -> None:
        """
        Args:
            choices: Its first choice at places of an answer that it scores, thinking counted; elsewhere the
                answer's own word.
            tokens_per_second: None: as fast as they are taken.
            prefill_seconds: Wait before the first token; a stop ends it.
        """
        self.context = context
        self.template_note = template_note
        self.calls: list[Call] = []
        self.closed = False
        self.streams_at_once = 0
        """The most streams that ever ran at the same time: 1 unless somebody broke the lock."""
        self._script = script
        self._rate = tokens_per_second
        self._clock = clock or RealClock()
        self._prefill_seconds = prefill_seconds
        self._memory_bytes = memory_bytes
        self._choices = choices or {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running = 0
        self._cached: list[str] = []

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        yield from self._answer(tuple(turns), None, sampling)

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        yield from self._answer((Turn("user", prompt),), prompt, sampling)

    def score(
        self,
        asked: Sequence[Turn] | str,  # noqa: ARG002 its choices are written beforehand as well
        answer: str,
        reasoning: str = "",
        reference: Sequence[Score] = (),
    ) -> tuple[Score, ...]:
        if self.closed:
            raise EngineError("the model was closed; load it again")
        thoughts = words(reasoning)
        return tuple(
            replace(
                self._score(place, word, reference[place] if place < len(reference) else None),
                reasoning=place < len(thoughts),
            )
            for place, word in enumerate([*thoughts, *words(answer)])
        )

    def _score(self, place: int, word: str, reference: Score | None) -> Score:
        first = self._choices.get(place, word)
        chances = {_number(word): 0.25, _number(first): 0.75}
        likely = tuple((token, math.log(chance)) for token, chance in sorted(chances.items(), key=lambda one: -one[1]))
        away = None
        if reference is not None:
            known = dict(likely)
            away = divergence(reference.likely, [known.get(token, math.log(0.01)) for token, _ in reference.likely])
        logprob = dict(likely)[_number(word)]
        return Score(_number(word), word, logprob, Alternative(first, _number(first), math.log(0.75)), likely, away)

    def count_tokens(self, text: str) -> int:
        return len(words(text))

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        return sum(len(words(turn.text)) + 1 for turn in turns)

    def stop(self) -> None:
        self._stopping.set()

    def measured_bytes(self) -> int | None:
        return None if self.closed else self._memory_bytes

    def close(self) -> None:
        self.closed = True
        self._stopping.set()

    def _answer(self, turns: tuple[Turn, ...], prompt: str | None, sampling: Sampling) -> Iterator[Chunk]:
        if self.closed:
            raise EngineError("the model was closed; load it again")
        counted = self.prompt_tokens(turns) if prompt is None else self.count_tokens(prompt)
        if counted >= self.context:
            raise PromptTooLong(counted, self.context)
        with self._lock:
            # Inside the lock: cleared outside, a stop that is meant for the stream before would be lost.
            self._stopping.clear()
            if self.closed:
                raise EngineError("the model was closed; load it again")
            self._running += 1
            self.streams_at_once = max(self.streams_at_once, self._running)
            try:
                yield from self._run(turns, prompt, sampling, counted)
            finally:
                self._running -= 1

    def _run(self, turns: tuple[Turn, ...], prompt: str | None, sampling: Sampling, counted: int) -> Iterator[Chunk]:
        self.calls.append(Call(turns, prompt, sampling))
        tokens = [piece for turn in turns for piece in (turn.role, *words(turn.text))]
        cached = 0
        while cached < min(len(tokens), len(self._cached)) and tokens[cached] == self._cached[cached]:
            cached += 1
        cached = min(cached, counted - 1) if counted else 0
        answer = self._script(turns) if callable(self._script) else self._script
        steps: Sequence[Step] = words(answer) if isinstance(answer, str) else answer
        started = self._clock.now()
        if self._prefill_seconds:
            self._clock.wait(self._stopping, self._prefill_seconds)
        limit = min(sampling.max_tokens or self.context, self.context - counted)
        text = TextStream(sampling.stop)
        splitter = ReasoningSplitter()
        reason: StopReason = "end"
        decoded = 0
        first = last = self._clock.now()
        spoken: list[str] = []
        for step in steps:
            if isinstance(step, threading.Event):
                while not step.is_set() and not self._stopping.is_set():
                    self._clock.wait(step, 0.01)
                continue
            if decoded and self._rate:
                self._clock.wait(self._stopping, 1 / self._rate)
            if self._stopping.is_set():
                reason = "cancelled"
                break
            if isinstance(step, BackendError):
                for part in [*splitter.feed(text.finish()), *splitter.finish()]:
                    yield Chunk(part.text, part.reasoning, reasoning_so_far=part.closes)
                raise step
            if decoded == limit:
                reason = "length"
                break
            decoded += 1
            last = self._clock.now()
            if decoded == 1:
                first = last
            if isinstance(step, Chunk):
                yield step
                continue
            spoken.append(step)
            for part in splitter.feed(text.feed_text(step)):
                yield Chunk(part.text, part.reasoning, tokens=1, reasoning_so_far=part.closes)
            if text.stopped:
                reason = "stop"
                break
        if self._stopping.is_set() and reason == "end":
            reason = "cancelled"
        for part in [*splitter.feed(text.finish()), *splitter.finish()]:
            yield Chunk(part.text, part.reasoning, reasoning_so_far=part.closes)
        self._cached = [*tokens, "assistant", *words("".join(spoken))]
        stats = Stats(counted, cached, first - started, decoded, last - first, reason)
        yield Chunk(stats=stats)


@dataclass
class ScriptedAdapter:
    """Loads nothing, in as many steps as asked."""

    script: Script = "This answer was written beforehand."
    tokens_per_second: float | None = None
    clock: Clock | None = None
    prefill_seconds: float = 0.0
    load_steps: int = 4
    """How often on_progress is called."""
    fails: BackendError | None = None
    """Raised by load()."""
    hold: threading.Event | None = None
    """load() waits for it after its first step."""
    engine_status: EngineStatus = field(default_factory=lambda: EngineStatus("ready", version="1.0"))
    memory_bytes: int | None = 1_000_000
    """What its engines say that they hold."""
    choices: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """By quantization: what its engines would have said at which places of an answer."""
    engines: list[ScriptedEngine] = field(default_factory=list)
    """Everything that it loaded."""
    asked: list[tuple[Weights, LoadOptions]] = field(default_factory=list)
    """What each load was given."""

    name = "scripted"

    def status(self) -> EngineStatus:
        return self.engine_status

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> ScriptedEngine:
        for step in range(1, self.load_steps + 1):
            if on_progress is not None:
                on_progress(step / self.load_steps, f"loading {weights.name}")
            if step == 1 and self.hold is not None:
                self.hold.wait()
        if self.fails is not None:
            raise self.fails
        self.asked.append((weights, options))
        engine = ScriptedEngine(
            self.script,
            self.tokens_per_second,
            options.context,
            self.clock,
            prefill_seconds=self.prefill_seconds,
            memory_bytes=self.memory_bytes,
            choices=self.choices.get(weights.quantization),
        )
        self.engines.append(engine)
        return engine
