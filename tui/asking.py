"""Asking llama.cpp itself about the cell that the hand rests on, one question at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from textual.screen import Screen
from textual.timer import Timer

from tui.screens.browse_messages import EngineTold
from tui.services import Services
from tui.told import Question, Told
from tui.widgets.lines import clean

QUESTION_SECONDS: Final = 0.6
"""How long the hand rests on a cell before llama.cpp is asked about it: the answer costs a process."""


class EngineQuestions:
    """Waits, asks in the background, and takes the answer."""

    def __init__(
        self,
        screen: Screen[None],
        services: Services,
        told: Told,
        in_background: Callable[[Callable[[], None], str], None],
        next_question: Callable[[], Question | None],
    ) -> None:
        self._screen = screen
        self._services = services
        self._told = told
        self._in_background = in_background
        self._next_question = next_question
        self._timer: Timer | None = None

    def soon(self) -> None:
        """Ask what is worth asking now, once the hand rests."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._told.waiting is not None or self._next_question() is None:
            return
        if self._services.settle_seconds:
            self._timer = self._screen.set_timer(QUESTION_SECONDS, self._ask)
        else:
            self._ask()

    def _ask(self) -> None:
        question = self._next_question()
        if question is None or self._told.waiting is not None:
            return
        self._told.asked(question)
        known = self._told.known(question.variant)

        def work() -> None:
            answer = None
            try:
                answer = self._services.engine_answer(question.variant, known, question.path, question.cache_type)
            finally:
                self._screen.post_message(EngineTold(question, answer))

        self._in_background(work, f"asking llama.cpp about {clean(question.variant.family.name)}")
