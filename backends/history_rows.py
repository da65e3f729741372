"""Conversations as rows of the history, and rows as conversations."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from backends.conversation import Conversation, Node, Spot, first_words
from backends.engines.engine import Alternative
from backends.history_schema import has_words

Change = Callable[[sqlite3.Connection], None]
_DETAILS: Final = (
    "reasoning_tokens",
    "decoded_tokens",
    "tokens_per_second",
    "first_seconds",
    "stop_reason",
    "error",
)


@dataclass(frozen=True, slots=True)
class Summary:
    """One conversation in a list."""

    id: str
    name: str
    """Its title, or its first words."""
    model: str
    kind: str
    pinned: bool
    updated: float
    """Seconds since 1970."""
    turns: int
    excerpt: str = ""
    """Where the words that were searched for stand; empty without a search."""


def together(database: sqlite3.Connection, changes: list[Change]) -> None:
    """All of them, or none."""
    database.execute("BEGIN IMMEDIATE")
    try:
        for change in changes:
            change(database)
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def do(database: sqlite3.Connection, statement: str, *values: object) -> None:
    database.execute(statement, values)


def storable(text: str) -> str:
    """Lone surrogates, which no UTF-8 can hold, as the sign for what is broken."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def save(database: sqlite3.Connection, c: Conversation) -> None:
    do(
        database,
        "INSERT INTO conversations (id, title, system, kind, model, leaf, created, updated, pinned, dropped)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET title = excluded.title,"
        " system = excluded.system, kind = excluded.kind, model = excluded.model, leaf = excluded.leaf,"
        " updated = excluded.updated, pinned = excluded.pinned, dropped = excluded.dropped",
        c.id,
        storable(c.title),
        storable(c.system),
        c.kind,
        c.model,
        c.leaf,
        c.created,
        c.updated,
        int(c.pinned),
        json.dumps(c.dropped),
    )


def save_node(database: sqlite3.Connection, conversation_id: str, node: Node) -> None:
    details = {name: value for name in _DETAILS if (value := getattr(node, name)) not in (None, "", 0)}
    do(
        database,
        "INSERT INTO nodes (id, conversation, parent, role, text, reasoning, model, created, details)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET text = excluded.text,"
        " reasoning = excluded.reasoning, model = excluded.model, details = excluded.details",
        node.id,
        conversation_id,
        node.parent,
        node.role,
        storable(node.text),
        storable(node.reasoning),
        node.model,
        node.created,
        json.dumps(details),
    )
    do(database, "DELETE FROM pieces WHERE node = ?", node.id)
    do(database, "DELETE FROM spots WHERE node = ?", node.id)
    add_spots(database, node.id, node.spots)


def add_spots(database: sqlite3.Connection, node_id: str, spots: Sequence[Spot]) -> None:
    """Keep more of a turn's tokens with their alternatives."""
    if spots:
        told = [[s.offset, s.text, [[a.text, a.token, round(a.logprob, 4)] for a in s.alternatives]] for s in spots]
        do(database, "INSERT INTO spots (node, tokens) VALUES (?, ?)", node_id, json.dumps(told))


def spots_of(database: sqlite3.Connection, conversation_id: str) -> dict[str, tuple[Spot, ...]]:
    """The tokens with alternatives, by turn."""
    found: dict[str, list[Spot]] = {}
    for row in database.execute(
        "SELECT s.node, s.tokens FROM spots s JOIN nodes n ON n.id = s.node WHERE n.conversation = ? ORDER BY s.number",
        (conversation_id,),
    ):
        found.setdefault(row["node"], []).extend(
            Spot(offset, text, tuple(Alternative(*one) for one in alternatives))
            for offset, text, alternatives in json.loads(row["tokens"])
        )
    return {name: tuple(spots) for name, spots in found.items()}


def forget_nodes(database: sqlite3.Connection, node_ids: Iterable[str]) -> None:
    """Take turns away with all that belongs to them."""
    names = [(name,) for name in node_ids]
    for table, column in (("nodes", "id"), ("pieces", "node"), ("spots", "node")):
        database.executemany(f"DELETE FROM {table} WHERE {column} = ?", names)  # noqa: S608


def forget_conversation(database: sqlite3.Connection, conversation_id: str) -> None:
    """Take a conversation away with all its turns."""
    rows = database.execute("SELECT id FROM nodes WHERE conversation = ?", (conversation_id,)).fetchall()
    forget_nodes(database, [row["id"] for row in rows])
    do(database, "DELETE FROM drafts WHERE conversation = ?", conversation_id)
    do(database, "DELETE FROM conversations WHERE id = ?", conversation_id)


def node_of(row: sqlite3.Row, more: Iterable[tuple[str, str]], spots: tuple[Spot, ...] = ()) -> Node:
    details = {k: v for k, v in json.loads(row["details"]).items() if k in _DETAILS}
    text, reasoning = row["text"], row["reasoning"]
    for piece, thought in more:
        text += piece
        reasoning += thought
    return Node(
        row["id"], row["parent"], row["role"], text, reasoning, row["model"], row["created"], **details, spots=spots
    )


LIST: Final = (
    "SELECT c.id, c.title, c.model, c.kind, c.pinned, c.updated,"
    " (SELECT count(*) FROM nodes n WHERE n.conversation = c.id) AS turns FROM conversations c"
)


def summary(database: sqlite3.Connection, row: sqlite3.Row) -> Summary:
    name = row["title"]
    if not name:
        first = database.execute(
            "SELECT substr(text, 1, 400) AS text FROM nodes WHERE conversation = ? AND text <> ''"
            " ORDER BY number LIMIT 1",
            (row["id"],),
        ).fetchone()
        name = first_words([Node("", None, "user", first["text"])] if first else [])
    return Summary(row["id"], name, row["model"], row["kind"], bool(row["pinned"]), row["updated"], row["turns"])


def search_turns(database: sqlite3.Connection, words: list[str]) -> dict[str, str]:
    """Conversations with a turn or a title in which all words occur, with an excerpt."""
    found: dict[str, str] = {}
    like = " AND ".join(["c.title LIKE ? ESCAPE '\\'"] * len(words))
    patterns = [f"%{escaped(word)}%" for word in words]
    for row in database.execute(f"SELECT c.id FROM conversations c WHERE {like}", patterns):  # noqa: S608
        found[row["id"]] = ""
    if has_words(database):
        quoted = " ".join('"' + word.replace('"', '""') + '"*' for word in words)
        rows = database.execute(
            "SELECT n.conversation AS id, snippet(words, 0, '', '', '…', 12) AS excerpt FROM words"
            " JOIN nodes n ON n.number = words.rowid WHERE words MATCH ? ORDER BY rank LIMIT 2000",
            (quoted,),
        )
    else:
        like = " AND ".join(["n.text LIKE ? ESCAPE '\\'"] * len(words))
        rows = database.execute(
            f"SELECT n.conversation AS id, substr(n.text, 1, 120) AS excerpt FROM nodes n WHERE {like}"  # noqa: S608
            " ORDER BY n.number DESC LIMIT 2000",
            patterns,
        )
    for row in rows:
        if not found.get(row["id"]):
            found[row["id"]] = " ".join(row["excerpt"].split())
    return found


def escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
