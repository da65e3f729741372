"""What the reader of an answer sees of a model's thinking."""

from __future__ import annotations

import pytest

from backends.engines.reasoning import Part, ReasoningSplitter, joined, split


def streamed(text: str, step: int, tags: tuple[str, str] | None = None, *, inside: bool = False) -> list[Part]:
    splitter = ReasoningSplitter(tags, inside=inside)
    parts: list[Part] = []
    for at in range(0, len(text), step):
        parts += splitter.feed(text[at : at + step])
    return parts + splitter.finish()


HARMONY = (
    "<|channel|>analysis<|message|>The user greets. Greet back.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Hello!<|return|>"
)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1000])
@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("<think>\nTwo and two.\n</think>\n\nFour.", "Two and two.", "Four."),
        ("<think>\n\n</think>\n\nFour.", None, "Four."),
        ("Two and two.\n</think>\n\nFour.", "Two and two.", "Four."),
        ("\n<think>a < b\n\nand c</think>d", "a < b\n\nand c", "d"),
        ("[THINK]hm[/THINK]Oui.", "hm", "Oui."),
        (HARMONY, "The user greets. Greet back.", "Hello!"),
        ("analysisThe user greets.assistantfinalHello!", "The user greets.", "Hello!"),
        ("analysis of the text: it is long", None, "analysis of the text: it is long"),
        ("The tag `<think>` opens and `</think>` closes.", None, "The tag `<think>` opens and `</think>` closes."),
        ("if a <think then b", None, "if a <think then b"),
        ("  indented\n  answer\n", None, "  indented\n  answer\n"),
        ("<think>cut off in the mid", "cut off in the mid", ""),
        ("ends with <thi", None, "ends with <thi"),
    ],
)
def test_thinking_and_answer_are_told_apart_however_the_text_is_cut(
    text: str, thinking: str | None, answer: str, step: int
) -> None:
    assert joined(streamed(text, step)) == (thinking, answer)


@pytest.mark.parametrize("step", [1, 4, 1000])
def test_a_prompt_that_opened_the_thinking_makes_all_text_before_the_closing_tag_thinking(step: int) -> None:
    parts = streamed("Let me see.\n</think>\n\nYes.", step, inside=True)
    assert not any(part.closes for part in parts)
    assert next(part.reasoning for part in parts if part.text)
    assert joined(parts) == ("Let me see.", "Yes.")


def test_a_family_may_name_tags_of_its_own() -> None:
    assert joined(streamed("<ponder>x</ponder>y", 1, ("<ponder>", "</ponder>"))) == ("x", "y")


def test_a_late_closing_tag_says_that_what_came_before_was_thinking() -> None:
    splitter = ReasoningSplitter()
    assert splitter.feed("Let me see.") == [Part("Let me see.", reasoning=False)]
    assert Part("", reasoning=True, closes=True) in splitter.feed("\n</think>\nYes.")


def test_text_without_tags_is_handed_on_at_once() -> None:
    splitter = ReasoningSplitter()
    assert splitter.feed("Hello") == [Part("Hello", reasoning=False)]


def test_a_whole_text_splits_in_one_call() -> None:
    assert split("<think>a</think>b") == ("a", "b")
    assert split("plain") == (None, "plain")
