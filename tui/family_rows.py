"""Which families the list shows, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # reading spec files is not needed before the first frame
    from backends.fit import Verdict
    from specs.catalog import Catalog
    from specs.model import ModelFamily
    from tui.services import Library

UNFIT = frozenset({"no"})


class Filter(NamedTuple):
    """What the user wants to see of the catalog."""

    query: str = ""
    fits_only: bool = False
    on_disk_only: bool = False

    @property
    def note(self) -> str:
        """The filter in words, without the query."""
        words = ((self.fits_only, "fits"), (self.on_disk_only, "on this disk"))
        return ", ".join(word for wish, word in words if wish)

    def empty_words(self, *, has_catalog: bool) -> str:
        """Why no family is shown, and what to press."""
        if not has_catalog:
            return "reading the catalog"
        if self.query:
            return "nothing matches: backspace for less, esc for all, f4 searches the hubs"
        if self.on_disk_only:
            return "nothing on this disk yet: o shows all, d downloads"
        if self.fits_only:
            return "nothing fits this machine: f shows all"
        return "no families: add some with modeldeck specs import"


class FamilyRows:
    """The catalog's families with the guests from the hubs behind them, and what is known of each."""

    def __init__(self, catalog: Catalog | None = None, guests: Sequence[ModelFamily] = ()) -> None:
        known = {family.name for family in catalog.families} if catalog else set()
        new = tuple(family for family in guests if family.name not in known)
        self.catalog = catalog
        self.guests = guests
        self.families: tuple[ModelFamily, ...] = (*catalog.families, *new) if catalog else ()
        self._names = [family.name.lower() for family in self.families]
        self._index = {family.name: index for index, family in enumerate(self.families)}
        self.verdicts: Mapping[int, Verdict] = {}
        """The best verdict of each family by its index; empty: not judged yet."""
        self.on_disk: frozenset[int] = frozenset()
        """Families with weights on this disk."""

    def make_ready(self) -> None:
        """Do ahead what the first search would do: lower-case words of every family, 6 ms for a thousand."""
        if self.catalog is not None:
            self.catalog.search("")

    def find(self, name: str) -> int | None:
        """The index of a family by its name."""
        return self._index.get(name)

    def shown(self, wanted: Filter) -> Sequence[int]:
        """Indices of the families that pass, those whose name starts with the query first."""
        rows: Sequence[int] = range(len(self.families))
        query = wanted.query.strip()
        if self.catalog is None:
            return ()
        if query:
            rows = self._matching(self.catalog, query)
        if wanted.fits_only and self.verdicts:
            rows = [index for index in rows if self.verdicts.get(index, "no") not in UNFIT]
        if wanted.on_disk_only:
            rows = [index for index in rows if index in self.on_disk]
        return rows

    def _matching(self, catalog: Catalog, query: str) -> list[int]:
        rows = [self._index[family.name] for family in catalog.search(query)]
        words = query.lower().split()
        # Guests stand behind the catalog's families, which a search of the catalog has found already.
        rows += [
            index
            for index in range(len(catalog.families), len(self.families))
            if all(word in self.families[index].name for word in words)
        ]
        start = query.lower()
        names = self._names
        rows.sort(key=lambda index: not names[index].startswith(start))
        return rows


def lying_here(families: Sequence[ModelFamily], library: Library) -> tuple[frozenset[str], frozenset[int]]:
    """Which variants lie on this disk by their keys, and the indices of their families."""
    keys: set[str] = set()
    here: set[int] = set()
    for index, family in enumerate(families):
        for variant in family.variants():
            if library.path(variant) is not None:
                keys.add(variant.key)
                here.add(index)
    return frozenset(keys), frozenset(here)
