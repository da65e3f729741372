"""What engines print kept away from standard output and error: it goes to the log, our own text to the user."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from backends.home import log_file


@dataclass(frozen=True, slots=True)
class Screen:
    """The user's real standard output and error while the engine's own go to the log."""

    out: TextIO
    err: TextIO
    err_is_terminal: bool

    def note(self, text: str) -> None:
        """A line for the user's eye."""
        from tui.cli.output import clean

        self.err.write(f"{clean(text)}\n")
        self.err.flush()

    def passing(self, text: str) -> None:
        """A line that the next one replaces; nothing where standard error is no terminal."""
        if self.err_is_terminal and os.environ.get("TERM") != "dumb":
            self.err.write(f"\r\x1b[K{text}")
            self.err.flush()


@contextlib.contextmanager
def engine_output_in_log() -> Iterator[Screen]:
    """Point descriptors 1 and 2, and Python's streams, at the log until the end of the block.

    Native libraries print to the descriptors themselves, and some point them at /dev/null while a model loads; our
    text therefore has descriptors of its own.
    """
    from tui.terminal import open_log

    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    saved = (os.dup(1), os.dup(2))
    log = open_log(log_file())
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    screen = Screen(
        os.fdopen(os.dup(saved[0]), "w", encoding=streams[0].encoding, errors="replace"),
        os.fdopen(os.dup(saved[1]), "w", encoding=streams[1].encoding, errors="replace"),
        os.isatty(saved[1]),
    )
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    ours = (sys.stdout, sys.stderr)
    try:
        yield screen
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        sys.stdout, sys.stderr = streams
        for made in (*ours, screen.out, screen.err):
            # a broken pipe was reported when it was written to; it must not be reported again by closing
            with contextlib.suppress(OSError, ValueError):
                made.close()
        for descriptor in saved:
            os.close(descriptor)
