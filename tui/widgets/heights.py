"""Heights of things that stand one below the other, each estimated until it was drawn."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class Heights:
    """Where each of many things begins, at a cost that grows only with what changed below it."""

    def __init__(self, estimates: Iterable[int] = ()) -> None:
        self._heights = list(estimates)
        self._exact = [False] * len(self._heights)
        self._starts = [0] * (len(self._heights) + 1)
        self._good = 0
        """How many of the starts are right."""

    def __len__(self) -> int:
        return len(self._heights)

    def __getitem__(self, index: int) -> int:
        return self._heights[index]

    def exact(self, index: int) -> bool:
        """Whether it was drawn, not estimated."""
        return self._exact[index]

    def add(self) -> None:
        """One more at the end, without height."""
        self._heights.append(0)
        self._exact.append(False)
        self._starts.append(0)

    def cut(self, keep: int) -> None:
        """Without everything from this one on."""
        del self._heights[keep:], self._exact[keep:], self._starts[keep + 1 :]
        self._good = min(self._good, keep)

    def put(self, index: int, height: int, *, exact: bool) -> None:
        """Another height of one."""
        self._exact[index] = exact
        if self._heights[index] != height:
            self._heights[index] = height
            self._good = min(self._good, index)

    def start(self, index: int) -> int:
        """The first line of one."""
        if self._good < index:
            total = self._starts[self._good]
            for i in range(self._good, index):
                total += self._heights[i]
                self._starts[i + 1] = total
            self._good = index
        return self._starts[index]

    @property
    def total(self) -> int:
        """Lines of all."""
        return self.start(len(self._heights))

    def at(self, line: int) -> int:
        """Which one a line belongs to."""
        self.start(len(self._heights))
        return max(0, min(len(self._heights) - 1, bisect_right(self._starts, line) - 1))
