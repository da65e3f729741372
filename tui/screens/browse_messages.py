"""What the browse screen hears from its background work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from backends.fit import Knowledge, Verdict
    from tui.judging import Judged
    from tui.told import Question


class ListJudged(Message):
    """The best verdict of every family is known for one state of wish and machine."""

    def __init__(self, turn: int, verdicts: Mapping[int, Verdict]) -> None:
        super().__init__()
        self.turn = turn
        self.verdicts = verdicts


class FamilyJudged(Message):
    """Every option of one family is known for one state of wish and machine."""

    def __init__(self, turn: int, judged: Judged) -> None:
        super().__init__()
        self.turn = turn
        self.judged = judged


class HubsTold(Message):
    """What the hubs said of one family's files."""

    def __init__(self, knowledge: Mapping[str, Knowledge]) -> None:
        super().__init__()
        self.knowledge = knowledge


class EngineTold(Message):
    """What llama.cpp answered for one cell; None: it has no answer."""

    def __init__(self, question: Question, knowledge: Knowledge | None) -> None:
        super().__init__()
        self.question = question
        self.knowledge = knowledge


class DiskRead(Message):
    """Which variants lie on this disk."""

    def __init__(self, keys: frozenset[str], families: frozenset[int]) -> None:
        super().__init__()
        self.keys = keys
        self.families = families
