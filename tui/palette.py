"""The command palette: every action that has a key, and every family."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from tui.messages import FamilyWanted
from tui.widgets.lines import clean

if TYPE_CHECKING:
    from specs.catalog import Catalog

MAX_FAMILIES = 50
"""More hits than anyone reads slow the palette down."""


class Everything(Provider):
    """Actions of the screen and of the app, then the families by name."""

    def _actions(self) -> Iterator[tuple[str, str, str]]:
        """Label, words and the key to press for each action that is possible now."""
        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            name = binding.id or binding.action
            if name in seen or not active.enabled or not binding.description or binding.action == "command_palette":
                continue
            if name.startswith("rows.") or "." not in name:
                continue
            seen.add(name)
            shown = self.app.get_key_display(binding)
            yield f"{binding.description}  {shown}", active.tooltip or binding.tooltip, binding.key

    def _press(self, key: str) -> None:
        self.app.simulate_key(key)

    async def discover(self) -> Hits:
        for label, words, key in self._actions():
            yield DiscoveryHit(label, partial(self._press, key), help=words)
        for command in self.app.get_system_commands(self.screen):
            yield DiscoveryHit(command.title, command.callback, help=command.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for label, words, key in self._actions():
            score = max(matcher.match(label), matcher.match(words) * 0.6)
            if score > 0:
                yield Hit(score, matcher.highlight(label), partial(self._press, key), help=words)
        for command in self.app.get_system_commands(self.screen):
            score = matcher.match(command.title)
            if score > 0:
                yield Hit(score, matcher.highlight(command.title), command.callback, help=command.help)
        catalog: Catalog | None = getattr(self.app, "catalog", None)
        if catalog is None:
            return
        for family in catalog.search(query)[:MAX_FAMILIES]:
            name = clean(family.name)
            near = matcher.match(name)
            sizes = ", ".join(f"{size:g}B" for size in family.sizes_in_billions)
            yield Hit(
                0.3 + near * 0.5,
                Content(name),
                partial(self.app.post_message, FamilyWanted(family.name)),
                text=name,
                help=f"{', '.join(family.abilities)}: {sizes}",
            )
