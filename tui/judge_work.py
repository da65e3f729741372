"""Judging in the background: one catalog and one family at a time, the newest wish only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from textual.message import Message

from tui.screens.browse_messages import FamilyJudged, ListJudged
from tui.services import Measured, Services, Statuses
from tui.widgets.lines import clean

if TYPE_CHECKING:
    from backends.fit import Knowledge, Verdict, Wish
    from backends.machine.model import Machine
    from specs.model import ModelFamily, Variant

LIST_SHARE = 0.05
"""Share of a place's memory that must come or go before the whole list is judged again."""


class Ground(NamedTuple):
    """What verdicts are for: a machine, what is installed, and what loads took there."""

    machine: Machine
    statuses: Statuses
    measured: Measured


class JudgeWork:
    """Starts the work and knows which of its answers are still wanted."""

    def __init__(
        self,
        services: Services,
        in_background: Callable[[Callable[[], None], str], None],
        post: Callable[[Message], object],
        gone: Callable[[], bool],
    ) -> None:
        self._services = services
        self._in_background = in_background
        self._post = post
        self._gone = gone
        self._list_turn = 0
        self._family_turn = 0
        self._list_machine: Machine | None = None
        self._family_machine: Machine | None = None

    def list_is_stale(self, machine: Machine) -> bool:
        """Whether so much memory came or went, or a device, that every family must be judged again."""
        from tui.judging import materially_different  # judging brings the catalog's values: 5 ms before the first key

        return materially_different(self._list_machine, machine, LIST_SHARE)

    def family_is_stale(self, machine: Machine) -> bool:
        """The same for the family on the screen, whose figures are told."""
        from tui.judging import materially_different

        return materially_different(self._family_machine, machine)

    def is_wanted(self, message: ListJudged | FamilyJudged) -> bool:
        """Whether an answer is to the latest question."""
        return message.turn == (self._list_turn if isinstance(message, ListJudged) else self._family_turn)

    def judge_list(self, families: Sequence[ModelFamily], ground: Ground, wish: Wish) -> None:
        """Find the best verdict of every family; ends in ListJudged."""
        self._list_machine = ground.machine
        self._list_turn += 1
        turn = self._list_turn

        def verdicts_of(variants: Sequence[Variant]) -> Sequence[Verdict]:
            return self._services.quick_verdicts(variants, ground.machine, wish, ground.statuses, ground.measured)

        from tui.judging import judge_families

        work = partial(
            judge_families,
            families,
            verdicts_of,
            lambda: turn != self._list_turn or self._gone(),
            lambda verdicts: self._post(ListJudged(turn, verdicts)),
        )
        self._in_background(work, "judging the catalog")

    def judge_family(
        self,
        family: ModelFamily,
        ground: Ground,
        wish: Wish,
        beside: Callable[[Mapping[str, Knowledge]], Mapping[str, Knowledge]],
    ) -> None:
        """Judge every variant of a family by what is known of it; ends in FamilyJudged.

        Args:
            family: the one on the screen.
            ground: what to judge for.
            wish: context and cache type.
            beside: puts what the disk says together with what hubs and llama.cpp told.
        """
        self._family_machine = ground.machine
        self._family_turn += 1
        turn = self._family_turn

        def work() -> None:
            if turn != self._family_turn:
                return
            from tui.judging import Judged

            variants = tuple(family.variants())
            knowledge = beside(self._services.knowledge(variants))
            options = self._services.options(
                variants, ground.machine, wish, ground.statuses, knowledge, ground.measured
            )
            self._post(FamilyJudged(turn, Judged.of(family, options, self._services.best_option)))

        self._in_background(work, f"judging {clean(family.name)}")
