"""Conversations as trees."""

from __future__ import annotations

from backends.conversation import Conversation, conversation, node
from backends.engines.engine import Turn


def talk(*texts: str) -> Conversation:
    c = conversation()
    for n, text in enumerate(texts):
        c = c.append(node("assistant" if n % 2 else "user", text, c.leaf))
    return c


def texts(c: Conversation) -> list[str]:
    return [n.text for n in c.path()]


def test_an_edited_turn_begins_a_branch_of_its_own() -> None:
    c = talk("a", "b", "c", "d")
    edited = c.edit(c.path()[2].id, "c2")
    assert texts(edited) == ["a", "b", "c2"]
    assert texts(edited.walk(edited.leaf or "", -1)) == ["a", "b", "c", "d"]


def test_even_the_first_turn_can_be_edited() -> None:
    c = talk("a", "b")
    assert texts(c.edit(c.path()[0].id, "z")) == ["z"]


def test_walking_ends_at_the_last_sibling() -> None:
    c = talk("a", "b")
    assert c.walk(c.leaf or "", 1) is c


def test_walking_goes_to_where_the_other_branch_was_left() -> None:
    c = talk("a", "b", "c", "d")
    first = c.path()[0]
    c = c.edit(first.id, "z")
    assert texts(c.walk(c.leaf or "", -1)) == ["a", "b", "c", "d"]


def test_deleting_takes_everything_after_it_along() -> None:
    c = talk("a", "b", "c", "d")
    assert texts(c.delete(c.path()[2].id)) == ["a", "b"]
    assert len(c.delete(c.path()[0].id).nodes) == 0


def test_deleting_a_branch_stands_on_its_sibling() -> None:
    c = talk("a", "b", "c")
    c = c.edit(c.path()[2].id, "c2")
    assert texts(c.delete(c.leaf or "")) == ["a", "b", "c"]


def test_the_engine_gets_the_system_prompt_and_one_branch_without_the_turns_left_out() -> None:
    from dataclasses import replace

    c = talk("a", "b", "c")
    c = replace(c, system="Be brief", dropped=(c.path()[0].id,))
    assert c.turns() == (Turn("system", "Be brief"), Turn("assistant", "b"), Turn("user", "c"))


def test_a_conversation_is_called_by_its_first_words() -> None:
    assert talk("Why  is\nthe sky blue?").name == "Why is the sky blue?"
    assert len(talk("word " * 100).name) <= 60
    assert conversation().name == "nothing said yet"


def test_places_count_siblings() -> None:
    c = talk("a", "b")
    c = c.edit(c.path()[1].id, "b2")
    assert c.place(c.leaf or "") == (2, 2)
    assert c.places()[c.leaf or ""] == (2, 2)
