"""Which engine to offer first for a variant, and why in that order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backends.engines.engine import EngineStatus
from backends.fit import Option, Verdict

_VERDICTS: Final[Mapping[Verdict, str]] = {
    "gpu": "runs all of it on the GPU",
    "split": "splits it between GPU and CPU",
    "cpu": "runs it on the CPU",
}
_RANK: Final[Mapping[str, int]] = {"gpu": 0, "split": 1, "cpu": 2, "no": 3}
_STATUS_RANK: Final[Mapping[str, int]] = {"ready": 0, "not-installed": 1, "unsupported": 2}


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

    What runs now stands before what would have to be installed, then the better place, then the order in which the
    rules name the engines for the format: the one that reads it natively first.
    """
    known = statuses or {}
    made = []
    for option in sorted(options, key=_rank):
        status = known.get(option.engine)
        if status is not None:
            status = status.of(option.variant.spec.format, option.variant.quantization)
        made.append(Choice(option, _why(option, status), _install_line(option, status)))
    return tuple(made)


def _rank(option: Option) -> tuple[int, int, int]:
    runs = option.verdict != "no"
    ready = option.engine_status == "ready"
    return (0 if runs and ready else 1 if runs else 2, _RANK[option.verdict], _STATUS_RANK[option.engine_status])


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
