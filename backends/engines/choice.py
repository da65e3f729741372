"""Which engine to offer first for a variant, and why in that order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backends.engines.engine import EngineStatus
from backends.fit import Option, Verdict, offer_rank

_VERDICTS: Final[Mapping[Verdict, str]] = {
    "gpu": "runs all of it on the GPU",
    "split": "splits it between GPU and CPU",
    "cpu": "runs it on the CPU",
}
NOTABLE: Final = 1.05
"""How many times as fast an engine must be for it to be said."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One engine for a variant, in its place among the others."""

    option: Option
    why: str
    """One line: what speaks for it, or against it."""
    install_line: str | None = None
    """How to get it, where that is all that is missing."""

    @property
    def can_run(self) -> bool:
        """Whether it can be loaded now."""
        return self.option.verdict != "no" and self.option.engine_status == "ready"


def choices(options: Sequence[Option], statuses: Mapping[str, EngineStatus] | None = None) -> tuple[Choice, ...]:
    """All options of one variant, best first.

    What runs now stands before what would have to be installed, then the better place, then the higher speed, then the
    order in which the rules name the engines for the format: the one that reads it natively first.
    """
    known = statuses or {}
    made: list[Choice] = []
    for option in sorted(options, key=offer_rank):
        status = known.get(option.engine)
        if status is not None:
            status = status.of(option.variant.spec.format, option.variant.quantization)
        why = _why(option, status)
        behind = next((_behind(one.option, option) for one in made if _is_level(one.option, option)), None)
        made.append(Choice(option, f"{why}; {behind}" if behind else why, _install_line(option, status)))
    return tuple(made)


def _is_level(one: Option, other: Option) -> bool:
    """Whether both run in the same place and are as ready, so that only the speed tells them apart."""
    return one.verdict != "no" and (one.verdict, one.engine_status) == (other.verdict, other.engine_status)


def _behind(first: Option, option: Option) -> str | None:
    """Why it stands behind the first one that is level with it; None: the speed of neither is known."""
    here, there = option.tokens_per_second, first.tokens_per_second
    if there is None:
        return None
    if here is None:
        return "its speed is not known"
    times = there.value / here.value
    return f"{first.engine} is about {times:.1f} times as fast" if times >= NOTABLE else f"as fast as {first.engine}"


def _why(option: Option, status: EngineStatus | None) -> str:
    if option.verdict == "no":
        return option.reason or "does not fit"
    does = _VERDICTS[option.verdict]
    if option.engine_status == "not-installed":
        lacks = status is not None and status.version is not None and status.reason
        return f"{does} once it has what is missing: {lacks}" if lacks else f"{does} once it is installed"
    limited = status.reason if status is not None and status.status == "ready" else None
    return f"{does}; {limited}" if limited else f"is installed and {does}"


def _install_line(option: Option, status: EngineStatus | None) -> str | None:
    if option.verdict == "no" or option.engine_status != "not-installed" or status is None:
        return None
    return status.install_line
