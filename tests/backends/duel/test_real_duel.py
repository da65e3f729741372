"""Real weights scored: against themselves, and against a smaller quantization of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.duel import Duel, duel
from backends.engines.engine import Engine, LoadOptions, Sampling, Scorer, Weights
from backends.engines.registry import adapter
from tests.conftest import weights_cache

pytestmark = pytest.mark.weights
PROMPT = "The history of the lighthouse begins with"


@contextmanager
def loaded(path: Path, quantization: str) -> Iterator[Engine]:
    weights = Weights(path, "gemma-3 0.27B", "ggufv2", quantization, chats=False)
    engine = adapter("llama.cpp").load(weights, LoadOptions(512, gpu_layers=0))
    try:
        yield engine
    finally:
        engine.close()


def q2_file(source: Path) -> Path:
    """The same weights again in Q2_K, made once."""
    import llama_cpp

    path = weights_cache() / "gemma-3-270m-Q2_K.gguf"
    if not path.exists():
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q2_K
        parameters.allow_requantize = True
        parameters.nthread = 2
        part = path.with_suffix(".part")
        assert llama_cpp.llama_model_quantize(str(source).encode(), str(part).encode(), parameters) == 0
        part.replace(path)
    return path


def answered(engine: Engine) -> str:
    greedy = Sampling(max_tokens=40, temperature=0.0)
    return "".join(chunk.text for chunk in engine.complete(PROMPT, greedy))


def against(first: Path, second: Path, names: tuple[str, str]) -> Duel:
    with loaded(first, names[0]) as engine:
        assert isinstance(engine, Scorer)
        answer = answered(engine)
        reference = engine.score(PROMPT, answer)
    with loaded(second, names[1]) as engine:
        assert isinstance(engine, Scorer)
        made = duel(reference, engine.score(PROMPT, answer, reference=reference))
    assert "".join(score.text for score in made.scores) == answer
    return made


def test_weights_against_themselves_agree_at_every_place(gemma_gguf: Path) -> None:
    made = against(gemma_gguf, gemma_gguf, ("Q4_K_M", "Q4_K_M"))
    assert len(made.scores) >= 38
    assert made.same_share == 1.0
    assert made.mean_divergence is not None
    assert made.mean_divergence < 1e-6
    # A greedy answer is the first choice at every place.
    assert all(score.token == score.first.token for score in made.scores)


def test_a_smaller_quantization_goes_other_ways(gemma_gguf: Path) -> None:
    made = against(gemma_gguf, q2_file(gemma_gguf), ("Q4_K_M", "Q2_K"))
    assert made.same_share is not None
    assert 0.1 < made.same_share < 1.0
    assert made.mean_divergence is not None
    assert made.mean_divergence > 0.01
