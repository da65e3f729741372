"""Questions put to an engine under test, and what came back."""

from __future__ import annotations

from collections.abc import Iterable

from backends.engines.engine import Chunk, Engine, Sampling, Stats, Turn

GREEDY = Sampling(max_tokens=12, temperature=0)
QUESTION = [Turn("user", "Name three colours of a rainbow, please.")]


def text(chunks: Iterable[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def stats(chunks: list[Chunk]) -> Stats:
    assert chunks[-1].stats is not None, "the last chunk carries stats"
    assert not any(chunk.stats for chunk in chunks[:-1])
    return chunks[-1].stats


def ask(engine: Engine, turns: list[Turn], sampling: Sampling = GREEDY) -> list[Chunk]:
    return list(engine.stream(turns, sampling))
