"""The command palette: every action that has a key, and every model."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textual.command import CommandInput, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.events import Key
from textual.fuzzy import Matcher

from tui.guide import PLACES, spelled
from tui.keys import GUIDE
from tui.messages import FamilyWanted
from tui.widgets.key_line import label_of

if TYPE_CHECKING:
    from specs.catalog import Catalog
    from tui.every_model import EveryModel

MOST_MODELS = 100
"""More hits than anyone reads slow the palette down; a further word brings the others."""
CATALOG_SECONDS = 0.02
"""How often a search looks whether the catalog is read by now."""
ELSEWHERE = 0.5
"""How much less an action counts that first needs another screen."""


class Palette(CommandPalette):
    """Textual's palette, which also takes what is typed before its line is there to be typed into."""

    def on_key(self, event: Key) -> None:
        typed = event.character
        if typed is None or not event.is_printable or isinstance(self.focused, CommandInput):
            return
        event.stop()
        event.prevent_default()
        self.query_one(CommandInput).insert_text_at_cursor(typed)


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done."""

    label: str
    words: str
    act: Callable[[], object]
    share: float = 1.0


def _nearness(action: Action, typed: Sequence[str], matcher: Matcher) -> float:
    """0 to 1, as models are scored: what is typed in the label, in the words, or letter by letter over the label.

    Not letter by letter over the words: every other sentence has an l, an l, an a, an m and an a.
    """
    label = action.label.lower()
    if all(word in label for word in typed):
        near = 0.95 if label.startswith(typed[0]) else 0.8
    elif all(word in f"{label} {action.words.lower()}" for word in typed):
        near = 0.5
    else:
        near = 0.2 if matcher.match(action.label) > 0 else 0.0
    return near


class Everything(Provider):
    """Actions of the screen and of the app, those of other screens, then all families and variants."""

    _models: EveryModel | None = None

    def _here(self) -> Iterator[Action]:
        """What is possible now."""
        seen: set[str] = set()
        # What the footer shows is what people look for; steps of the cursor come last.
        for active in sorted(self.screen.active_bindings.values(), key=lambda active: not active.binding.show):
            binding = active.binding
            name = binding.id or binding.action
            if name in seen or not active.enabled or not binding.description or binding.action == "command_palette":
                continue
            if name.startswith("rows.") or "." not in name:
                continue
            seen.add(name)
            words = active.tooltip or binding.tooltip
            label = f"{label_of(active.node, binding) or binding.description}  {spelled(binding, self.app)}"
            yield Action(label, words, partial(self.app.simulate_key, binding.key))
        for command in self.app.get_system_commands(self.screen):
            yield Action(command.title, command.help, command.callback)

    def _elsewhere(self) -> Iterator[Action]:
        """What is possible on another screen, or with another row: choosing it goes there."""
        here = {active.binding.id for active in self.screen.active_bindings.values() if active.enabled}
        for title, bindings in GUIDE:
            place = PLACES.get(title)
            if place is None:
                continue
            for binding in bindings:
                if binding.id in here or str(binding.id).startswith("rows."):
                    continue
                yield Action(
                    f"{binding.description}  {spelled(binding, self.app)}  ({place.title.lower()})",
                    f"{binding.tooltip or binding.description}; goes to {place.title.lower()}",
                    partial(self.app.call_later, self.app.run_action, f"mode('{place.mode}')"),
                    ELSEWHERE,
                )

    @property
    def _every_model(self) -> EveryModel | None:
        """All models, once the catalog is read; None: it is not yet."""
        catalog: Catalog | None = getattr(self.app, "catalog", None)
        if self._models is None and catalog is not None:
            from tui.every_model import EveryModel

            self._models = EveryModel((*catalog.families, *getattr(self.app, "guests", ())))
        return self._models

    async def discover(self) -> Hits:
        for action in self._here():
            yield DiscoveryHit(action.label, action.act, help=action.words)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for action in (*self._here(), *self._elsewhere()):
            score = _nearness(action, query.lower().split(), matcher) * action.share
            if score > 0:
                yield Hit(score, matcher.highlight(action.label), action.act, help=action.words)
        while (models := self._every_model) is None:
            # Typed before the catalog is read; another letter or the palette's end takes this search down.
            await sleep(CATALOG_SECONDS)
        for found in models.search(query, MOST_MODELS):
            wanted = FamilyWanted(found.family.name, found.variant)
            yield Hit(
                found.score,
                Content(found.label),
                partial(self.app.post_message, wanted),
                text=found.label,
                help=found.words,
            )
