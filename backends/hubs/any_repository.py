"""A repository of a hub as a family by its name alone: which hub has it, and what was known when none answers."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from backends import home
from backends.errors import BackendError, HubUnreachable, NotFound
from backends.hubs.huggingface import check_id
from backends.hubs.repository import fetch_family
from specs import extensions
from specs.model import ModelFamily, SpecError


@dataclass(frozen=True, slots=True)
class Repository:
    """What a repository holds."""

    hub: str
    family: ModelFamily
    note: str | None = None
    """A line when this is not today's word of the hub."""


def family_of_repository(model_id: str, hub_name: str | None = None, revision: str | None = None) -> Repository:
    """Make a family of a repository; of two hubs the first that has it answers.

    What a hub said is kept, so that downloaded weights can be run where no hub answers.

    Args:
        model_id: owner/name.
        hub_name: The hub to ask; None: all, in their order.
        revision: Branch, tag or commit; None: the hub's default.

    Raises:
        NotFound: no hub has it, or it holds nothing that an engine of ours loads.
        HubError: what the first hub that was asked says.
    """
    check_id(model_id)
    hubs = (hub_name,) if hub_name else extensions.hubs()
    first: BackendError | None = None
    for name in hubs:
        try:
            family = fetch_family(name, model_id, revision)
        except BackendError as error:
            # After one hub has said no, that the other's client is not installed is no news.
            if first is None and not isinstance(error, (NotFound, HubUnreachable)):
                raise
            first = first or error
        else:
            _keep(name, model_id, revision, family)
            return Repository(name, family)
    for name in hubs:
        kept = _kept(name, model_id, revision)
        if kept is not None and isinstance(first, HubUnreachable):
            return Repository(name, kept, f"{model_id} as it was when {name} last answered: {first}")
    raise first or NotFound(f"there is no hub to ask for {model_id}")


def _file(hub_name: str, model_id: str, revision: str | None) -> Path:
    asked = hashlib.sha256(f"{hub_name}\n{model_id}\n{revision or ''}".encode()).hexdigest()[:32]
    return home.cache_folder() / "repositories" / f"{asked}.toml"


def _keep(hub_name: str, model_id: str, revision: str | None, family: ModelFamily) -> None:
    """A cache that takes no file is no reason to fail."""
    from specs.writing import family_to_toml, write_whole

    with contextlib.suppress(OSError):
        write_whole(_file(hub_name, model_id, revision), family_to_toml(family).encode())


def _kept(hub_name: str, model_id: str, revision: str | None) -> ModelFamily | None:
    from specs.catalog import read_spec_file

    with contextlib.suppress(OSError, SpecError):
        return read_spec_file(_file(hub_name, model_id, revision))[0]
    return None
