"""The signs of the screens, in Unicode and in ASCII; each is also said in words somewhere near."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tui.charset import ascii_wanted


class Glyphs(NamedTuple):  # as a dataclass it would take a millisecond before the first key
    """One set of signs, each a single cell wide."""

    gpu: str
    split: str
    cpu: str
    no: str
    unpublished: str
    on_disk: str
    loading: str
    """Downloading now."""
    weights: str
    kv_cache: str
    compute: str
    overhead: str
    room: str
    """Memory that stays free."""
    bar_start: str
    bar_end: str
    limit: str
    """Where the memory ends, inside a bar that is longer."""
    full: str
    eighths: str
    """Partial cells of a plain bar, from one eighth to seven; empty: whole cells only."""
    track: str
    dash: str
    dot: str
    more_left: str
    more_right: str
    tick: str
    enter: str
    arrows: str
    ellipsis: str
    pointer: str

    def verdict(self, verdict: str | None) -> str:
        """The sign of a verdict; a space while it is not known."""
        if verdict is None:
            return " "
        return {"gpu": self.gpu, "split": self.split, "cpu": self.cpu, "no": self.no}[verdict]


UNICODE = Glyphs(
    gpu="●", split="◐", cpu="○", no="✕", unpublished="·", on_disk="⤓", loading="↓",
    weights="█", kv_cache="▓", compute="▒", overhead="░", room=" ",
    bar_start="▕", bar_end="▏", limit="┃", full="█", eighths="▏▎▍▌▋▊▉", track=" ",
    dash="─", dot="·", more_left="‹", more_right="›", tick="✓", enter="↵", arrows="← →", ellipsis="…", pointer="▸",
)  # fmt: skip
ASCII = Glyphs(
    gpu="#", split="+", cpu="o", no="x", unpublished=".", on_disk="v", loading="v",
    weights="#", kv_cache="=", compute="+", overhead=":", room=" ",
    bar_start="[", bar_end="]", limit="|", full="#", eighths="", track=" ",
    dash="-", dot="-", more_left="<", more_right=">", tick="ok", enter="enter", arrows="<- ->", ellipsis="~",
    pointer=">",
)  # fmt: skip

ASCII_KEYS: Mapping[str, str] = {"↵": "enter", "↑": "up", "↓": "down", "←": "left", "→": "right"}
"""Keys that are shown by a sign, in words."""
VERDICT_WORDS: Mapping[str, str] = {
    "gpu": "runs on the GPU",
    "split": "split between GPU and RAM",
    "cpu": "runs on the CPU",
    "no": "does not run here",
}


_chosen: list[Glyphs] = []


def choose(ascii_only: bool | None) -> None:
    """Use one set from now on; None: what suits the terminal."""
    _chosen[:] = [ASCII if (ascii_wanted() if ascii_only is None else ascii_only) else UNICODE]


def glyphs() -> Glyphs:
    """The set in use."""
    if not _chosen:
        choose(None)
    return _chosen[0]


def bar(share: float, width: int, signs: Glyphs) -> str:
    """A plain bar of so many cells, filled to a share of 0 to 1."""
    share = min(1.0, max(0.0, share))
    eighths = round(share * width * 8)
    if not signs.eighths:
        return (signs.full * round(share * width)).ljust(width, signs.track)
    whole, rest = divmod(eighths, 8)
    partial = signs.eighths[rest - 1] if rest and whole < width else ""
    return (signs.full * whole + partial).ljust(width, signs.track)
