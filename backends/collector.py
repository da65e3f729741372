"""The garbage collector out of the way while a catalog's values are made, which stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

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
