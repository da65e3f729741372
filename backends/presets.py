"""Named ways of choosing the next token."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from backends.engines.engine import Sampling

PRESETS: Final[Mapping[str, Sampling]] = MappingProxyType(
    {
        "balanced": Sampling(),
        "exact": Sampling(temperature=0.0, top_k=1, top_p=1.0, min_p=0.0),
        "careful": Sampling(temperature=0.3, top_p=0.9),
        "lively": Sampling(temperature=1.0, top_k=100, top_p=0.98, min_p=0.03),
        "wild": Sampling(temperature=1.4, top_k=0, top_p=1.0, min_p=0.1),
    }
)


def preset_of(sampling: Sampling) -> str | None:
    """The preset that chooses tokens like this; None: it is the user's own."""
    for name, preset in PRESETS.items():
        if _choosing(preset) == _choosing(sampling):
            return name
    return None


def _choosing(s: Sampling) -> tuple[float, ...]:
    return (s.temperature, s.top_k, s.top_p, s.min_p, s.repetition_penalty)
