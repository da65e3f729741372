"""Conversations on this disk: what was shown is kept within a second, whatever ends the program."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from backends import home
from backends.conversation import Conversation, Node, Spot
from backends.errors import NotFound
from backends.history_database import BUSY_SECONDS, REFUSED, HistoryError, connect, usable_database
from backends.history_rows import (
    LIST,
    Change,
    Summary,
    add_spots,
    do,
    forget_conversation,
    forget_nodes,
    node_of,
    save,
    save_node,
    search_turns,
    spots_of,
    storable,
    summary,
    together,
)

logger = logging.getLogger("modeldeck")

BATCH_SECONDS: Final = 0.25
"""How long changes are collected before they are written together."""
RETRY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one variant with one engine."""

    variant: str
    """The variant's key."""
    engine: str
    kind: str
    """"bench" or "load"."""
    details: dict[str, Any]
    created: float = 0.0


Trouble = Callable[[str | None], None]
"""Told what keeps the history from being written, and None when it is written again; from the writer's thread."""


class History:
    """One database. Changes are queued and written by a thread of their own; reading is done by the caller's."""

    def __init__(
        self, path: Path | None = None, on_trouble: Trouble | None = None, on_note: Callable[[str], None] | None = None
    ) -> None:
        """Opening is the writer's first work, so that nobody waits for it.

        Args:
            path: None: the user's own database.
            on_note: Told when another database than the wanted one is used; from the writer's thread.
        """
        self._path = path or home.database_file()
        self._note: str | None = None
        self._opened = threading.Event()
        self._on_note = on_note
        self.on_trouble = on_trouble
        self._queue: queue.SimpleQueue[Change | threading.Event | None] = queue.SimpleQueue()
        self._pending: list[Change] = []
        self._closing = threading.Event()
        self._troubled = False
        self._thread = threading.Thread(target=self._write, name="history", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The database that is used, once it is open."""
        self._opened.wait(BUSY_SECONDS)
        return self._path

    @property
    def note(self) -> str | None:
        """Which database is damaged and where conversations go instead; None: all is well."""
        self._opened.wait(BUSY_SECONDS)
        return self._note

    # -- changes; each returns at once

    def save(self, conversation: Conversation) -> None:
        """Keep what a conversation is called, with whom it is held and where it stands; not its turns."""
        self._queue.put(lambda database: save(database, conversation))

    def save_node(self, conversation_id: str, node: Node) -> None:
        """Keep a turn as it is now; what was appended to it before is in it."""
        self._queue.put(lambda database: save_node(database, conversation_id, node))

    def append(self, node_id: str, text: str, reasoning: str = "", spots: tuple[Spot, ...] = ()) -> None:
        """Keep more of a turn's text, at a cost that does not grow with the turn."""
        self._queue.put(_Piece(node_id, text, reasoning, spots))

    def save_all(self, conversation: Conversation) -> None:
        """Keep a conversation with all its turns."""
        self.save(conversation)
        nodes = conversation.nodes

        def change(database: sqlite3.Connection) -> None:
            for node in nodes:
                save_node(database, conversation.id, node)

        self._queue.put(change)

    def delete_nodes(self, node_ids: Iterable[str]) -> None:
        """Forget turns."""
        names = tuple(node_ids)
        self._queue.put(lambda database: forget_nodes(database, names))

    def delete(self, conversation_id: str) -> None:
        """Forget a conversation with all its turns."""
        self._queue.put(lambda database: forget_conversation(database, conversation_id))

    def rename(self, conversation_id: str, title: str) -> None:
        """Give a conversation a title; empty: its first words again."""
        self._queue.put(
            lambda database: do(database, "UPDATE conversations SET title = ? WHERE id = ?", title, conversation_id)
        )

    def pin(self, conversation_id: str, pinned: bool) -> None:
        """Keep a conversation at the top of the list, or no more."""
        self._queue.put(
            lambda database: do(
                database, "UPDATE conversations SET pinned = ? WHERE id = ?", int(pinned), conversation_id
            )
        )

    def measured(self, measurement: Measurement) -> None:
        """Keep a measurement."""
        created = measurement.created or time.time()
        values = (measurement.variant, measurement.engine, measurement.kind, created, json.dumps(measurement.details))
        self._queue.put(
            lambda database: do(
                database,
                "INSERT INTO measurements (variant, engine, kind, created, details) VALUES (?, ?, ?, ?, ?)",
                *values,
            )
        )

    def save_draft(self, conversation_id: str, text: str) -> None:
        """Keep what was typed and not sent; an empty text forgets it. No ID: of a conversation not yet begun."""

        def change(database: sqlite3.Connection) -> None:
            if text:
                do(database, "INSERT OR REPLACE INTO drafts VALUES (?, ?)", conversation_id, storable(text))
            else:
                do(database, "DELETE FROM drafts WHERE conversation = ?", conversation_id)

        self._queue.put(change)

    def draft(self, conversation_id: str) -> str:
        """What was typed and not sent; empty: nothing."""
        with self._reading() as database:
            row = database.execute("SELECT text FROM drafts WHERE conversation = ?", (conversation_id,)).fetchone()
        return str(row[0]) if row is not None else ""

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until everything so far is on the disk; False: it is not yet."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(seconds)

    def close(self, seconds: float = 2.0) -> bool:
        """Write what there is and stop; False: something could not be written."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive() and not self._pending

    # -- reading

    def conversations(self, query: str = "", limit: int = 500) -> tuple[Summary, ...]:
        """The conversations in which all words occur, pinned ones first, then the latest.

        Raises:
            HistoryError: the database cannot be read.
        """
        with self._reading() as database:
            words = query.split()
            if not words:
                rows = database.execute(f"{LIST} ORDER BY c.pinned DESC, c.updated DESC LIMIT ?", (limit,))
                return tuple(summary(database, row) for row in rows.fetchall())
            found = search_turns(database, words)
            names = list(found)[: limit * 2]
            marks = ",".join("?" * len(names))
            rows = database.execute(
                f"{LIST} WHERE c.id IN ({marks}) ORDER BY c.pinned DESC, c.updated DESC LIMIT ?",
                (*names, limit),
            )
            return tuple(replace(summary(database, row), excerpt=found[row["id"]]) for row in rows.fetchall())

    def load(self, conversation_id: str) -> Conversation:
        """A conversation with all its turns; the ID's first letters do where they are unique.

        Raises:
            NotFound: there is none.
        """
        with self._reading() as database:
            escaped = conversation_id.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            rows = database.execute(
                "SELECT * FROM conversations WHERE id = ? OR id LIKE ? ESCAPE '\\' LIMIT 2",
                (conversation_id, f"{escaped}%"),
            ).fetchall()
            exact = [row for row in rows if row["id"] == conversation_id] or rows
            if len(exact) != 1 or not conversation_id:
                if len(exact) > 1:
                    raise NotFound(
                        f"several conversations in {self.path} begin with {conversation_id!r}; give more of the ID"
                    )
                raise NotFound(
                    f"there is no conversation {conversation_id!r} in {self.path}; "
                    "the chat's history (f3) shows the ID of each"
                )
            row = exact[0]
            more: dict[str, list[tuple[str, str]]] = {}
            for piece in database.execute(
                "SELECT p.node, p.text, p.reasoning FROM pieces p JOIN nodes n ON n.id = p.node"
                " WHERE n.conversation = ? ORDER BY p.number",
                (row["id"],),
            ):
                more.setdefault(piece["node"], []).append((piece["text"], piece["reasoning"]))
            spots = spots_of(database, row["id"]) if row["kind"] == "completion" else {}
            nodes = tuple(
                node_of(found, more.get(found["id"], ()), spots.get(found["id"], ()))
                for found in database.execute(
                    "SELECT * FROM nodes WHERE conversation = ? ORDER BY number", (row["id"],)
                )
            )
            return Conversation(
                row["id"],
                row["title"],
                nodes,
                row["leaf"],
                row["system"],
                "completion" if row["kind"] == "completion" else "chat",
                row["model"],
                bool(row["pinned"]),
                row["created"],
                row["updated"],
                tuple(json.loads(row["dropped"])),
            )

    def recent_prompts(self, limit: int = 200) -> tuple[str, ...]:
        """What the user said last, oldest first, long ones left out."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT text FROM nodes WHERE role = 'user' AND length(text) BETWEEN 1 AND 4000"
                " ORDER BY number DESC LIMIT ?",
                (limit,),
            )
            return tuple(dict.fromkeys(row["text"] for row in rows))[::-1]

    def measurements(self, kind: str = "bench") -> tuple[Measurement, ...]:
        """Every measurement of a kind, oldest first."""
        with self._reading() as database:
            return tuple(
                Measurement(row["variant"], row["engine"], row["kind"], json.loads(row["details"]), row["created"])
                for row in database.execute("SELECT * FROM measurements WHERE kind = ? ORDER BY number", (kind,))
            )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self._opened.wait(BUSY_SECONDS):
            raise HistoryError(f"{self._path} cannot be opened yet")
        try:
            database = connect(self.path)
        except sqlite3.Error as error:
            raise HistoryError(f"{self.path} cannot be opened: {error}") from error
        try:
            yield database
        except sqlite3.Error as error:
            raise HistoryError(f"{self.path} cannot be read: {error}") from error
        finally:
            database.close()

    # -- the writer's thread

    def _write(self) -> None:
        database: sqlite3.Connection | None = None
        waiting: list[threading.Event] = []
        ended = False
        with contextlib.suppress(HistoryError):
            self._open()
        while not (ended and not self._pending):
            ended = self._collect(waiting) or ended
            try:
                self._open()
                if database is None:
                    database = connect(self._path)
                self._write_pending(database)
            except (sqlite3.Error, HistoryError) as error:
                self._say(f"the history is not written: {error}; nothing is lost while modeldeck runs, it tries again")
                if database is not None:
                    with contextlib.suppress(sqlite3.Error):
                        database.close()
                    database = None
                if self._closing.is_set():
                    break
                self._closing.wait(RETRY_SECONDS)
                continue
            self._say(None)
            for event in waiting:
                event.set()
            waiting.clear()
        if database is not None:
            database.close()

    def _open(self) -> None:
        if self._opened.is_set():
            return
        self._path, self._note = usable_database(self._path)
        self._opened.set()
        if self._note is not None and self._on_note is not None:
            self._on_note(self._note)

    def _collect(self, waiting: list[threading.Event]) -> bool:
        """Take changes until the batch is over; True: the last one was taken."""
        deadline: float | None = None if not self._pending else time.monotonic()
        while True:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                change = self._queue.get(timeout=left) if left != 0.0 else self._queue.get_nowait()
            except queue.Empty:
                return False
            if change is None:
                return True
            if isinstance(change, threading.Event):
                waiting.append(change)
                deadline = time.monotonic()
                continue
            if isinstance(change, _Piece) and self._pending and isinstance(self._pending[-1], _Piece):
                joined = self._pending[-1].joined(change)
                if joined is not None:
                    self._pending[-1] = joined
                    continue
            self._pending.append(change)
            if deadline is None:
                deadline = time.monotonic() + BATCH_SECONDS

    def _write_pending(self, database: sqlite3.Connection) -> None:
        if not self._pending:
            return
        try:
            together(database, self._pending)
        except REFUSED:
            # One change that the tables do not take must not keep the others out.
            for change in self._pending:
                try:
                    together(database, [change])
                except REFUSED:
                    logger.exception("a change of the history was refused")
        self._pending.clear()

    def _say(self, trouble: str | None) -> None:
        if (trouble is not None) == self._troubled:
            return
        self._troubled = trouble is not None
        if trouble is not None:
            logger.warning(trouble)
        if self.on_trouble is not None:
            self.on_trouble(trouble)


@dataclass(frozen=True, slots=True)
class _Piece:
    """More text of one turn."""

    node_id: str
    text: str
    reasoning: str
    spots: tuple[Spot, ...] = ()

    def __call__(self, database: sqlite3.Connection) -> None:
        do(
            database,
            "INSERT INTO pieces (node, text, reasoning) VALUES (?, ?, ?)",
            self.node_id,
            storable(self.text),
            storable(self.reasoning),
        )
        add_spots(database, self.node_id, self.spots)

    def joined(self, later: _Piece) -> _Piece | None:
        """Both as one; None: they belong to different turns."""
        if later.node_id != self.node_id:
            return None
        return _Piece(
            self.node_id, self.text + later.text, self.reasoning + later.reasoning, (*self.spots, *later.spots)
        )
