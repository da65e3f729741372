"""A model that takes its process down takes nothing else with it."""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from backends.engines import registry
from backends.engines.child import Child
from backends.engines.engine import Chunk, LoadOptions, Sampling, Turn, Weights
from backends.engines.isolated import IsolatedAdapter, IsolatedEngine
from backends.engines.scripted import ScriptedAdapter
from backends.engines.wire import error_from, error_to
from backends.errors import BackendError, Cancelled, EngineCrashed, EngineError, EngineMissing, PromptTooLong
from specs.model import LLAMA_CPP, SGLANG, VLLM

LOADED = {"context": 64, "where": "CPU", "template_note": None, "measured_bytes": None}
HELLO = [Turn("user", "Name three colours, please.")]
needs_llama = [
    pytest.mark.weights,
    pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"),
]


def load(gguf: Path, context: int = 512) -> IsolatedEngine:
    weights = Weights(gguf, "gemma", "ggufv2", "Q4_K_M")
    return IsolatedAdapter(registry.adapter(LLAMA_CPP)).load(weights, LoadOptions(context=context))


@pytest.fixture
def engine(gemma_gguf: Path) -> Iterator[IsolatedEngine]:
    loaded = load(gemma_gguf)
    yield loaded
    loaded.close()


@pytest.mark.parametrize(
    "error",
    [
        EngineError("cannot load x", "bad magic"),
        PromptTooLong(100, 64),
        Cancelled("stopped"),
        EngineMissing("not there", "pip install x"),
        ValueError("two\nlines"),
    ],
)
def test_an_error_comes_over_as_it_was(error: Exception) -> None:
    again = error_from(error_to(error))
    assert isinstance(again, type(error) if isinstance(error, BackendError) else EngineError)
    assert ("\n" not in str(again)) and str(error).splitlines()[0] in str(again)
    assert isinstance(error, BackendError) is False or vars(again) == vars(error)


class Preferring(ScriptedAdapter):
    """As vLLM's and SGLang's adapters."""

    prefers_isolation = True


def test_an_engine_is_hosted_as_it_prefers_unless_it_is_told_otherwise() -> None:
    plain, preferring = ScriptedAdapter(), Preferring()
    assert registry.hosted(plain, isolated=None) is plain
    assert isinstance(registry.hosted(plain, isolated=True), IsolatedAdapter)
    apart = registry.hosted(preferring, isolated=None)
    assert isinstance(apart, IsolatedAdapter)
    assert registry.hosted(apart, isolated=True) is apart
    assert registry.hosted(preferring, isolated=False) is preferring
    assert registry.hosted(registry.adapter("remote"), isolated=True).name == "remote"
    assert not isinstance(registry.adapter("remote", isolated=True), IsolatedAdapter)
    assert isinstance(registry.adapter(VLLM, isolated=None), IsolatedAdapter)
    assert isinstance(registry.adapter(SGLANG, isolated=None), IsolatedAdapter)


def test_a_child_that_aborts_while_it_loads_tells_its_last_words_and_takes_its_group_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A native abort, as of an assertion in C: no exception passes through Python."""
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes, os, subprocess, sys\n"
        "if 'backends.engines.child' in sys.orig_argv:\n"
        "    worker = subprocess.Popen(['sleep', '600'])\n"
        f"    open({str(tmp_path / 'worker')!r}, 'w').write(str(worker.pid))\n"
        "    os.write(2, b'ggml.c:123: GGML_ASSERT(tensor) failed\\n')\n"
        "    ctypes.CDLL(None).abort()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineCrashed, match="SIGABRT") as caught:
        IsolatedAdapter(ScriptedAdapter()).load(Weights(tmp_path, "x", "ggufv2", "Q4_K_M"), LoadOptions(context=64))
    assert caught.value.detail == "ggml.c:123: GGML_ASSERT(tensor) failed"
    worker = int((tmp_path / "worker").read_text())
    deadline = time.monotonic() + 10
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.01)  # a signal takes its time on a busy machine
    assert not _runs(worker)


class SlowToBegin:
    """An engine whose answer begins only after a first stop has come, and that forgets stops of before."""

    def __init__(self) -> None:
        self.stops = threading.Semaphore(0)
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        self.stops.release()

    def stream(self, turns: list[Turn], sampling: Sampling) -> Iterator[Chunk]:
        assert self.stops.acquire(timeout=20)
        self.stopped = False
        while not self.stopped:
            yield Chunk("x", tokens=1)
            time.sleep(0.001)

    def close(self) -> None:
        self.stop()


@pytest.mark.timeout(30)
def test_a_stop_that_comes_before_its_answer_has_begun_ends_it_all_the_same() -> None:
    ours, theirs = Pipe()
    child = Child(theirs)
    child._engine = engine = SlowToBegin()  # type: ignore[assignment]
    serving = threading.Thread(target=child.run)
    serving.start()
    ours.send((1, "stream", HELLO, Sampling()))
    ours.send((0, "stop"))
    while (told := ours.recv())[1] == "chunk":
        pass
    assert told == (1, "value", None)
    engine.stops.release()
    ours.send((2, "stream", HELLO, Sampling()))
    assert {ours.recv()[:2] for _ in range(40)} == {(2, "chunk")}, "the next answer is not stopped with it"
    ours.send((0, "stop"))
    while (told := ours.recv())[1] == "chunk":
        pass
    assert told == (2, "value", None)
    ours.send((0, "close"))
    serving.join()


class TestWithAModel:
    pytestmark = needs_llama

    def test_an_answer_streams_from_the_child(self, engine: IsolatedEngine) -> None:
        chunks = list(engine.stream(HELLO, Sampling(max_tokens=8, temperature=0)))
        assert sum(chunk.tokens for chunk in chunks) == 8
        assert chunks[-1].stats is not None
        assert engine.process_id != os.getpid()
        assert (engine.where, engine.context) == ("CPU", 512)
        assert engine.template_note
        assert engine.count_tokens("Hello there") > 0
        assert engine.prompt_tokens(HELLO) > engine.count_tokens(HELLO[0].text)

    def test_a_stop_is_heard_in_the_child(self, engine: IsolatedEngine) -> None:
        stream = engine.stream(HELLO, Sampling(max_tokens=400, temperature=0))
        next(stream)
        engine.stop()
        rest = list(stream)
        assert rest[-1].stats is not None
        assert rest[-1].stats.stop_reason == "cancelled"
        assert list(engine.stream(HELLO, Sampling(max_tokens=2)))[-1].stats

    def test_a_child_that_dies_in_an_answer_is_told_and_nothing_else_ends(self, engine: IsolatedEngine) -> None:
        stream = engine.stream(HELLO, Sampling(max_tokens=400, temperature=0))
        next(stream)
        os.kill(engine.process_id, signal.SIGABRT)
        with pytest.raises(EngineError, match="SIGABRT") as caught:
            list(stream)
        assert caught.value.detail
        with pytest.raises(EngineError, match="SIGABRT"):
            list(engine.stream(HELLO, Sampling(max_tokens=2)))
        with pytest.raises(EngineError):
            engine.count_tokens("x")

    def test_a_child_that_was_killed_is_told_as_out_of_memory(self, engine: IsolatedEngine) -> None:
        os.kill(engine.process_id, signal.SIGKILL)
        with pytest.raises(EngineError, match="memory runs out"):
            list(engine.stream(HELLO, Sampling(max_tokens=2)))

    def test_an_error_in_the_child_is_ours_here(self, engine: IsolatedEngine, tmp_path: Path) -> None:
        with pytest.raises(PromptTooLong, match="too many"):
            list(engine.stream([Turn("user", "word " * 900)], Sampling()))
        (tmp_path / "bad.gguf").write_bytes(b"<html>")
        with pytest.raises(EngineError, match="invalid magic"):
            load(tmp_path / "bad.gguf")

    def test_closing_ends_the_child(self, gemma_gguf: Path) -> None:
        engine = load(gemma_gguf)
        engine.close()
        assert not psutil.pid_exists(engine.process_id)
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            list(engine.stream(HELLO, Sampling()))

    def test_a_load_that_is_stopped_leaves_no_child(self, gemma_gguf: Path) -> None:
        def stop(share: float, note: str) -> None:
            raise Cancelled("stopped by the user")

        before = {child.pid for child in psutil.Process().children()}
        weights = Weights(gemma_gguf, "gemma", "ggufv2", "Q4_K_M")
        with pytest.raises(Cancelled):
            IsolatedAdapter(registry.adapter(LLAMA_CPP)).load(weights, LoadOptions(context=512), stop)
        assert {child.pid for child in psutil.Process().children()} <= before


def _runs(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_who_asks_a_process_that_has_just_died_is_told_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    why, send = IsolatedEngine._why_it_died, IsolatedEngine._send

    def why_later(engine: IsolatedEngine) -> EngineError:
        assert asked.wait(30)
        return why(engine)

    def send_and_tell(engine: IsolatedEngine, message: tuple[object, ...]) -> None:
        try:
            send(engine, message)
        except EngineError:
            asked.set()
            raise

    monkeypatch.setattr(IsolatedEngine, "_why_it_died", why_later)
    monkeypatch.setattr(IsolatedEngine, "_send", send_and_tell)
    monkeypatch.setattr(IsolatedEngine, "_load", lambda *_: LOADED)
    engine = IsolatedEngine("llama.cpp", Weights(Path(), "m 1B", "ggufv2", "Q4_K_M"), LoadOptions(context=64), None)
    os.kill(engine.process_id, signal.SIGKILL)
    os.waitid(os.P_PID, engine.process_id, os.WEXITED | os.WNOWAIT)
    with pytest.raises(EngineCrashed, match="SIGKILL"):
        engine.count_tokens("hello")
    assert not engine._answers
    engine.close()


def test_a_score_in_the_child_hears_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[object, ...]] = []
    scoring, stopped = threading.Event(), threading.Event()

    def send(engine: IsolatedEngine, message: tuple[object, ...]) -> None:
        sent.append(message)
        if message[1] == "score":
            scoring.set()
        elif message[1] == "stop":
            stopped.set()
            engine._answers[sent[0][0]].put(("value", ()))  # type: ignore[index]

    monkeypatch.setattr(IsolatedEngine, "_load", lambda *_: LOADED)
    engine = IsolatedEngine("llama.cpp", Weights(Path(), "m 1B", "ggufv2", "Q4_K_M"), LoadOptions(context=64), None)
    monkeypatch.setattr(IsolatedEngine, "_send", send)
    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(engine.score("a", "b")), daemon=True)
    asking.start()
    assert scoring.wait(30)
    engine.stop()
    assert stopped.wait(30), "the child was not told"
    asking.join(30)
    assert found == [()]
    monkeypatch.undo()
    engine._kill()
    engine.close()


@pytest.mark.timeout(60)
def test_whoever_waits_for_an_answer_is_told_when_what_comes_over_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def garbage(_wire: object) -> object:
        assert asked.wait(30)
        raise pickle.UnpicklingError("invalid load key")

    monkeypatch.setattr(Connection, "recv", garbage)
    monkeypatch.setattr(IsolatedEngine, "_load", lambda *_: LOADED)
    engine = IsolatedEngine("llama.cpp", Weights(Path(), "m 1B", "ggufv2", "Q4_K_M"), LoadOptions(context=64), None)
    found: list[BaseException] = []

    def count() -> None:
        try:
            engine.count_tokens("x")
        except EngineError as error:
            found.append(error)

    asking = threading.Thread(target=count, daemon=True)
    asking.start()
    while not engine._answers:
        time.sleep(0.001)
    asked.set()
    asking.join(30)
    assert isinstance(found[0], EngineCrashed)
    engine.close()


def test_the_pipe_is_closed_by_nobody_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reading: list[bool] = []
    close = Connection.close

    monkeypatch.setattr(IsolatedEngine, "_load", lambda *_: LOADED)
    engine = IsolatedEngine("llama.cpp", Weights(Path(), "m 1B", "ggufv2", "Q4_K_M"), LoadOptions(context=64), None)
    why = IsolatedEngine._why_it_died

    def slowly(engine: IsolatedEngine) -> EngineError:
        time.sleep(0.2)  # what the reader still does when the child is gone
        return why(engine)

    def watched(wire: Connection) -> None:
        if wire is engine._wire:
            reading.append(engine._reader.is_alive())
        close(wire)

    monkeypatch.setattr(IsolatedEngine, "_why_it_died", slowly)
    monkeypatch.setattr(Connection, "close", watched)
    engine.close()
    assert reading == [False]
