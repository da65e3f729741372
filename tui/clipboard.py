"""Copying out of the terminal: tmux's buffer, OSC 52 where it can work, and always a file."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from typing import Any

from textual.app import App

from backends.home import cache_folder, open_privately, private_folder
from tui.units import count

LONGEST_SEQUENCE = 74_994
"""Bytes of base64 that xterm takes, the smallest limit that is known."""
TMUX_SECONDS = 2.0
"""How long a tmux may take that does not answer."""


def sequence(text: str) -> str | None:
    """The sequence that asks the terminal to copy, wrapped for tmux and screen; None: the text is too long for it."""
    asked = _asked(text)
    if asked is None:
        return None
    if os.environ.get("TMUX"):
        # tmux passes on what stands between these, with every escape doubled.
        doubled = asked.replace("\x1b", "\x1b\x1b")
        return f"\x1bPtmux;{doubled}\x1b\\"
    if os.environ.get("TERM", "").startswith("screen") and os.environ.get("STY"):
        return f"\x1bP{asked}\x1b\\"
    return asked


def _asked(text: str) -> str | None:
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    return f"\x1b]52;c;{encoded}\x07" if len(encoded) <= LONGEST_SEQUENCE else None


def written(text: str) -> str | None:
    """What is written to the terminal; None: the text is too long for it.

    tmux passes a wrapped sequence on only with allow-passthrough, which is off since 3.3, and takes a bare one for its
    own buffer and the terminal's with set-clipboard on: it gets both.
    """
    asked, wrapped = _asked(text), sequence(text)
    if asked is None or wrapped is None or asked == wrapped or not os.environ.get("TMUX"):
        return wrapped
    return asked + wrapped


def to_tmux(text: str) -> bool:
    """Put a text into tmux's buffer, and let tmux hand it to its own terminal; False: there is no tmux.

    A tmux with its settings as they come passes on neither sequence, and takes this.
    """
    program = shutil.which("tmux") if os.environ.get("TMUX") else None
    if program is None:
        return False
    data = text.encode("utf-8", "replace")
    for flags in (("-w",), ()):  # to the terminal too, since tmux 3.2
        asked = [program, "load-buffer", *flags, "-"]
        try:
            if (
                subprocess.run(asked, input=data, capture_output=True, timeout=TMUX_SECONDS, check=False).returncode
                == 0
            ):
                return True
        except (OSError, subprocess.TimeoutExpired):
            return False
    return False


def copy(app: App[Any], text: str, what: str) -> str:
    """Copy a text, and say in one line what was done."""
    asked = written(text)
    driver = app._driver
    if asked is not None and driver is not None:
        driver.write(asked)
        driver.flush()
    app._clipboard = text
    file = private_folder(cache_folder()) / "copied.txt"
    try:
        with open_privately(file, "w") as kept:
            kept.write(text)
        where = f"also in {file}"
    except OSError as error:
        where = f"no file: {error.strerror}"
    how = "asked the terminal to copy" if asked is not None else "too long for the terminal's clipboard"
    if not app.is_headless and to_tmux(text):
        how = f"in tmux's buffer, {how}"
    return f"{what}, {count(len(text))} characters: {how}; {where}"


def code_blocks(text: str) -> list[str]:
    """The code of every fence in a text."""
    from tui.widgets.markdown_pieces import split

    blocks: list[str] = []
    open_block = False
    for piece in split(text):
        if piece.kind != "code":
            continue
        code = "\n".join(piece.lines)
        if open_block and not piece.first:
            blocks[-1] += "\n" + code
        else:
            blocks.append(code)
        open_block = not piece.last
    return blocks
