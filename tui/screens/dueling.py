"""A duel: one pane's answer, scored by the other pane's variant of the same model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backends.duel import Duel, duel
from backends.engines.engine import Engine, Score, Scorer
from backends.engines.scoring import NO_SCORERS, cannot_score
from backends.errors import BackendError, Cancelled, EngineError
from backends.room import Room

if TYPE_CHECKING:
    from tui.widgets.chat_pane import ChatPane


class DuelRefused(Exception):
    """There is nothing to compare; its text says why."""


def pair(panes: list[ChatPane], active: ChatPane | None) -> tuple[ChatPane, ChatPane]:
    """The pane whose answer it is, and the one that scores it.

    The first is the active pane where it has an answer, else the pane beside it that has one.
    """
    if active is None or active.request is None:
        raise DuelRefused("a duel needs two panes with two quantizations of one model")
    name = active.request.weights.name
    for pane in panes:
        if pane.request is not None and pane.request.weights.name == name and pane.request.engine in NO_SCORERS:
            raise DuelRefused(cannot_score(pane.request.engine))
    alike = [pane for pane in panes if pane.request is not None and pane.request.weights.name == name]
    others = [pane for pane in alike if pane is not active and pane.request != active.request]
    if not others:
        raise DuelRefused(f"a duel needs another quantization of {name} in a pane beside this one: f5, then load it")
    first = next((pane for pane in (active, *others) if pane.answer_to_score() is not None), None)
    if first is None:
        raise DuelRefused("a duel begins with an answer: send a prompt first")
    second = others[0] if first is active else active
    return first, second


async def run_duel(
    first: ChatPane, second: ChatPane, room: Callable[[ChatPane], Room | None], say: Callable[[str], None]
) -> Duel:
    """Score the first pane's answer with both models, one after the other where they do not fit beside each other."""
    asked = first.answer_to_score()
    if asked is None:
        raise DuelRefused("a duel begins with an answer: send a prompt first")
    question, answer, reasoning = asked

    async def scores(pane: ChatPane, reference: tuple[Score, ...]) -> tuple[Score, ...]:
        await _loaded(pane, second if pane is first else first, room, say)

        def score(engine: Engine) -> tuple[Score, ...]:
            if not isinstance(engine, Scorer):
                raise EngineError(cannot_score(engine.name))
            return engine.score(question, answer, reasoning, reference)

        return await pane.work("scoring", score)

    reference = await scores(first, ())
    if first.work_stopped:
        raise Cancelled("the duel was stopped before the second model looked at the answer")
    return duel(reference, await scores(second, reference))


async def _loaded(
    pane: ChatPane, other: ChatPane, room: Callable[[ChatPane], Room | None], say: Callable[[str], None]
) -> None:
    """Have the pane's model in memory, and the other one out of it if both do not fit."""
    if pane.engine is not None:
        return
    wanted = room(pane)
    if wanted is not None and wanted.missing_bytes and other.model is not None:
        say(f"{other.title} makes room for {pane.title}")
        other.model.close()
        await other.until(lambda: other.state not in ("ready", "loading"))
    if pane.state != "loading" and pane.request is not None:
        pane.load(pane.request)
    await pane.until(lambda: pane.state != "loading")
    if pane.engine is None:
        raise BackendError(f"{pane.title} could not be loaded, so there is nothing to compare")
