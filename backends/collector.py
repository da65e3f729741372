"""Making and freeing a catalog's values so that no other thread waits for it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

KEPT_OBJECTS: Final = 10_000
"""Objects that one pass leaves behind beyond which the collector need not walk them again."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Make values that stay without the collector walking them.

    Every thread waits for a full collection, a key too: 100 ms and more among the values of 20,000 variants. Within
    another one it does nothing, which is also what a second thread may meet.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > KEPT_OBJECTS:
            gc.freeze()
        gc.enable()


def let_go(table: MutableMapping[Any, Any]) -> None:
    """Empty a table one entry after the other.

    Cleared as a whole, the values of 20,000 variants are freed in one stretch of 20 to 50 ms in which no other thread
    runs. Between two entries one may, and may use the table too.
    """
    while table:
        try:
            table.popitem()
        except KeyError:  # another thread took the last one
            return
