"""What loads and answers in the app took, kept so that later estimates are better."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.fit import Wish
from tui.services import Measured, Services, Statuses

if TYPE_CHECKING:
    from backends.fit import Option
    from backends.loaded import LoadedModel
    from backends.machine.model import Machine
    from specs.model import Variant

ENOUGH_TOKENS = 16
"""Decoded tokens below which a speed says little."""


@dataclass(frozen=True, slots=True)
class _Start:
    """How things stood before a load: afterwards the memory is taken, and another place might be chosen."""

    variant: Variant
    machine: Machine
    statuses: Statuses


class Measuring:
    """Records each load once and the speed of each answer, in the background."""

    def __init__(
        self, services: Services, in_background: Callable[[Callable[[], None], str], None], told: Callable[[], None]
    ) -> None:
        """Begin.

        Args:
            services: Where options are judged and loads are kept.
            in_background: Runs work in a thread; the words say what it does.
            told: Called from that thread when something was kept.
        """
        self._services = services
        self._in_background = in_background
        self._told = told
        self._starts: dict[str, _Start] = {}
        self._recorded: weakref.WeakSet[LoadedModel] = weakref.WeakSet()

    def begins(self, option: Option, machine: Machine, statuses: Statuses) -> None:
        """A load of this option is wanted now."""
        self._starts[option.variant.key] = _Start(option.variant, machine, statuses)

    def loaded(self, model: LoadedModel) -> None:
        """A model is ready."""
        start = self._starts.get(model.request.key)
        if start is None or model in self._recorded:
            return
        self._recorded.add(model)

        def work() -> None:
            measured = model.measured_bytes()
            predicted = self._predicted(start, model)
            if measured and predicted:
                self._keep(start, model, predicted, measured, None)

        self._in_background(work, "measuring a load")

    def answered(self, model: LoadedModel, decoded_tokens: int, tokens_per_second: float | None) -> None:
        """A model has answered."""
        start = self._starts.get(model.request.key)
        if start is None or not tokens_per_second or decoded_tokens < ENOUGH_TOKENS:
            return
        self._in_background(
            lambda: self._keep(start, model, None, None, tokens_per_second), "keeping the speed of an answer"
        )

    def _predicted(self, start: _Start, model: LoadedModel) -> int | None:
        """What the estimate says without any correction of the parts that an engine reports."""
        request = model.request
        wish = Wish(context=request.options.context, kv_cache_type=request.options.kv_cache_type)
        variants = (start.variant,)
        knowledge = self._services.knowledge(variants)
        options = self._services.options(variants, start.machine, wish, start.statuses, knowledge, Measured())
        found = next((option for option in options if option.engine == request.engine), None)
        return found.memory.buffers_bytes if found is not None and found.verdict != "no" else None

    def _keep(
        self,
        start: _Start,
        model: LoadedModel,
        predicted_bytes: int | None,
        measured_bytes: int | None,
        tokens_per_second: float | None,
    ) -> None:
        from backends.measurements import Load  # SQLite, which the first frame need not wait for

        request = model.request
        load = Load(
            request.engine,
            start.variant.spec.format,
            request.key,
            request.options.context,
            predicted_bytes,
            measured_bytes,
            tokens_per_second,
        )
        self._services.record(start.machine, load)
        self._told()
