"""Where each hub's files lie on this disk, and how what a plan lacks comes there."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from backends.hubs.added_fetch import AddedStore
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.huggingface_fetch import HuggingFaceStore
from backends.hubs.modelscope_fetch import ModelScopeStore
from backends.meter import Meter
from backends.plans import FileOutcome, Patience, Plan, PlannedFile
from specs.model import HUGGINGFACE, MODELSCOPE


class Store(Protocol):
    """A hub's own cache, which other tools share."""

    def folder(self, model_id: str, revision: str) -> Path:
        """The folder in which a repository's files have their names."""

    def filled(self, plan: Plan) -> Path:
        """The folder that a download fills."""

    def planned(self, listing: Listing, file: RepoFile) -> PlannedFile:
        """A file of a listing, and how much of it lies here."""

    def part(self, plan: Plan, file: PlannedFile) -> Path:
        """Where the bytes of an unfinished file lie."""

    def present_bytes(self, plan: Plan, file: PlannedFile) -> int:
        """Bytes of a file that lie here now, whole or not."""

    def leftovers(self, plan: Plan, file: PlannedFile) -> tuple[Path, ...]:
        """What lies here of an unfinished file; nothing while a program works on it."""

    def fetch_files(
        self, plan: Plan, meter: Meter, cancel: threading.Event | None, patience: Patience
    ) -> tuple[FileOutcome, ...]:
        """Download what a plan lacks; blocks until all of it is whole, or raises."""


_STORES: dict[str, Store] = {HUGGINGFACE: HuggingFaceStore(), MODELSCOPE: ModelScopeStore()}


def store(hub_name: str) -> Store:
    """The store of a hub; of one that another package adds, a folder of ours."""
    return _STORES.get(hub_name) or AddedStore(hub_name)
