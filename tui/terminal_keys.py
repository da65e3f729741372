"""Keys that terminals send and Textual does not know."""

from __future__ import annotations

from typing import Any, NamedTuple, cast


class _Named(NamedTuple):
    """A key of a name that Textual's own list of keys lacks."""

    value: str


def hear_alt_enter() -> None:
    """Take alt+enter for what it is in terminals without the kitty protocol, which send escape and a carriage return.

    Textual reads those two as enter alone: the key that begins a new line sent the half-written prompt in xterm,
    GNOME's and Apple's terminals and in tmux.
    """
    from textual import _ansi_sequences

    known: dict[str, Any] = cast("dict[str, Any]", _ansi_sequences.ANSI_SEQUENCES_KEYS)
    known["\x1b\r"] = (_Named("alt+enter"),)
