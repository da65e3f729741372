"""A queued download on the disk, so that a crash or an exit forgets none."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends import home
from backends.plans import Plan, PlannedFile, State
from specs.model import HubSource, ModelFamily, ModelSpec, Variant


@dataclass(frozen=True, slots=True)
class SavedJob:
    """What must be known to offer a download again."""

    id: str
    place: int
    state: State
    note: str | None
    plan: Plan


class Desk:
    """One running program's jobs on the disk.

    A lock that dies with the program tells others which jobs nobody works on any more, so that two programs at once
    neither lose nor share a job.
    """

    def __init__(self, folder: Path | None = None) -> None:
        import filelock

        self.folder = home.private_folder(folder or home.downloads_folder() / "queue")
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = filelock.FileLock(self.folder / f"{self.owner}.lock")
        self._lock.acquire(blocking=False)

    def save(self, job: SavedJob) -> None:
        """Write a job beside and rename it; a full disk loses the note, not the download."""
        file = self.folder / f"{job.id}.json"
        content = {
            "owner": self.owner,
            "id": job.id,
            "place": job.place,
            "state": job.state,
            "note": job.note,
            "plan": _plan_to_json(job.plan),
        }
        with contextlib.suppress(OSError):
            beside = file.with_suffix(".tmp")
            beside.write_text(json.dumps(content), encoding="utf-8")
            beside.replace(file)

    def drop(self, job_id: str) -> None:
        """Forget a job."""
        with contextlib.suppress(OSError):
            (self.folder / f"{job_id}.json").unlink(missing_ok=True)

    def take_over(self) -> list[SavedJob]:
        """Jobs whose program has ended, in their order; they are ours from now on."""
        taken: list[SavedJob] = []
        alive: dict[str, bool] = {}
        for file in sorted(self.folder.glob("*.json")):
            try:
                found = json.loads(file.read_text(encoding="utf-8"))
                owner = str(found["owner"])
                job = SavedJob(
                    str(found["id"]), int(found["place"]), found["state"], found["note"], _plan_from_json(found["plan"])
                )
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if owner not in alive:
                alive[owner] = owner != self.owner and self._runs(owner)
            if not alive[owner]:
                taken.append(job)
        taken.sort(key=lambda job: job.place)
        for job in taken:
            self.save(job)
        return taken

    def close(self) -> None:
        """Let others take over what is unfinished."""
        with contextlib.suppress(OSError):
            self._lock.release()
            (self.folder / f"{self.owner}.lock").unlink(missing_ok=True)

    def _runs(self, owner: str) -> bool:
        import filelock

        file = self.folder / f"{owner}.lock"
        if "/" in owner or not file.exists():
            return False
        lock = filelock.FileLock(file)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            return True
        except OSError:
            return False
        lock.release()
        file.unlink(missing_ok=True)
        return False


def saved_jobs(folder: Path | None = None) -> Iterator[SavedJob]:
    """Every job on the disk, whoever works on it."""
    for file in sorted((folder or home.downloads_folder() / "queue").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(file.read_text(encoding="utf-8"))
            yield SavedJob(
                str(found["id"]), int(found["place"]), found["state"], found["note"], _plan_from_json(found["plan"])
            )


def _plan_to_json(plan: Plan) -> dict[str, Any]:
    variant = plan.variant
    family = dataclasses.asdict(dataclasses.replace(variant.family, specs=()))
    spec = dataclasses.asdict(dataclasses.replace(variant.spec, architecture=None))
    return {
        "family": family,
        "spec": spec,
        "quantization": variant.quantization,
        "hub": plan.hub,
        "model_id": plan.model_id,
        "revision": plan.revision,
        "branch": plan.branch,
        "path": str(plan.path),
        "gated": plan.gated,
        "files": [dataclasses.asdict(file) for file in plan.files],
    }


def _plan_from_json(found: Mapping[str, Any]) -> Plan:
    spec = _build(ModelSpec, found["spec"])
    sources = tuple(_source(source) for source in found["spec"]["hubs"])
    engines = found["spec"].get("engines")
    spec = dataclasses.replace(
        spec,
        hubs=sources,
        engines=None if engines is None else {name: tuple(value) for name, value in engines.items()},
    )
    family = dataclasses.replace(_build(ModelFamily, found["family"]), specs=(spec,))
    return Plan(
        Variant(family, spec, str(found["quantization"])),
        str(found["hub"]),
        str(found["model_id"]),
        str(found["revision"]),
        tuple(_build(PlannedFile, file) for file in found["files"]),
        Path(found["path"]),
        found["branch"],
        gated=found["gated"],
    )


def _source(found: Mapping[str, Any]) -> HubSource:
    source: HubSource = _build(HubSource, found)
    return dataclasses.replace(source, parts={name: tuple(parts) for name, parts in found["parts"].items()})


def _build(kind: Any, found: Mapping[str, Any]) -> Any:
    """A value from its fields, lists as tuples; fields of a later version are left out."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in found.items() if name in names})
