"""The terminal kept for the screen alone: what native code prints goes to the log file.

Native libraries write to file descriptors 1 and 2, and Textual draws on 2. Some even point both at /dev/null while
they load. The screen therefore gets a descriptor of its own, before Textual is imported.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from backends.home import private_folder

LOG_LIMIT_BYTES = 5_000_000
"""A log that is longer at the start is moved aside, once."""


def open_log(log_path: Path) -> int:
    """A descriptor that appends to the log, which only its owner may read; /dev/null where none can be written."""
    try:
        private_folder(log_path.parent)
        with contextlib.suppress(FileNotFoundError):
            if log_path.stat().st_size > LOG_LIMIT_BYTES:
                log_path.replace(log_path.with_suffix(".old.log"))
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if stat.S_IMODE(os.fstat(log).st_mode) != 0o600:
            os.fchmod(log, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
    return log


def claim_terminal(log_path: Path) -> Callable[[], None]:
    """Give the screen a descriptor of its own and send descriptors 1 and 2 to the log. Call before importing Textual.

    Returns:
        A function that gives 1 and 2 back to the terminal, for messages after the app has ended. Calling it again
        does nothing.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = (os.dup(1), os.dup(2))
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    terminal = os.dup(2 if os.isatty(2) else 1)
    log = open_log(log_path)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    screen = open(terminal, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.__stderr__ = screen  # type: ignore[misc]
    sys.__stdout__ = screen  # type: ignore[misc]  # shutil.get_terminal_size() asks its descriptor
    sys.stdout = _stream(1)
    sys.stderr = _stream(2)
    released = False

    def release() -> None:
        nonlocal released
        if released:
            return
        released = True
        for stream in (sys.stdout, sys.stderr, screen):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (*saved, terminal):
            os.close(descriptor)
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]

    return release


def _stream(descriptor: int) -> io.TextIOWrapper:
    """A line-buffered text stream on a descriptor that outlives it."""
    raw = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
