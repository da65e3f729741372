"""What is said in a corner, held to what the screen has room for.

Textual leaves toasts standing for good once they were more than the screen is high, and on a low one they would cover
what they are about. It also keeps those of screens that were left, and an empty place for each that was taken away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.widgets._toast import Toast, ToastHolder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.geometry import Size
    from textual.notifications import Notification, Notifications
    from textual.screen import Screen

MOST = 3
"""At a time; more are read by nobody."""
WIDEST_CELLS = 64
WIDEST_SHARE = 0.9
"""Of the screen's width; both as the stylesheet has them."""
FRAME_LINES = 6
"""Of a screen: strip, keys and the borders of two panels. Of the others half stays free."""
BESIDE_CELLS = 3
"""Of each toast that are no text: its bar and the room beside its words."""


def make_room(shown: Notifications, coming: Notification, size: Size) -> None:
    """Take the oldest away until the coming one fits beside those that are left."""
    width = max(8, min(WIDEST_CELLS, int(size.width * WIDEST_SHARE)) - BESIDE_CELLS)
    left, most_lines = list(shown), (size.height - FRAME_LINES) // 2
    while left and (len(left) >= MOST or sum(_lines(one, width) for one in (*left, coming)) > most_lines):
        del shown[left.pop(0)]


def sweep(screens: Iterable[Screen[object]], shown: Notifications) -> None:
    """Take away what is left of toasts that are over, on every screen."""
    for screen in screens:
        for holder in screen.query(ToastHolder):
            toasts = holder.query(Toast)
            if not toasts or toasts.first()._notification not in shown:
                holder.remove()


def _lines(one: Notification, width: int) -> int:
    # Words are broken whole: a quarter more lines than the letters alone would need.
    return sum(-(-len(line) * 5 // (width * 4)) or 1 for line in str(one.message).split("\n"))
