"""One answer on its way from an engine's thread to the screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from backends.engines.engine import Chunk, Engine, Stats
from backends.errors import BackendError, EngineError
from backends.stoppable import Stoppable

BATCH_SECONDS = 0.05
"""How long text is collected before the screen takes it: one update a token halves what it can show."""


@dataclass(eq=False)
class Generation:
    """What came and was not yet shown. The engine's thread fills it, the screen empties it."""

    node_id: str
    """The turn that it writes."""
    wake: Callable[[], None]
    """Called from the engine's thread when something lies here for the first time since take()."""
    started: float = field(default_factory=time.monotonic)
    prompt_tokens: int | None = None
    """Tokens of the context before the answer; None: not counted yet."""
    first_at: float | None = None
    """time.monotonic() of the first token."""
    last_at: float | None = None
    tokens: int = 0
    """Tokens that came, shown or not."""
    thinking: bool = False
    stats: Stats | None = None
    error: BackendError | None = None
    done: bool = False
    """Whether nothing follows; with it comes a last wake."""
    _chunks: list[Chunk] = field(default_factory=list)
    _awake: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _work: Stoppable = field(default_factory=Stoppable)

    def stop(self, engine: Engine | None) -> bool:
        """The answer ends with what has come; False: it had not begun and never will."""
        return self._work.stop(engine)

    @property
    def running(self) -> bool:
        """Whether the engine has begun; False: it waits its turn."""
        return self._work.begun

    def run(self, engine: Engine, ask: Callable[[Engine], Iterator[Chunk]], count: Callable[[Engine], int]) -> None:
        """Let the engine answer; runs on the engine's thread and shows every failure."""
        try:
            if not self._work.begin():
                return
            self.prompt_tokens = count(engine)
            self._tell()
            if self._work.stopping:
                return  # before a prefill that may take minutes
            for chunk in ask(engine):
                self._put(chunk)
        except BackendError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - a thread's edge: it is shown in the pane
            self.error = EngineError(
                f"{engine.name} failed in the middle of an answer", f"{type(error).__name__}: {error}"
            )
        finally:
            self._work.end()
            with self._lock:
                self.done = True
            self._tell()

    def _put(self, chunk: Chunk) -> None:
        with self._lock:
            if chunk.tokens:
                self.last_at = time.monotonic()
                if self.first_at is None:
                    self.first_at = self.last_at
                self.tokens += chunk.tokens
            if chunk.stats is not None:
                self.stats = chunk.stats
            self._chunks.append(chunk)
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            if self._awake:
                return
            self._awake = True
        self.wake()

    def take(self) -> tuple[list[Chunk], bool]:
        """What came since the last time, and whether that was the end.

        Both are of one moment: an end that this did not see wakes again. Asked for one after the other, an end between
        the two was never told, and the pane answered for ever.
        """
        with self._lock:
            chunks, self._chunks = self._chunks, []
            self._awake = False
            return chunks, self.done

    @property
    def tokens_per_second(self) -> float | None:
        """Decode speed so far, or of the whole answer when it is over; None before the second token."""
        if self.stats is not None:
            return self.stats.tokens_per_second
        if self.first_at is None or self.last_at is None or self.tokens < 2 or self.last_at <= self.first_at:
            return None
        return (self.tokens - 1) / (self.last_at - self.first_at)

    @property
    def first_seconds(self) -> float | None:
        """From the prompt to the first token; None: there is none yet."""
        if self.stats is not None:
            return self.stats.prefill_seconds
        return None if self.first_at is None else self.first_at - self.started
