"""An engine that another package adds, behind our contract: whatever it raises becomes an error of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from backends.engines.engine import (
    Adapter,
    Chunk,
    Engine,
    EngineStatus,
    LoadOptions,
    Progress,
    Sampling,
    Score,
    Turn,
    Weights,
)
from backends.errors import BackendError, EngineError
from specs.extensions import Extension, ExtensionError
from specs.text import one_line


def adapter_of(declared: Extension) -> Adapter:
    """The adapter that a package declares, made and looked at.

    Raises:
        EngineError: it cannot be imported or made, or is no adapter.
    """
    what = f"the engine {declared.name} of {declared.package}"
    try:
        made = declared.load()()
    except ExtensionError as error:
        raise EngineError(str(error)) from error
    except Exception as error:
        raise EngineError(f"{what} fails: {_said(error)}") from error
    for method in ("status", "load"):
        if not callable(getattr(made, method, None)):
            raise EngineError(f"{what} has no {method}()")
    return AddedAdapter(declared, made)


class AddedAdapter:
    """Another package's adapter under the name that its entry point gives it."""

    def __init__(self, declared: Extension, theirs: Any) -> None:
        self.name = declared.name
        self.prefers_isolation = getattr(theirs, "prefers_isolation", False)
        self.may_be_isolated = bool(getattr(theirs, "may_be_isolated", True))
        self._what = f"the engine {declared.name} of {declared.package}"
        self._theirs = theirs

    def status(self) -> EngineStatus:
        """What it says of itself; an adapter that fails cannot be used."""
        try:
            said = self._theirs.status()
        except Exception as error:  # noqa: BLE001 - code of others, whose mistake must cost this engine and no more
            return EngineStatus("unsupported", f"{self._what} fails: {_said(error)}")
        if not isinstance(said, EngineStatus):
            return EngineStatus("unsupported", f"{self._what} says nothing of its status")
        return said

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> Engine:
        """Load the weights, or raise EngineError."""
        with _ours(f"{self._what} cannot load {weights.name}"):
            engine = self._theirs.load(weights, options, on_progress)
        missing = [name for name in _NEEDED if not hasattr(engine, name)]
        if missing:
            raise EngineError(f"{self._what} loads something without {', '.join(missing)}")
        return (AddedScorer if callable(getattr(engine, "score", None)) else AddedEngine)(self.name, self._what, engine)


_NEEDED = (
    "stream", "complete", "count_tokens", "prompt_tokens", "stop", "measured_bytes", "close", "context", "where",
)  # fmt: skip


class AddedEngine:
    """Another package's engine."""

    def __init__(self, name: str, what: str, theirs: Any) -> None:
        self.name = name
        self._what = what
        self._theirs = theirs
        self.context = int(theirs.context)
        self.where = one_line(str(theirs.where))
        note = getattr(theirs, "template_note", None)
        self.template_note = one_line(str(note)) if note else None

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        return self._chunks(lambda: self._theirs.stream(turns, sampling))

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        return self._chunks(lambda: self._theirs.complete(prompt, sampling))

    def count_tokens(self, text: str) -> int:
        with _ours(f"{self._what} cannot count tokens"):
            return int(self._theirs.count_tokens(text))

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        with _ours(f"{self._what} cannot count tokens"):
            return int(self._theirs.prompt_tokens(turns))

    def stop(self) -> None:
        with _ours(f"{self._what} cannot be stopped"):
            self._theirs.stop()

    def measured_bytes(self) -> int | None:
        with _ours(f"{self._what} cannot say what it takes"):
            found = self._theirs.measured_bytes()
        return found if isinstance(found, int) and found > 0 else None

    def close(self) -> None:
        with _ours(f"{self._what} cannot be closed"):
            self._theirs.close()

    def _chunks(self, begin: Any) -> Iterator[Chunk]:
        with _ours(f"{self._what} fails while it answers"):
            stats = False
            for chunk in begin():
                if not isinstance(chunk, Chunk):
                    raise EngineError(f"{self._what} answers with something that is no Chunk")
                stats = stats or chunk.stats is not None
                yield chunk
            if not stats:
                raise EngineError(f"{self._what} ends its answer without stats")


class AddedScorer(AddedEngine):
    """One that can score another's answer too."""

    def score(
        self, asked: Sequence[Turn] | str, answer: str, reasoning: str = "", reference: Sequence[Score] = ()
    ) -> tuple[Score, ...]:
        with _ours(f"{self._what} cannot score"):
            return tuple(self._theirs.score(asked, answer, reasoning, reference))


@contextlib.contextmanager
def _ours(what: str) -> Iterator[None]:
    """Errors of ours pass; any other of a foreign engine becomes one that says whose it is."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        raise EngineError(f"{what}: {_said(error)}") from error


def _said(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")[:300]
