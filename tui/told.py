"""What hubs and llama.cpp told of variants in this session, beside what the disk says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from backends.fit import Knowledge, Option
    from specs.model import Variant


class Question(NamedTuple):
    """A variant and a cache type that llama.cpp itself can be asked about."""

    variant: Variant
    cache_type: str
    path: Path | None
    """Its weights on this disk; None: the header is read from the hub."""

    @property
    def key(self) -> tuple[str, str, bool]:
        """What makes two questions one: the answer changes with the variant, the cache type and the disk."""
        return self.variant.key, self.cache_type, self.path is not None


class Told:
    """Answers by variant, and what was asked already."""

    def __init__(self) -> None:
        self._hubs: dict[str, Knowledge] = {}
        self._engine: dict[tuple[str, str], Knowledge] = {}
        self._families: set[str] = set()
        self._questions: set[tuple[str, str, bool]] = set()
        self.waiting: Question | None = None
        """The one question that llama.cpp works on; None: it rests."""

    def first_time(self, family_name: str) -> bool:
        """Whether the hubs were not asked about this family yet; from now on they were."""
        first = family_name not in self._families
        self._families.add(family_name)
        return first

    def hubs_told(self, knowledge: Mapping[str, Knowledge]) -> None:
        """Keep what the hubs said."""
        self._hubs.update(knowledge)

    def known(self, variant: Variant) -> Knowledge:
        """What the hubs said of a variant; nothing where they were not asked."""
        from backends.fit import Knowledge  # values of a fit stand before no first frame

        return self._hubs.get(variant.key) or Knowledge()

    def question(self, option: Option | None, cache_type: str, path: Path | None) -> Question | None:
        """What is worth asking llama.cpp about this option; None: nothing, or it was asked."""
        from specs.model import LLAMA_CPP

        if option is None or option.engine != LLAMA_CPP or option.engine_status != "ready":
            return None
        if option.variant.spec.format != "ggufv2":
            return None
        found = Question(option.variant, cache_type, path)
        return None if found.key in self._questions else found

    def asked(self, question: Question) -> None:
        """Ask a question once only, whatever comes of it."""
        self._questions.add(question.key)
        self.waiting = question

    def engine_told(self, question: Question, knowledge: Knowledge | None) -> bool:
        """Keep llama.cpp's answer; whether there is one."""
        self.waiting = None
        if knowledge is None or knowledge.compute is None:
            return False
        self._engine[question.variant.key, question.cache_type] = knowledge
        return True

    def beside(self, disk: Mapping[str, Knowledge], cache_type: str) -> dict[str, Knowledge]:
        """What is known by variant key: the disk above the hubs, llama.cpp's answer for this cache above both."""
        known = {**self._hubs, **disk}
        for (key, asked_type), answer in tuple(self._engine.items()):
            if asked_type == cache_type:
                known[key] = replace(known[key], compute=answer.compute) if key in disk else answer
        return known
