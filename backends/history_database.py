"""The history's database file: opened, looked through for damage, and begun beside a damaged one."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path
from typing import Final

from backends import home
from backends.errors import BackendError
from backends.history_schema import VERSION, migrate

logger = logging.getLogger("modeldeck")

BUSY_SECONDS: Final = 5.0
"""How long one program waits for another that writes."""
LOCKED_SECONDS: Final = 0.01
"""Between two tries for a lock that SQLite does not wait for."""
CHECKED_BYTES: Final = 64 << 20
"""Databases up to this size are looked through for damage when opened; that takes some 10 ms a MB at worst."""
MOST_DATABASES: Final = 9


class HistoryError(BackendError):
    """The history could not be read."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection as everybody here uses it."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    database.row_factory = sqlite3.Row
    # Normal: a crash of the machine may cost the last moments, a crash of the program costs nothing.
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")
    return database


def journal_aside(database: sqlite3.Connection) -> None:
    """Let readers go on beside a writer (WAL), in a new file too that two programs begin at once.

    SQLite does not wait for the lock that this change of a file takes, whatever the timeout is.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(LOCKED_SECONDS)


def usable_database(wanted: Path) -> tuple[Path, str | None]:
    """The first database of this name, or beside it, that can be used, and what is wrong with the others.

    A damaged one, or one of a later version, is never renamed, written or emptied.

    Raises:
        HistoryError: none can be used or made.
    """
    problems: list[str] = []
    for number in range(1, MOST_DATABASES + 1):
        path = wanted if number == 1 else wanted.with_stem(f"{wanted.stem}-{number}")
        problem = _prepare(path)
        if problem is None:
            if not problems:
                return path, None
            return path, f"{'; '.join(problems)}. It stays as it is; conversations are kept in {path} now"
        problems.append(problem)
    raise HistoryError(f"no history can be kept: {'; '.join(problems)}")


def _prepare(path: Path) -> str | None:
    """Make or open a database; what is wrong with it, or None."""
    try:
        home.private_folder(path.parent)
        home.database_privately(path)
    except OSError as error:
        raise HistoryError(f"{path} cannot be made: {error.strerror}") from error
    try:
        database = connect(path)
        try:
            version: int = database.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                return f"{path} was written by a later version of modeldeck"
            if path.stat().st_size <= CHECKED_BYTES:
                found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    return f"{path} is damaged: {' '.join(str(found).split())}"
            journal_aside(database)
            migrate(database)
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            words = str(error)
            if "full" in words or "locked" in words or "readonly" in words or "unable to open" in words:
                raise HistoryError(f"{path} cannot be opened: {words}") from error
        return f"{path} is damaged: {error}"
    return None


REFUSED: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
