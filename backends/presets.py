"""Named ways of choosing the next token."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from backends import home
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


CHOOSING: Final = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
"""What a preset sets; how long an answer may be and its seed stay as they are."""


def presets_file() -> Path:
    """Where the user's own presets are kept."""
    return home.config_file().with_name("presets.json")


def presets() -> dict[str, Sampling]:
    """All presets by name, the user's own behind ours; what cannot be read is left out."""
    found = dict(PRESETS)
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        for name, told in json.loads(presets_file().read_text("utf-8")).items():
            values: dict[str, Any] = {
                key: value for key, value in told.items() if key in CHOOSING and isinstance(value, (int, float))
            }
            if isinstance(name, str) and name.strip() and name not in PRESETS:
                found[name] = Sampling(**values)
    return found


def save_preset(name: str, sampling: Sampling | None) -> None:
    """Keep a preset of the user's under a name, or forget it.

    Raises:
        ValueError: The name is one of ours, or empty.
        OSError: The file cannot be written.
    """
    name = name.strip()
    if not name or name in PRESETS:
        raise ValueError(f"{name!r} is a name of modeldeck's own; choose another" if name else "a preset needs a name")
    own = {known: preset for known, preset in presets().items() if known not in PRESETS and known != name}
    if sampling is not None:
        own[name] = sampling
    told = {known: {key: asdict(preset)[key] for key in CHOOSING} for known, preset in own.items()}
    path = presets_file()
    home.private_folder(path.parent)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(json.dumps(told, indent=2, ensure_ascii=False), "utf-8")
    beside.replace(path)


def preset_of(sampling: Sampling, among: Mapping[str, Sampling] = PRESETS) -> str | None:
    """The preset that chooses tokens like this; None: it is the user's own."""
    for name, preset in among.items():
        if _choosing(preset) == _choosing(sampling):
            return name
    return None


def _choosing(s: Sampling) -> tuple[float, ...]:
    return (s.temperature, s.top_k, s.top_p, s.min_p, s.repetition_penalty)
