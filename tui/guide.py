"""The guide as data: what each screen is for, its keys from the bindings themselves, and what the signs mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tui.glyphs import ASCII_KEYS, UNICODE, VERDICT_WORDS, glyphs
from tui.keys import GUIDE

if TYPE_CHECKING:
    from textual.app import App
    from textual.binding import Binding

NAMES: Final = {
    "question_mark": "?",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "greater_than_sign": ">",
    "less_than_sign": "<",
    "pageup": "page up",
    "pagedown": "page down",
    "escape": "esc",
}
OWN_KEYS: Final = (
    'Keys are changed in config.toml by their names, such as "browse.fits"; modeldeck config --keys lists them. '
    "The change is in force while the app runs."
)


@dataclass(frozen=True, slots=True)
class Place:
    """A screen: its name, how to get there, what it is for, and its groups of keys."""

    mode: str
    title: str
    purpose: str
    groups: tuple[str, ...]
    signs: tuple[str, ...] = ()
    """Which of the legends help to read it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A sign or a key, and what it means; without a sign it is a paragraph."""

    sign: str
    words: str
    ink: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under one title."""

    title: str
    lines: tuple[Line, ...]

    def matching(self, words: Sequence[str]) -> Section | None:
        """What of it holds every word; all of it where the title does; None: nothing."""
        if all(word in self.title.lower() for word in words):
            return self
        kept = tuple(line for line in self.lines if self._holds(line, words))
        return Section(self.title, kept) if kept else None

    def _holds(self, line: Line, words: Sequence[str]) -> bool:
        text = f"{self.title} {line.sign} {line.words}".lower()
        return all(word in text for word in words)


SCREENS: Final = (
    Place(
        "browse",
        "Models",
        "What runs on this machine: families in a list, and the fit matrix of the one under the cursor (beside the "
        "list, or with enter where there is no room), with sizes and formats in rows and quantizations in columns. "
        "Smaller quantizations need less memory and lose some quality; around four bits is the usual choice. Enter "
        "talks to a cell's variant; when its weights are not on this disk yet it offers the download first. The line "
        "below the matrix says why something does not fit, and the cheapest change that helps. m judges everything "
        "for a machine that you do not have.",
        ("Browse", "The list", "The fit matrix"),
        ("verdicts", "memory"),
    ),
    Place(
        "downloads",
        "Downloads",
        "What is on its way to this disk, in the order in which it comes. A download that was interrupted goes on "
        "where it stopped, after a restart too; what is whole was compared with the hub's sums. The lines below say "
        "where it lands, why it failed, and whether the disk has room.",
        ("Downloads",),
        ("downloads",),
    ),
    Place(
        "chat",
        "Chat",
        "Talk to the models that are loaded, one to four of them beside each other. Everything stays on this machine. "
        "Every answer can be asked for again and every turn changed: each becomes a branch of its own, and nothing is "
        "lost. The line below a pane says how fast it answers and how much of the context is taken.",
        ("Chat", "The prompt", "The turns", "Conversations"),
    ),
    Place(
        "library",
        "Library",
        "Everything on this disk that can be run, whoever put it there: the hubs' caches, Ollama, LM Studio, folders "
        "of yours. Enter talks to it. Verifying reads every byte; removing says first what goes and what stays.",
        ("Library",),
        ("downloads",),
    ),
    Place(
        "hubs",
        "Search of the hubs",
        "Any repository of Hugging Face and ModelScope, judged like the catalog. Type what you look for; enter looks "
        "into a repository and shows its fit matrix, s keeps it in your own catalog.",
        ("Search of the hubs",),
    ),
)
PLACES: Final = {group: place for place in SCREENS for group in place.groups}
"""The screen on which a group of keys does something."""


def spelled(binding: Binding, app: App[object]) -> str:
    """A binding's keys as people say them, the user's own where they chose others."""
    settings = getattr(app, "settings", None)
    own = settings.keys.get(str(binding.id)) if settings is not None else None
    if own is None and binding.key_display:
        shown = binding.key_display
        return shown if glyphs() is UNICODE else "".join(ASCII_KEYS.get(letter, letter) for letter in shown)
    return " or ".join(NAMES.get(key.strip(), key.strip()) for key in (own or binding.key).split(","))


def _verdicts() -> Section:
    signs = glyphs()
    colours = {"gpu": "$success", "split": "$warning", "cpu": "$primary", "no": "$error"}
    lines = [Line(signs.verdict(verdict), words, colours[verdict]) for verdict, words in VERDICT_WORDS.items()]
    lines += [
        Line(signs.unpublished, "not published in this quantization"),
        Line(signs.on_disk, "the weights are on this disk"),
        Line(f"56%{signs.loading}", "so much of a download is here"),
        Line("4.9", "the size of the weights in GB"),
        Line("", "The sign before a family is the best that any of its variants reaches."),
    ]
    return Section("What the signs say", tuple(lines))


def _memory() -> Section:
    signs = glyphs()
    lines = (
        Line(signs.weights, "weights: the model itself"),
        Line(signs.kv_cache, "KV cache: grows with the context length, which [ and ] change"),
        Line(signs.compute, "compute: buffers for one step"),
        Line(signs.overhead, "overhead: what the engine and the driver take before any model"),
        Line(signs.limit, "where the memory ends; what stands beyond it is too much"),
        Line("", "The bar's end is what the place has free now. In the strip on top each bar is one device: the filled "
             "part is taken."),
    )  # fmt: skip
    return Section("What the memory bar says", lines)


def _downloads() -> Section:
    signs = glyphs()
    lines = (
        Line(signs.on_disk, "whole, and its sums are right or its sizes"),
        Line(signs.verdict("no"), "not whole, or something is wrong with it", "$error"),
    )
    return Section("What the signs say here", lines)


LEGENDS: Final = {"verdicts": _verdicts, "memory": _memory, "downloads": _downloads}


def sections(mode: str | None, app: App[object]) -> Iterator[Section]:
    """The guide, with the screen that it was asked from first."""
    places = sorted(SCREENS, key=lambda place: place.mode != mode)
    groups = dict(GUIDE)
    told: set[str] = set()
    for at, place in enumerate(places):
        here = " (here)" if at == 0 and place.mode == mode else ""
        yield Section(f"{place.title}{here}", (Line("", place.purpose),))
        for legend in place.signs:
            if legend not in told:
                told.add(legend)
                yield LEGENDS[legend]()
        for name in place.groups:
            title = f"{name}: keys" if name != place.title else "Keys"
            yield Section(f"{place.title}, {title[:1].lower()}{title[1:]}", tuple(_keys(groups[name], app)))
        if at == 0:
            yield Section("Keys of every screen", tuple(_keys(groups["Everywhere"], app)))
    yield Section("Keys of your own", (Line("", OWN_KEYS),))


def _keys(bindings: Sequence[Binding], app: App[object]) -> Iterator[Line]:
    seen: set[str] = set()
    for binding in bindings:
        name = binding.id or binding.key
        if name in seen:
            continue
        seen.add(name)
        words = binding.description
        if binding.tooltip and binding.tooltip != binding.description:
            words += f": {binding.tooltip[:1].lower()}{binding.tooltip[1:]}"
        yield Line(spelled(binding, app), words, "bold")
