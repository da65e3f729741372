"""What llama.cpp prints: kept in memory and handed to Python's logging, never written to a descriptor."""

from __future__ import annotations

import ctypes
import logging
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

LOGGER: Final = logging.getLogger("modeldeck.llama.cpp")
# Without a handler of its own logging would print warnings on standard error, which is the screen.
LOGGER.addHandler(logging.NullHandler())

LEVELS: Final = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
"""ggml's levels; 5 continues the line before."""
CONTINUED: Final = 5
ERROR: Final = 4
PREFIX: Final = re.compile(r"^[A-Za-z_][\w:~<>]*(?:\(\))?: +")
"""The C++ function that speaks, which tells a user nothing."""

_recent: deque[tuple[int, str]] = deque(maxlen=500)
_listeners: dict[int, list[tuple[int, str]]] = {}
_callback: Any = None
_guard = threading.Lock()


def _take(level: int, text: bytes | None, _user: object) -> None:
    line = (text or b"").decode("utf-8", "replace")
    heard = _listeners.get(threading.get_ident())
    if level == CONTINUED:
        if heard:
            heard[-1] = (heard[-1][0], heard[-1][1] + line.rstrip("\n"))
        return
    line = line.rstrip("\n")
    if not line.strip():
        return
    _recent.append((level, line))
    if heard is not None:
        heard.append((level, line))
    LOGGER.log(LEVELS.get(level, logging.DEBUG), "%s", line)


def capture(library: Any) -> None:
    """Take over the log of llama.cpp and ggml; call it after the import and before anything else.

    The import installs a callback of its own that prints on sys.stderr.
    """
    global _callback  # noqa: PLW0603 native code holds its address for the life of the process
    with _guard:
        if _callback is None:
            _callback = library.llama_log_callback(_take)
            library.llama_log_set(_callback, ctypes.c_void_p(0))


@contextmanager
def listening() -> Iterator[list[tuple[int, str]]]:
    """The lines, with their level, that native code prints on this thread meanwhile."""
    lines: list[tuple[int, str]] = []
    _listeners[threading.get_ident()] = lines
    try:
        yield lines
    finally:
        _listeners.pop(threading.get_ident(), None)


def reason(lines: list[tuple[int, str]]) -> str | None:
    """The line that says why something failed: the first error, since later ones only pass it on."""
    errors = [line for level, line in lines if level >= ERROR]
    if not errors:
        return None
    return PREFIX.sub("", errors[0]).removeprefix("error loading model: ").strip()


def recent() -> list[str]:
    """The last lines of all models, oldest first, for a report."""
    return [line for _, line in _recent]
