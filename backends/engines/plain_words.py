"""Turns whose own words cannot be taken for control tokens: a user's "<|im_end|>" ends no turn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

from backends.engines.engine import Turn
from backends.engines.reasoning import USUAL_TAGS

_SEAMS: Final = tuple(chr(code) for code in range(0xFDD0, 0xFDF0))
"""Noncharacters of Unicode: no tokenizer's vocabulary and no honest text holds one."""
_TAGS: Final = frozenset(tag for pair in USUAL_TAGS for tag in pair)


def guarded(turns: Sequence[Turn], marks_in: Callable[[str], Collection[str]]) -> tuple[list[Turn], str]:
    """The turns with a seam inside every control token that their words spell, and the character that is the seam.

    A prompt without such words is tokenized in one piece, exactly as the template's author saw it. Where a seam stands
    the rendered text is cut, so that no tokenizer sees the control token whole; the words themselves stay.

    Args:
        turns: What is to be rendered.
        marks_in: The control tokens that a tokenizer would find in a text.
    """
    used = "".join(turn.text for turn in turns)
    seam = next((one for one in _SEAMS if one not in used), _SEAMS[0])
    found = []
    for turn in turns:
        text = turn.text.replace(seam, "")
        # A template cuts past thinking out of an answer by its tags, which the model itself has written.
        kept = _TAGS if turn.role == "assistant" else frozenset()
        while marks := {
            mark for part in text.split(seam) for mark in marks_in(part) if len(mark) > 1 and mark not in kept
        }:
            before = text
            for mark in marks:
                text = text.replace(mark, f"{mark[:1]}{seam}{mark[1:]}")
            if text == before:  # found otherwise than it is spelt, as after a normalization: nothing to cut
                break
        found.append(replace(turn, text=text))
    return found, seam


def pieces(text: str, seam: str) -> list[str]:
    """A rendered text cut at its seams."""
    return [part for part in text.split(seam) if part]
