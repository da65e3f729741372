"""Slow work in a thread, so that ctrl+c is heard at once, whatever native code is doing."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
GRACE_SECONDS = 5.0
"""How long interrupted work may take to put its things in order."""
HEARING_SECONDS = 0.1
"""A signal that another thread received does not wake the main one, so it looks up this often."""

_running: set[threading.Event] = set()


def interruptible(work: Callable[[], Result], stop: Callable[[], object]) -> Result:
    """Run the work to its end. On ctrl+c call stop, wait a little for the work to end, and raise KeyboardInterrupt.

    Python hears signals between two steps of its own only, and only in the main thread: a load or a prefill in
    native code would hold ctrl+c back for seconds.
    """
    results: list[Result] = []
    errors: list[BaseException] = []
    # Not Thread.join(): interrupted, Python 3.11's takes a thread that still runs for one that has ended.
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            errors.append(error)
        finally:
            _running.discard(ended)
            ended.set()

    _running.add(ended)
    try:
        # Inside: work that is quick may meet ctrl+c before start() comes back.
        threading.Thread(target=run, daemon=True, name="modeldeck-work").start()
        while not ended.wait(HEARING_SECONDS):
            pass
    except KeyboardInterrupt:
        stop()
        ended.wait(GRACE_SECONDS)
        raise
    if errors:
        raise errors[0]
    return results[0]


def leave_at_once(code: int) -> None:
    """End the process while native code still runs in a thread, which a normal exit could crash in."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def work_is_left() -> bool:
    """Whether interrupted work has not ended."""
    return bool(_running)
