"""A wait for the next try that the enter key ends."""

from __future__ import annotations

import os
import select
import sys
import threading
import time

from backends.errors import Cancelled

HEARING_SECONDS = 0.1


def hears_enter() -> bool:
    """Whether somebody sits at this terminal and what is typed comes to us, not to the shell beside us."""
    try:
        keyboard = sys.stdin.fileno()
        return sys.stdin.isatty() and sys.stderr.isatty() and os.tcgetpgrp(keyboard) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False


def pause(seconds: float, cancel: threading.Event | None) -> None:
    """Wait so long, or until enter is pressed. Raises Cancelled when the event is set."""
    until = time.monotonic() + seconds
    cancel = cancel or threading.Event()
    while (left := until - time.monotonic()) > 0:
        if cancel.wait(min(HEARING_SECONDS, left)):
            raise Cancelled("stopped")
        if hears_enter() and select.select([sys.stdin], [], [], 0)[0]:
            sys.stdin.readline()
            return
