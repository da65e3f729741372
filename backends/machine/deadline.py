"""Questions that may never be answered, each asked in a daemon thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Late(Exception):
    """No answer in time. The thread still waits for one; being a daemon it holds no exit."""


class Question(Generic[Answer]):
    """One question, under way from the moment it is made.

    Drivers hang inside C code that nothing can interrupt, so whoever asks gives up, not the thread.
    """

    def __init__(self, ask: Callable[[], Answer], name: str) -> None:
        self._ask = ask
        self._done = threading.Event()
        self._answers: list[Answer] = []
        self._error: Exception | None = None
        try:
            threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError as error:  # no thread to be had: said when the answer is asked for
            self._fail(error)

    @property
    def answered(self) -> bool:
        """Whether it is over, with an answer or an error."""
        return self._done.is_set()

    def answer(self, until: float) -> Answer:
        """The answer, waited for until this time of time.monotonic().

        Raises:
            Late: no answer by then.
            Exception: whatever asking raised.
        """
        if not self._done.wait(min(threading.TIMEOUT_MAX, max(0.0, until - time.monotonic()))):
            raise Late
        if self._error is not None:
            raise self._error
        return self._answers[0]

    def _run(self) -> None:
        try:
            self._answers.append(self._ask())
        except Exception as error:  # noqa: BLE001 - raised again where the answer is asked for
            self._fail(error)
        else:
            self._done.set()

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._done.set()
