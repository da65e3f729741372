"""Every family and every variant by a few words of it: what the command palette searches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui.widgets.lines import clean

if TYPE_CHECKING:
    from specs.model import ModelFamily, Variant


@dataclass(frozen=True, slots=True)
class Found:
    """A family, or one variant of it."""

    label: str
    words: str
    """What it can do, or where it comes from."""
    family: ModelFamily
    variant: Variant | None
    score: float
    """0 to 1: how near it is to what was typed."""


class EveryModel:
    """Families and their variants, each as one line of lower case that typed words are sought in."""

    def __init__(self, families: Iterable[ModelFamily]) -> None:
        self._lines: list[tuple[str, str, ModelFamily, Variant | None]] = []
        for family in families:
            name = family.name.lower()
            self._lines.append((name, name, family, None))
            for variant in family.variants():
                spec = variant.spec
                line = f"{name} {spec.size_in_billions:g}b {spec.format} {variant.quantization.lower()}"
                self._lines.append((f"{line} {variant.model_id.lower()}", name, family, variant))

    def search(self, query: str, most: int) -> Sequence[Found]:
        """The best so many that hold every word of the query, in any order."""
        words = query.lower().split()
        if not words:
            return ()
        found: list[tuple[float, int]] = []
        for at, (line, name, _, variant) in enumerate(self._lines):
            if all(word in line for word in words):
                found.append((_score(name, line, words, whole=variant is None), at))
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        return [self._told(score, at) for score, at in found[:most]]

    def _told(self, score: float, at: int) -> Found:
        _, _, family, variant = self._lines[at]
        name = clean(family.name)
        if variant is None:
            sizes = ", ".join(f"{size:g}B" for size in family.sizes_in_billions)
            return Found(name, f"{', '.join(family.abilities)}: {sizes}", family, None, score)
        spec = variant.spec
        label = clean(f"{name} {spec.size_in_billions:g}B {spec.format} {variant.quantization}")
        return Found(label, clean(variant.model_id), family, variant, score)


def _score(name: str, line: str, words: Sequence[str], *, whole: bool) -> float:
    """Nearer: more of the words in the name, at its beginning, and little in it beside them; families first."""
    in_name = [word for word in words if word in name]
    score = 0.4 * len(in_name) / len(words)
    score += 0.2 if name.startswith(words[0]) else 0.0
    score += 0.2 * min(1.0, sum(len(word) for word in in_name) / len(name)) if name else 0.0
    parts = line.split()
    score += 0.1 * sum(word in parts for word in words) / len(words)
    return score + (0.1 if whole else 0.0)
