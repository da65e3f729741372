"""Whether this terminal has Unicode: asked before the first frame, so alone in its file."""

from __future__ import annotations

import os

PLAIN_LOCALES = ("C", "POSIX")


def ascii_wanted() -> bool:
    """Whether this terminal is better served without Unicode: by its kind, or by the locale."""
    return os.environ.get("TERM") in {"dumb", "linux", "vt100", "vt220"} or locale_wants_ascii()


def locale_wants_ascii() -> bool:
    """Whether the locale has no Unicode, whatever reads what is printed."""
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    wish = next((os.environ[name] for name in names if os.environ.get(name)), "UTF-8")
    if wish == "C.UTF-8" and not os.environ.get("LC_ALL") and os.environ.get("LANG") in PLAIN_LOCALES:
        return True  # Python itself says C.UTF-8 where the user said C (PEP 538)
    return "utf" not in wish.lower()
