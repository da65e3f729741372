"""What the catalog costs: reading it, and settling a search, beside the least that it can cost."""

from __future__ import annotations

import gc
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace

import benchrow

from specs.catalog import BUNDLED, Catalog, load_catalog

READ_BUDGET = 1.1
"""Times tomllib alone on the same texts: the reader of plain lines takes a third of it, the rest is checking values."""
SEARCH_BUDGET_MS = 10.0
"""20,000 variants, one search."""


def main() -> int:
    """A row for each measure, times in milliseconds; 1 when a budget was missed."""
    catalog = load_catalog()
    texts = [path.read_text() for path in sorted(BUNDLED.glob("*.toml"))]
    floor = _best(lambda: [tomllib.loads(text) for text in texts])
    over = _row("read the bundled catalog", _best(load_catalog), floor, READ_BUDGET)
    large = _enlarged(catalog, 20_000)
    large.search("warm")
    names = [family.name.lower() for family in large.families]
    for query in ("q", "qwen 3", "no such word", "en chat gguf"):
        ours = _best(lambda query=query: large.search(query))  # type: ignore[misc]
        least = _best(lambda query=query: [name for name in names if query in name])  # type: ignore[misc]
        over |= _row(f'search "{query}" in {len(names):,} families', ours, least, SEARCH_BUDGET_MS / (least * 1000))
    return int(over)


def _enlarged(catalog: Catalog, variants: int) -> Catalog:
    """The same families under further names until there are so many variants."""
    families, total, turn = [], 0, 0
    while total < variants:
        for family in catalog.families:
            families.append(replace(family, name=f"{family.name}-{turn}"))
            total += sum(len(spec.quantizations) for spec in family.specs)
        turn += 1
    return Catalog(tuple(families))


def _best(work: Callable[[], object], rounds: int = 5) -> float:
    """The fastest of some rounds, in seconds."""
    fastest = float("inf")
    for _ in range(rounds):
        gc.collect()
        start = time.perf_counter()
        work()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _row(name: str, ours: float, floor: float, budget: float) -> bool:
    """Whether the budget was missed; times in seconds."""
    return not benchrow.row(f"catalog: {name}", ours * 1000, floor * 1000, "ms", at_most=budget)


if __name__ == "__main__":
    raise SystemExit(main())
