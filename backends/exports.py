"""Conversations as files: Markdown to read, JSON to take elsewhere and bring back."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args

from backends.conversation import Conversation, Node, Spot, fresh_id
from backends.engines.engine import Alternative, Role
from backends.errors import BackendError

FORMAT: Final = "modeldeck-conversation"
FORMAT_VERSION: Final = 1
LARGEST_IMPORT_BYTES: Final = 256 << 20


class ImportRefused(BackendError):
    """A file that is no conversation; the text says why."""


def to_markdown(conversation: Conversation) -> str:
    """The branch that is shown, as one reads it."""
    when = datetime.fromtimestamp(conversation.created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"# {conversation.name}", f"{conversation.model or 'no model'} · {when}"]
    if conversation.kind == "completion":
        parts.append("".join(n.text for n in conversation.path()))
        return "\n\n".join(parts) + "\n"
    if conversation.system:
        parts += ["## System", conversation.system]
    for n in conversation.path():
        parts.append({"user": "## You", "assistant": "## Model", "system": "## System"}[n.role])
        if n.reasoning.strip():
            quoted = "\n".join(f"> {line}".rstrip() for line in n.reasoning.strip().splitlines())
            parts.append(f"> *thinking*\n>\n{quoted}")
        parts.append(n.text.strip())
    return "\n\n".join(parts) + "\n"


def to_json(conversation: Conversation) -> str:
    """All branches, with everything that is known of each turn."""
    document = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(conversation)}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def from_json(text: str) -> Conversation:
    """A conversation out of such a file, under IDs of its own so that nothing here is overwritten.

    Raises:
        ImportRefused: with the sentence that says what is wrong.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"the file is no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ImportRefused(f'the file is no conversation of modeldeck: "format" is not "{FORMAT}"')
    if not isinstance(document.get("version"), int) or document["version"] > FORMAT_VERSION:
        raise ImportRefused("the file was written by a later version of modeldeck")
    nodes = document.get("nodes")
    if not isinstance(nodes, list):
        raise ImportRefused('"nodes" must be a list of turns')
    names: dict[str, str] = {}
    made: list[Node] = []
    for place, item in enumerate(nodes, 1):
        made.append(_node(item, place, names))
    leaf = document.get("leaf")
    dropped = document.get("dropped")
    return Conversation(
        fresh_id(),
        _text(document, "title", "the conversation"),
        tuple(made),
        names.get(leaf, made[-1].id if made else None) if isinstance(leaf, str) else (made[-1].id if made else None),
        _text(document, "system", "the conversation"),
        "completion" if document.get("kind") == "completion" else "chat",
        _text(document, "model", "the conversation"),
        document.get("pinned") is True,
        _number(document, "created"),
        _number(document, "updated"),
        tuple(names[d] for d in dropped if isinstance(d, str) and d in names) if isinstance(dropped, list) else (),
    )


def read(path: Path) -> Conversation:
    """A conversation out of a JSON file.

    Raises:
        ImportRefused: with the sentence that says what is wrong.
    """
    try:
        if path.stat().st_size > LARGEST_IMPORT_BYTES:
            raise ImportRefused(f"{path} is larger than {LARGEST_IMPORT_BYTES >> 20} MiB")
        return from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ImportRefused(f"{path} is not UTF-8") from error


def _node(item: Any, place: int, names: dict[str, str]) -> Node:
    what = f"turn {place}"
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise ImportRefused(f"{what} has no id")
    if item.get("role") not in get_args(Role):
        raise ImportRefused(f"{what} has the role {item.get('role')!r}; expected system, user or assistant")
    parent = item.get("parent")
    if parent is not None and (not isinstance(parent, str) or parent not in names):
        raise ImportRefused(f"{what} follows a turn that does not stand before it")
    if item["id"] in names:
        raise ImportRefused(f"{what} has the id of an earlier turn")
    names[item["id"]] = fresh_id()
    more: dict[str, Any] = {}
    for known in fields(Node):
        value = item.get(known.name)
        if known.name in {"id", "parent", "role", "text", "spots"} or value is None:
            continue
        expected = (str,) if known.name in {"reasoning", "model", "stop_reason", "error"} else (int, float)
        if isinstance(value, bool) or not isinstance(value, expected):
            raise ImportRefused(f"{what}: {known.name} has a wrong type")
        more[known.name] = value
    text = _text(item, "text", what)
    more["spots"] = _spots(item.get("spots") or [], what)
    return Node(names[item["id"]], names.get(parent) if parent else None, item["role"], text, **more)


def _spots(told: Any, what: str) -> tuple[Spot, ...]:
    """Tokens with what could have stood there."""
    try:
        return tuple(
            Spot(
                int(one["offset"]),
                str(one["text"]),
                tuple(Alternative(str(a["text"]), int(a["token"]), float(a["logprob"])) for a in one["alternatives"]),
            )
            for one in told
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ImportRefused(f"{what}: spots must be tokens with their alternatives") from error


def _text(document: dict[str, Any], name: str, what: str) -> str:
    value = document.get(name, "")
    if not isinstance(value, str):
        raise ImportRefused(f"{what}: {name} must be a text")
    return value


def _number(document: dict[str, Any], name: str) -> float:
    value = document.get(name, 0.0)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
