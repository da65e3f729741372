"""What loads really took on this machine, and how that corrects the estimates."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backends import home
from backends.fit import Correction, Speed
from backends.history_database import journal_aside
from backends.machine.model import Machine

KEPT: Final = 20
"""Latest loads that a correction is made from."""
SENSIBLE: Final = (0.2, 5.0)
"""Measured over predicted; beyond this the measurement met something else than the load."""
WAIT_SECONDS: Final = 5.0
"""How long one process waits for another that writes."""

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS loads (
        id INTEGER PRIMARY KEY, machine TEXT NOT NULL, engine TEXT NOT NULL, format TEXT NOT NULL,
        variant TEXT NOT NULL, context INTEGER NOT NULL, predicted_bytes INTEGER, measured_bytes INTEGER,
        tokens_per_second REAL, created REAL NOT NULL)
"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS loads_by_machine ON loads(machine, engine, format, id)"


@dataclass(frozen=True, slots=True)
class Load:
    """One load as it went."""

    engine: str
    format: str
    variant: str
    """The variant's key."""
    context: int
    predicted_bytes: int | None
    """What the uncorrected estimate said of the same parts that were measured; None: it was not asked."""
    measured_bytes: int | None
    """None: the engine does not tell."""
    tokens_per_second: float | None = None


def fingerprint(machine: Machine) -> str:
    """A name of this hardware that stays the same while it does: processor, memory, accelerators."""
    parts = [machine.os, machine.arch, machine.cpu.name or "", str((machine.memory.total_bytes or 0) >> 30)]
    parts += sorted(f"{one.kind}:{one.name}:{(one.total_bytes or 0) >> 30}" for one in machine.accelerators)
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _database(path: Path | None) -> Iterator[sqlite3.Connection]:
    file = path or home.database_file()
    home.private_folder(file.parent)
    home.database_privately(file)  # it holds the conversations too
    database = sqlite3.connect(file, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        # Readers do not wait for a writer; two programs may have the same file open.
        journal_aside(database)
        database.execute(_TABLE)
        database.execute(_INDEX)
        yield database
    finally:
        database.close()


def record(machine: Machine, load: Load, *, path: Path | None = None) -> None:
    """Keep what a load took."""
    with _database(path) as database:
        database.execute(
            "INSERT INTO loads (machine, engine, format, variant, context, predicted_bytes, measured_bytes,"
            " tokens_per_second, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                fingerprint(machine),
                load.engine,
                load.format,
                load.variant,
                load.context,
                load.predicted_bytes,
                load.measured_bytes,
                load.tokens_per_second,
                time.time(),
            ),
        )


def corrections(machine: Machine, *, path: Path | None = None) -> dict[tuple[str, str], Correction]:
    """The correction of every engine and format that was loaded here, ready for options()."""
    file = path or home.database_file()
    if not file.exists():
        return {}
    loads: dict[tuple[str, str], list[tuple[int, int]]] = {}
    with _database(path) as database:
        rows = database.execute(
            "SELECT engine, format, predicted_bytes, measured_bytes FROM loads WHERE machine = ?"
            " AND predicted_bytes > 0 AND measured_bytes > 0 ORDER BY id DESC LIMIT 2000",
            (fingerprint(machine),),
        ).fetchall()
    for engine, name, predicted, measured in rows:
        kept = loads.setdefault((engine, name), [])
        if SENSIBLE[0] <= measured / predicted <= SENSIBLE[1] and len(kept) < KEPT:
            kept.append((predicted, measured))
    return {key: Correction(tuple(kept)) for key, kept in loads.items() if kept}


def correction(machine: Machine, engine: str, format_name: str, *, path: Path | None = None) -> Correction | None:
    """The correction of one engine and format here; None: nothing was loaded yet."""
    return corrections(machine, path=path).get((engine, format_name))


def speeds(machine: Machine, *, path: Path | None = None) -> dict[tuple[str, str], Speed]:
    """The latest measured decode speed by variant key and engine."""
    file = path or home.database_file()
    if not file.exists():
        return {}
    with _database(path) as database:
        rows = database.execute(
            "SELECT variant, engine, tokens_per_second FROM loads WHERE machine = ? AND tokens_per_second > 0"
            " ORDER BY id",
            (fingerprint(machine),),
        ).fetchall()
    return {(variant, engine): Speed(value, "measured") for variant, engine, value in rows}


def clear(
    machine: Machine | None = None,
    *,
    engine: str | None = None,
    format_name: str | None = None,
    path: Path | None = None,
) -> int:
    """Forget loads, all or those of a machine, engine and format; how many there were."""
    file = path or home.database_file()
    if not file.exists():
        return 0
    conditions, values = ["1 = 1"], []
    for column, value in (
        ("machine", fingerprint(machine) if machine else None),
        ("engine", engine),
        ("format", format_name),
    ):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    with _database(path) as database:
        cursor = database.execute(f"DELETE FROM loads WHERE {' AND '.join(conditions)}", values)  # noqa: S608 ours
        return int(cursor.rowcount)
