"""An engine in a child process: a native abort or the out-of-memory killer takes one model, and not the app."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from backends.engines.engine import Adapter, Chunk, EngineStatus, LoadOptions, Progress, Sampling, Score, Turn, Weights
from backends.engines.model_thread import Job, ModelThread
from backends.engines.wire import error_from
from backends.errors import BackendError, EngineCrashed, EngineError
from backends.failures import about
from specs.model import SGLANG, VLLM

logger = logging.getLogger("modeldeck")

CLOSE_SECONDS: Final = 3.0
"""How long a child may take to free its model before it is killed."""
GROUP_CLOSE_SECONDS: Final = 30.0
"""The same for engines with processes of their own, vLLM's workers and SGLang's scheduler: they end one another."""
TELLING: Final = ("assert", "abort", "terminate", "out of memory", "error", "fatal")
"""Words of the line that says why a process died; backtraces follow it."""


class IsolatedAdapter:
    """Any adapter, with its engines in processes of their own."""

    may_be_isolated = False
    """It is already."""

    def __init__(self, inner: Adapter) -> None:
        self.name = inner.name
        self._inner = inner

    def status(self) -> EngineStatus:
        return self._inner.status()

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> IsolatedEngine:
        return IsolatedEngine(self.name, weights, options, on_progress)


class IsolatedEngine:
    """The parent's end of an engine in a child."""

    def __init__(self, name: str, weights: Weights, options: LoadOptions, on_progress: Progress | None) -> None:
        self.name = name
        self._weights = weights
        cards = options.tensor_parallel * options.pipeline_parallel
        self._close_seconds = GROUP_CLOSE_SECONDS if name == SGLANG or (name == VLLM and cards > 1) else CLOSE_SECONDS
        self._numbers = itertools.count(1)
        self._answers: dict[int, SimpleQueue[tuple[Any, ...]]] = {}
        self._sending = threading.Lock()
        self._death: EngineError | None = None
        ours, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 it lives as long as the child
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            self._child = subprocess.Popen(
                [sys.executable, "-m", "backends.engines.child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(theirs.fileno(),),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
                start_new_session=True,  # ctrl+c is the app's to handle
            )
        self._wire = Connection(ours.detach())
        self._reader = threading.Thread(target=self._read, name=f"answers of {weights.name}", daemon=True)
        self._reader.start()
        self._thread = ModelThread(weights.name, self._end, self._abort)
        try:
            told = self._load(options, on_progress)
        except BaseException:
            self._kill()
            self._thread.close()
            raise
        self.context: int = told["context"]
        self.where: str = told["where"]
        self.template_note: str | None = told["template_note"]
        self._measured: int | None = told["measured_bytes"]

    @property
    def process_id(self) -> int:
        """The child's number."""
        return self._child.pid

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        asked = list(turns)
        return self._thread.stream(lambda job: self._chunks(job, "stream", asked, sampling))

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        return self._thread.stream(lambda job: self._chunks(job, "complete", prompt, sampling))

    def score(
        self, asked: Sequence[Turn] | str, answer: str, reasoning: str = "", reference: Sequence[Score] = ()
    ) -> tuple[Score, ...]:
        told = asked if isinstance(asked, str) else list(asked)

        def scored(job: Job) -> tuple[Score, ...]:
            return tuple(self._value("score", told, answer, reasoning, tuple(reference), job=job))

        return self._thread.call(scored)

    def count_tokens(self, text: str) -> int:
        return int(self._value("count_tokens", text))

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        return int(self._value("prompt_tokens", list(turns)))

    def stop(self) -> None:
        self._thread.stop()

    def measured_bytes(self) -> int | None:
        return None if self._thread.closed else self._measured

    def close(self) -> None:
        self._thread.close(wait_seconds=self._close_seconds + 1)

    # The wire

    def _load(self, options: LoadOptions, on_progress: Progress | None) -> dict[str, Any]:
        number = self._ask("load", self.name, self._weights, options)
        while True:
            kind, *told = self._answers[number].get()
            if kind == "progress":
                if on_progress is not None:
                    on_progress(*told)
            elif kind == "value":
                del self._answers[number]
                found: dict[str, Any] = told[0]
                return found
            else:
                raise self._error(kind, told)

    def _chunks(self, job: Job, what: str, *asked: Any) -> Iterator[Chunk]:
        number = self._ask(what, *asked)
        if job.cancelled:
            self._abort(True)
        try:
            while True:
                kind, *told = self._answers[number].get()
                if kind == "chunk":
                    yield told[0]
                elif kind == "value":
                    return
                else:
                    raise self._error(kind, told)
        finally:
            self._answers.pop(number, None)

    def _value(self, what: str, *asked: Any, job: Job | None = None) -> Any:
        if self._thread.closed:
            raise EngineError("the model was closed; load it again")
        number = self._ask(what, *asked)
        if job is not None and job.cancelled:
            self._abort(True)
        kind, *told = self._answers[number].get()
        del self._answers[number]
        if kind == "value":
            return told[0]
        raise self._error(kind, told)

    def _ask(self, what: str, *asked: Any) -> int:
        number = next(self._numbers)
        self._answers[number] = SimpleQueue()
        try:
            self._send((number, what, *asked))
        except EngineError as error:
            del self._answers[number]
            # The pipe breaks before the reader knows how the process ended, and only that says how to go on.
            self._reader.join(CLOSE_SECONDS)
            raise self._death or error from error
        return number

    def _send(self, message: tuple[Any, ...]) -> None:
        with self._sending:
            try:
                self._wire.send(message)
            except OSError as error:
                raise self._death or EngineError(f"the process of {self._weights.name} is gone") from error

    def _abort(self, wanted: bool) -> None:
        if wanted:
            with contextlib.suppress(EngineError):
                self._send((0, "stop"))

    def _read(self) -> None:
        """Give every answer to the one who asked, until the child is gone."""
        while True:
            try:
                number, *told = self._wire.recv()
            except (EOFError, OSError):
                break
            except Exception:
                # Whatever came over was not ours: without an end everybody who asked would wait for ever.
                logger.exception("what the process of %s said", self._weights.name)
                self._kill()
                break
            if (asker := self._answers.get(number)) is not None:
                asker.put(tuple(told))
        self._death = self._why_it_died()
        for asker in list(self._answers.values()):
            asker.put(("died",))

    def _error(self, kind: str, told: list[Any]) -> BackendError:
        if kind == "failed":
            return error_from(told[0])
        return self._death or EngineError(f"the process of {self._weights.name} is gone")

    def _why_it_died(self) -> EngineError:
        code = self._child.wait()
        how = f"with exit code {code}"
        if code < 0:
            how = f"by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += ", as the system does when memory runs out"
        self._kill()  # its workers would keep the cards
        line = self._inner_line()
        crash = EngineCrashed(
            f"the engine's process ended {how}; the app goes on, load {self._weights.name} again", line
        )
        if code == -signal.SIGKILL or about(line or "") == "memory":
            crash.cure = "smaller"
        return crash

    def _inner_line(self) -> str | None:
        self._log.seek(0)
        lines = self._log.read()[-65_536:].decode("utf-8", "replace").splitlines()
        said = [line.strip() for line in lines if line.strip()]
        telling = [line for line in said if any(word in line.lower() for word in TELLING)]
        found = telling or said
        return found[-1] if found else None

    def _kill(self) -> None:
        """End the child and whatever it has started: it leads a group of its own."""
        with contextlib.suppress(OSError):
            os.killpg(self._child.pid, signal.SIGKILL)

    def _end(self) -> None:
        """Have the child free its model and end, or end it."""
        with contextlib.suppress(EngineError):
            self._send((0, "close"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(self._close_seconds)
        self._kill()
        self._child.wait()
        # The reader ends with the child; closed under it, its next read would be of another file's descriptor.
        self._reader.join(CLOSE_SECONDS)
        with contextlib.suppress(OSError):
            self._wire.close()
