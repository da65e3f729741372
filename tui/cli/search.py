"""The command `search`: repositories on the hubs."""

from __future__ import annotations

import argparse
from typing import Any

from backends.errors import HubError
from backends.hubs.hub import RepoSummary
from specs import extensions
from tui import units
from tui.cli.output import Column, document, note, table
from tui.cli.patience import interruptible


def search(arguments: argparse.Namespace) -> int:
    """Ask the hubs; one that does not answer costs a line, both an error."""
    from backends.hubs.repository import search as ask

    hubs = (arguments.hub,) if arguments.hub else extensions.hubs()
    found = interruptible(lambda: ask(arguments.query, hubs, limit=arguments.limit), lambda: None)
    if len(found.problems) == len(hubs):
        raise HubError("; ".join(found.problems))
    if arguments.json:
        document({"repositories": [_hit(one) for one in found.repositories], "problems": list(found.problems)})
        return 0
    for problem in found.problems:
        note(problem)
    if not found.repositories:
        note("no repository matches; fewer or other words find more")
        return 0
    table(
        [
            Column("REPOSITORY", wide=True),
            Column("HUB", leaves=1),
            Column("DOWNLOADS", right=True),
            Column("LIKES", right=True, leaves=2),
            Column("ACCESS"),
        ],
        [
            (
                one.model_id,
                one.hub,
                units.count(one.downloads),
                units.count(one.likes),
                "gated" if one.gated else "open",
            )
            for one in found.repositories
        ],
    )
    note("modeldeck specs from REPOSITORY says what one holds and whether it runs here")
    return 0


def _hit(one: RepoSummary) -> dict[str, Any]:
    return {
        "hub": one.hub,
        "model_id": one.model_id,
        "downloads": one.downloads,
        "likes": one.likes,
        "gated": one.gated,
        "tags": list(one.tags),
    }
