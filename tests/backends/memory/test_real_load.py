"""A real load beside its prediction."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import LAPTOP

from backends.engines.engine import LoadOptions, Weights
from backends.fit import Wish
from backends.judge import judge
from backends.memory.engine_answer import ask, library_version
from backends.memory.gguf import read_header
from backends.memory.weights_file import knowledge_of
from specs.model import ModelFamily, ModelSpec, Variant

SPEC = ModelSpec("ggufv2", 0.27, ("Q4_K_M",))
GEMMA = Variant(ModelFamily("gemma-3-270m", 32_768, ("en",), ("generate",), (SPEC,)), SPEC, "Q4_K_M")


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.skipif(library_version() is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("context", [2048, 8192])
def test_gemma_takes_what_was_predicted(gemma_gguf: Path, context: int) -> None:
    from backends.engines.llama_cpp import LlamaCppAdapter

    option = judge(GEMMA, "llama.cpp", LAPTOP, Wish(context), knowledge=knowledge_of(gemma_gguf))
    assert option.memory.basis == "file"
    weights = Weights(gemma_gguf, "gemma", "ggufv2", "Q4_K_M", chats=False)
    engine = LlamaCppAdapter().load(weights, LoadOptions(context, gpu_layers=0, device="cpu"))
    try:
        measured = engine.measured_bytes()
    finally:
        engine.close()
    assert measured is not None
    assert option.memory.total_bytes == pytest.approx(measured, rel=0.05)


@pytest.mark.weights
@pytest.mark.skipif(library_version() is None, reason="llama-cpp-python is not installed")
def test_the_engines_own_answer_is_kept(gemma_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = read_header(gemma_gguf)
    first = ask(gemma_gguf, header, context=4096)
    assert first is not None
    assert first.host_bytes / 2**20 == pytest.approx(23.8, abs=0.5)
    monkeypatch.setattr("backends.memory.engine_answer.subprocess.run", None)
    assert ask(gemma_gguf, header, context=4096) == first


@pytest.mark.weights
@pytest.mark.skipif(library_version() is None, reason="llama-cpp-python is not installed")
def test_a_header_alone_is_enough_for_the_engines_answer(gemma_gguf: Path, tmp_path: Path) -> None:
    header = read_header(gemma_gguf)
    alone = tmp_path / "header.gguf"
    with gemma_gguf.open("rb") as file:
        alone.write_bytes(file.read(header.header_bytes))
    whole = ask(gemma_gguf, header, context=2048)
    assert ask(alone, header, context=2048) == whole
