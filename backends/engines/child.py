"""The child's end of an isolated engine: python -m backends.engines.child DESCRIPTOR."""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any, Final

from backends.engines.engine import Engine, Scorer
from backends.engines.registry import adapter
from backends.engines.scoring import cannot_score
from backends.engines.wire import error_to
from backends.errors import EngineError

STOP_SECONDS: Final = 0.005
"""How long after a stop it is tried again where the answer has not ended."""


class Child:
    """Loads one model and answers what comes over the wire."""

    def __init__(self, wire: Connection) -> None:
        self._wire = wire
        self._sending = threading.Lock()
        self._engine: Engine | None = None
        self._open: set[int] = set()
        """Numbers of the answers that have not ended."""
        self._stopped: set[int] = set()
        """Of these, the ones that a thread is stopping."""
        self._ending = threading.Lock()

    def run(self) -> None:
        """Serve until the parent closes, or is gone."""
        while True:
            try:
                number, what, *asked = self._wire.recv()
            except (EOFError, OSError):
                break
            if what == "close":
                break
            if what == "stop":
                self._hear_stop()
            elif what in ("stream", "complete", "score"):
                with self._ending:
                    self._open.add(number)
                # A thread of its own: a stop must be heard meanwhile.
                threading.Thread(target=self._answer, args=(number, what, asked), daemon=True).start()
            else:
                self._answer(number, what, asked)
        if self._engine is not None:
            self._engine.close()

    def _hear_stop(self) -> None:
        """Stop what runs now; a stop that comes again starts no further thread."""
        with self._ending:
            numbers = frozenset(self._open - self._stopped)
            self._stopped |= numbers
        if numbers:
            threading.Thread(target=self._stop, args=(numbers,), daemon=True).start()

    def _stop(self, numbers: frozenset[int]) -> None:
        """Stop these answers, again until they have ended: one that has only just come has not reached the engine."""
        while self._engine is not None:
            with self._ending:
                if not self._open & numbers:
                    return
                self._engine.stop()
            time.sleep(STOP_SECONDS)

    def _ended(self, number: int) -> None:
        """From here on no stop that was meant for this answer reaches the next one."""
        with self._ending:
            self._open.discard(number)
            self._stopped.discard(number)

    def _answer(self, number: int, what: str, asked: list[Any]) -> None:
        try:
            if what == "load":
                self._send(number, "value", self._load(number, *asked))
                return
            if what == "score" and not isinstance(self._engine, Scorer):
                name = self._engine.name if self._engine is not None else "the engine"
                raise EngineError(cannot_score(name))
            found = getattr(self._engine, what)(*asked)
            if what in ("stream", "complete"):
                for chunk in found:
                    self._send(number, "chunk", chunk)
                found = None
            self._ended(number)
            self._send(number, "value", found)
        except Exception as error:  # noqa: BLE001 the process's edge: it is raised on the parent's side
            self._ended(number)
            self._send(number, "failed", error_to(error))

    def _load(self, number: int, name: str, weights: Any, options: Any) -> dict[str, Any]:
        self._engine = adapter(name).load(
            weights, options, lambda share, note: self._send(number, "progress", share, note)
        )
        return {
            "context": self._engine.context,
            "where": self._engine.where,
            "template_note": self._engine.template_note,
            "measured_bytes": self._engine.measured_bytes(),
        }

    def _send(self, number: int, *told: Any) -> None:
        with self._sending:
            self._wire.send((number, *told))


def main() -> None:
    """Serve on the descriptor that the parent passed."""
    faulthandler.enable()
    Child(Connection(int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
