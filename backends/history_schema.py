"""The tables of the history, each version made from the one before."""

from __future__ import annotations

import sqlite3
from typing import Final

MIGRATIONS: Final[tuple[str, ...]] = (
    # 1: trees of turns; pieces are text that was shown and not yet joined to its turn
    """
    CREATE TABLE conversations (
        id TEXT PRIMARY KEY, title TEXT NOT NULL DEFAULT '', system TEXT NOT NULL DEFAULT '',
        kind TEXT NOT NULL DEFAULT 'chat', model TEXT NOT NULL DEFAULT '', leaf TEXT,
        created REAL NOT NULL, updated REAL NOT NULL);
    CREATE TABLE nodes (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        conversation TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
        parent TEXT, role TEXT NOT NULL, text TEXT NOT NULL DEFAULT '', reasoning TEXT NOT NULL DEFAULT '',
        model TEXT NOT NULL DEFAULT '', created REAL NOT NULL, details TEXT NOT NULL DEFAULT '{}');
    CREATE INDEX nodes_by_conversation ON nodes(conversation, number);
    CREATE TABLE pieces (
        number INTEGER PRIMARY KEY, node TEXT NOT NULL,
        text TEXT NOT NULL DEFAULT '', reasoning TEXT NOT NULL DEFAULT '');
    CREATE INDEX pieces_by_node ON pieces(node, number);
    """,
    # 2: pins, turns that are left out of the context, measurements of variants
    """
    ALTER TABLE conversations ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE conversations ADD COLUMN dropped TEXT NOT NULL DEFAULT '[]';
    CREATE INDEX conversations_by_time ON conversations(pinned, updated);
    CREATE TABLE measurements (
        number INTEGER PRIMARY KEY, variant TEXT NOT NULL, engine TEXT NOT NULL, kind TEXT NOT NULL,
        created REAL NOT NULL, details TEXT NOT NULL DEFAULT '{}');
    CREATE INDEX measurements_by_variant ON measurements(variant, engine, kind);
    """,
    # 3: what was typed and not sent; the empty key is the draft of a conversation that has not begun
    """
    CREATE TABLE drafts (conversation TEXT PRIMARY KEY, text TEXT NOT NULL);
    """,
    # 4: tokens of completions with what could have stood there, as JSON lists of [offset, text, alternatives]
    """
    CREATE TABLE spots (number INTEGER PRIMARY KEY, node TEXT NOT NULL, tokens TEXT NOT NULL);
    CREATE INDEX spots_by_node ON spots(node, number);
    """,
)
VERSION: Final = len(MIGRATIONS)

_SEARCH: Final = """
    CREATE VIRTUAL TABLE words USING fts5(text, content='nodes', content_rowid='number');
    CREATE TRIGGER words_new AFTER INSERT ON nodes BEGIN
        INSERT INTO words(rowid, text) VALUES (new.number, new.text); END;
    CREATE TRIGGER words_gone AFTER DELETE ON nodes BEGIN
        INSERT INTO words(words, rowid, text) VALUES ('delete', old.number, old.text); END;
    CREATE TRIGGER words_changed AFTER UPDATE OF text ON nodes BEGIN
        INSERT INTO words(words, rowid, text) VALUES ('delete', old.number, old.text);
        INSERT INTO words(rowid, text) VALUES (new.number, new.text); END;
    INSERT INTO words(words) VALUES ('rebuild');
"""


def migrate(database: sqlite3.Connection) -> None:
    """Bring the tables to this version, one step at a time, each whole or not at all."""
    while True:
        # Immediate: of two programs that start at once, one migrates and the other finds it done.
        database.execute("BEGIN IMMEDIATE")
        version: int = database.execute("PRAGMA user_version").fetchone()[0]
        if version >= VERSION:
            database.execute("COMMIT")
            break
        try:
            for statement in statements(MIGRATIONS[version]):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {version + 1}")
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise
    _index_words(database)


def has_words(database: sqlite3.Connection) -> bool:
    """Whether the full-text index is there; without FTS5 the search reads every turn."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone() is not None


def _index_words(database: sqlite3.Connection) -> None:
    if has_words(database):
        return
    try:
        database.execute("BEGIN IMMEDIATE")
        if not has_words(database):
            for statement in statements(_SEARCH):
                database.execute(statement)
        database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        if "fts5" not in str(error):
            raise


def statements(script: str) -> list[str]:
    """The statements of a script; a trigger's body stays whole."""
    found: list[str] = []
    pending = ""
    for part in script.split(";"):
        pending += part + ";"
        if sqlite3.complete_statement(pending):
            if pending.strip(" \n;"):
                found.append(pending.strip())
            pending = ""
    return found
