"""Memory that Textual keeps after widgets are gone, given back."""

from __future__ import annotations

from textual._styles_cache import StylesCache


def forget_dead_widgets() -> None:
    """Let go of removed widgets' painted lines.

    Textual remembers a colour for each of the last 1,024 style caches, and with it the cache and every line in it:
    three chats that were opened and closed left some 2,000 objects behind.
    """
    remembered = getattr(StylesCache.get_inner_outer, "cache_clear", None)
    if remembered is not None:
        remembered()
