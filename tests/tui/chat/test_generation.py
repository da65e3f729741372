"""An answer between two threads: the one that writes it and the one that shows it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType

from backends.engines.engine import Chunk, Engine, Sampling
from backends.engines.scripted import ScriptedEngine
from tui.widgets.generation import Generation


class GivesWay:
    """A lock that one thread takes only after another one has ended: the worst moment, each time."""

    def __init__(self) -> None:
        self.waits_for: threading.Thread | None = None
        self.goes = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if self.waits_for is not None and threading.current_thread() is not self.waits_for:
            self.goes.set()
            self.waits_for.join()
        self._lock.acquire()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._lock.release()


def test_an_end_that_comes_while_text_is_taken_is_seen() -> None:
    lock, woken = GivesWay(), threading.Semaphore(0)

    def ask(_engine: Engine) -> Iterator[Chunk]:
        yield Chunk("one", tokens=1)
        lock.goes.wait()
        yield Chunk(" two", tokens=1)

    generation = Generation("n", woken.release, _lock=lock)  # type: ignore[arg-type]
    thread = threading.Thread(target=generation.run, args=(ScriptedEngine(), ask, lambda _engine: 1))
    lock.waits_for = thread
    thread.start()
    text, done = "", False
    while not done:
        assert woken.acquire(timeout=20.0), f"it ended after {text!r} and nobody was told"
        chunks, done = generation.take()
        text += "".join(chunk.text for chunk in chunks)
    assert text == "one two"


def test_a_stop_while_the_prompt_is_counted_is_heard_before_the_long_prefill() -> None:
    engine = ScriptedEngine(["never"])

    def ask(_engine: Engine) -> Iterator[Chunk]:
        raise AssertionError("the prompt was read though the answer was stopped")

    def count(counting: Engine) -> int:
        assert generation.stop(counting)
        return 2_000_000

    generation = Generation("n", lambda: None)
    generation.run(engine, ask, count)
    assert (generation.done, generation.error, generation.tokens) == (True, None, 0)


def test_a_stop_that_comes_after_the_last_token_leaves_the_next_answer_alone() -> None:
    engine = ScriptedEngine(["one"])
    generation = Generation("n", lambda: None)
    generation.run(engine, lambda asked: asked.complete("x", Sampling()), lambda _engine: 1)
    generation.stop(engine)
    assert not engine._stopping.is_set()
