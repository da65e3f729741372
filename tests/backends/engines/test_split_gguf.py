"""Weights in parts are one model: the first part names the others."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from gguf_splitter import split

from backends.engines import registry
from backends.engines.engine import Engine, LoadOptions, Sampling, Turn, Weights
from backends.errors import EngineError
from backends.memory.gguf import read_header
from backends.memory.weights_file import knowledge_of
from specs.model import LLAMA_CPP

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"),
]


@pytest.fixture(scope="module")
def parts(gemma_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return split(gemma_gguf, tmp_path_factory.mktemp("parts"), 3)


def load(path: Path) -> Engine:
    return registry.adapter(LLAMA_CPP).load(Weights(path, "gemma", "ggufv2", "Q4_K_M"), LoadOptions(context=512))


def answer(engine: Engine) -> str:
    chunks = engine.stream([Turn("user", "Name three colours.")], Sampling(max_tokens=16, temperature=0))
    return "".join(chunk.text for chunk in chunks)


def test_the_first_part_loads_all_of_them_and_answers_as_the_whole_file(
    gemma_gguf: Path, parts: tuple[Path, ...]
) -> None:
    whole, split_up = load(gemma_gguf), load(parts[0])
    try:
        assert answer(split_up) == answer(whole)
        taken, expected = split_up.measured_bytes(), whole.measured_bytes()
        assert taken is not None
        assert expected is not None
        assert taken == pytest.approx(expected, rel=0.05)
    finally:
        whole.close()
        split_up.close()


def test_the_parts_bytes_are_counted_together(gemma_gguf: Path, parts: tuple[Path, ...]) -> None:
    assert read_header(parts[0]).parts == 3
    told, whole = knowledge_of(parts[0]), knowledge_of(gemma_gguf)
    assert told.weights_bytes == pytest.approx(whole.weights_bytes, rel=0.001)


def test_a_part_that_is_missing_is_named(parts: tuple[Path, ...], tmp_path: Path) -> None:
    for part in parts[:2]:
        (tmp_path / part.name).symlink_to(part)
    with pytest.raises(EngineError) as caught:
        load(tmp_path / parts[0].name)
    assert "00003-of-00003" in str(caught.value)
