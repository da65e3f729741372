"""Conversations out of the program and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backends.conversation import Spot, conversation, node
from backends.engines.engine import Alternative
from backends.exports import ImportRefused, from_json, read, to_json, to_markdown


def test_json_brings_every_branch_back_under_new_ids() -> None:
    c = conversation(system="Be brief")
    c = c.append(node("user", "Why?"))
    c = c.append(node("assistant", "Because.", c.leaf, reasoning="hm", tokens_per_second=3.5))
    c = c.edit(c.path()[0].id, "How?")
    back = from_json(to_json(c))
    assert [(n.role, n.text, n.reasoning) for n in back.nodes] == [(n.role, n.text, n.reasoning) for n in c.nodes]
    assert [n.text for n in back.path()] == ["How?"]
    assert back.system == "Be brief"
    assert not {n.id for n in back.nodes} & {n.id for n in c.nodes}


def test_markdown_reads_like_the_conversation() -> None:
    c = conversation(model="m")
    c = c.append(node("user", "Why?"))
    c = c.append(node("assistant", "Because.", c.leaf, reasoning="hm\nwell"))
    text = to_markdown(replace(c, created=0.0))
    assert text == (
        "# Why?\n\nm · 1970-01-01 00:00 UTC\n\n## You\n\nWhy?\n\n## Model\n\n"
        "> *thinking*\n>\n> hm\n> well\n\nBecause.\n"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "no conversation"),
        ({"version": 99}, "later version"),
        ({"nodes": "x"}, "list of turns"),
        ({"nodes": [{"id": "a", "role": "king", "text": ""}]}, "role"),
        ({"nodes": [{"id": "a", "role": "user", "parent": "b", "text": ""}]}, "does not stand before"),
        ({"nodes": [{"id": "a", "role": "user", "text": 5}]}, "must be a text"),
        ({"nodes": [{"id": "a", "role": "user", "text": "", "created": "now"}]}, "wrong type"),
        ({"nodes": [{"role": "user"}]}, "no id"),
        ({"nodes": [{"id": "a", "role": "user", "text": "", "spots": [{"offset": 0}]}]}, "spots must be"),
    ],
)
def test_a_file_that_is_no_conversation_is_refused_with_a_sentence(change: dict[str, object], words: str) -> None:
    document = {**json.loads(to_json(conversation())), **change}
    with pytest.raises(ImportRefused, match=words):
        from_json(json.dumps(document))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="cannot be read"):
        read(tmp_path / "none.json")
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(ImportRefused, match="UTF-8"):
        read(tmp_path / "latin")
    with pytest.raises(ImportRefused, match="no JSON"):
        from_json("[" * 100_000)


def test_alternatives_of_a_completion_are_exported_and_brought_back() -> None:
    spots = (Spot(0, " sun", (Alternative(" sun", 4, -0.5), Alternative(" moon", 5, -1.25))),)
    made = conversation("completion").append(node("assistant", " sun", spots=spots))
    assert from_json(to_json(made)).nodes[0].spots == spots
