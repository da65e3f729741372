"""The guide: what the signs mean, how a model gets from the list to an answer, and every key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.glyphs import VERDICT_WORDS, glyphs
from tui.keys import GUIDE
from tui.widgets.lines import plain, wrapped

KEY_CELLS = 18
WORDS_CELLS = 56


def _paragraphs() -> Iterator[str | tuple[str, str]]:
    signs = glyphs()
    yield "From the list to an answer\n", "bold $primary"
    yield (
        "Choose a family on the left, then a cell on the right: sizes and formats stand in rows, quantizations in "
        "columns. Smaller quantizations need less memory and lose some quality; around four bits is the usual choice. "
        "Enter talks to a variant; when its weights are not on this disk yet it offers the download first.\n\n"
    )
    yield "What the signs say\n", "bold $primary"
    colours = {"gpu": "$success", "split": "$warning", "cpu": "$primary", "no": "$error"}
    for verdict, words in VERDICT_WORDS.items():
        yield f"  {signs.verdict(verdict)}  ", colours[verdict]
        yield f"{words}\n"
    yield f"  {signs.unpublished}  not published in this quantization\n"
    yield f"  {signs.on_disk}  the weights are on this disk; a share in per cent is a download under way\n\n"
    yield "The number in a cell is the size of the weights in GB. The sign in the list is the best that any variant "
    yield "of the family reaches. The line below the matrix says why not, and the cheapest change that helps.\n\n"
    yield "What the memory bar says\n", "bold $primary"
    for hatch, words in (
        (signs.weights, "weights: the model itself"),
        (signs.kv_cache, "KV cache: grows with the context length, which [ and ] change"),
        (signs.compute, "compute: buffers for one step"),
        (signs.overhead, "overhead: what the engine and the driver take before any model"),
    ):
        yield f"  {hatch}  {words}\n"
    yield f"\nThe bar's end is what the place has free. Beyond {signs.limit} it is too much.\n\n"
    yield "For another machine\n", "bold $primary"
    yield "m judges everything for a machine that you choose; the strip on top then says that it is not this one.\n\n"
    for title, bindings in GUIDE:
        yield f"{title}\n", "bold $primary"
        seen: set[str] = set()
        for binding in bindings:
            if (binding.id or binding.key) in seen:
                continue
            seen.add(binding.id or binding.key)
            keys = binding.key_display or _spelled(binding.key)
            words = binding.description
            if binding.tooltip and binding.tooltip != binding.description:
                words += f": {binding.tooltip[:1].lower()}{binding.tooltip[1:]}"
            first, *more = wrapped(words, WORDS_CELLS)
            yield f"  {keys:<{KEY_CELLS}}", "bold"
            yield f"{first}\n"
            for line in more:
                yield f"{' ' * (KEY_CELLS + 2)}{line}\n"
        yield "\n"
    yield (
        'Keys can be changed in config.toml by their names, such as "browse.fits"; modeldeck config --keys lists them.',
        "$muted",
    )


def _spelled(keys: str) -> str:
    names = {"question_mark": "?", "slash": "/", "left_square_bracket": "[", "right_square_bracket": "]"}
    return " or ".join(names.get(key, key) for key in keys.split(","))


class Help(ModalScreen[None]):
    """A page to read and leave."""

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss", "close", id="help.close"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box") as box:
            box.border_title = plain("How to use modeldeck")
            box.border_subtitle = plain(
                "↑ ↓ scroll   esc closes" if glyphs().eighths else "up down scroll   esc closes"
            )
            yield Static(Content.assemble(*_paragraphs()))

    async def action_dismiss(self, result: None = None) -> None:
        self.dismiss(result)
