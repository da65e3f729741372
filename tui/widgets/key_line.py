"""The footer: the keys that do something here and now, on one line."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import format_key
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from tui.glyphs import ASCII_KEYS, UNICODE, glyphs
from tui.widgets.inks import ink


def label_of(owner: DOMNode, binding: Binding) -> str:
    """What the key does now, where its owner knows better than the binding; "": nothing, and no footer shows it."""
    known = getattr(owner, "key_label", None)
    label = known(binding) if known is not None else None
    return binding.description if label is None else label


class KeyLine(Widget):
    """Keys of the focused place from the left, keys of the whole app at the right end.

    What does not fit is left out from the middle; the way back, help and quit always stand there.
    """

    LAST: ClassVar[tuple[str, ...]] = (".back", "app.help", "app.quit")
    """Ends of binding IDs."""

    def __init__(self) -> None:
        super().__init__()
        self._zones: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, _: Screen[object]) -> None:
        self.refresh()

    def items(self) -> list[tuple[str, str, str, str]]:
        """What can be pressed now, in order: binding ID, shown key, label, key to simulate."""
        items: dict[str, tuple[str, str, str, str]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.description:
                label = label_of(active.node, binding)
                if not label:
                    continue
                name = binding.id or binding.action
                shown = self._shown(binding)
                if glyphs() is not UNICODE:
                    shown = "".join(ASCII_KEYS.get(letter, letter) for letter in shown)
                items.setdefault(name, (name, shown, label, binding.key))
        return list(items.values())

    def _shown(self, binding: Binding) -> str:
        """The key as it is written; where its sign would be typed into the focused place, the key that is left."""
        shown = self.app.get_key_display(binding)
        focused = self.screen.focused
        if len(shown) > 1 or not shown.isascii() or focused is None:
            return shown
        return format_key(binding.key) if focused.check_consume_key(shown, shown) else shown

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        if y:
            return Strip.blank(width, base)
        items = self.items()
        last = [item for end in self.LAST for item in items if item[0].endswith(end)]
        first = [item for item in items if item not in last]

        def cells(group: list[tuple[str, str, str, str]]) -> int:
            return sum(cell_len(shown) + cell_len(label) + 4 for _, shown, label, _ in group)

        while first and cells(first) + cells(last) > width:
            first.pop()
        key_style = ink(self, "primary", bold=True)
        label_style = ink(self, "muted")
        segments: list[Segment] = []
        self._zones = []
        at = 0
        for group, start in ((first, 0), (last, width - cells(last))):
            if start > at:
                segments.append(Segment(" " * (start - at), base))
                at = start
            for _, shown, label, key in group:
                end = at + cell_len(shown) + cell_len(label) + 4
                self._zones.append((at, end, key))
                segments += [
                    Segment(f" {shown}", base + key_style),
                    Segment(f" {label}  ", base + label_style),
                ]
                at = end
        return Strip(segments).adjust_cell_length(width, base or Style.null())

    def on_click(self, event: events.Click) -> None:
        for start, end, key in self._zones:
            if start <= event.x < end:
                self.app.simulate_key(key)
                return
