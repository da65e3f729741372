"""What Transformers does beyond the contract that all engines share."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from backends.engines import installed, registry
from backends.engines.engine import LoadOptions, Sampling, Turn, Weights
from backends.engines.local import LocalEngine
from backends.errors import EngineError, EngineMissing
from specs.model import LLAMA_CPP, TRANSFORMERS

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed"),
]


def load(folder: Path, quantization: str = "none", form: str = "pytorch") -> LocalEngine:
    weights = Weights(folder, folder.name, form, quantization)
    engine = registry.adapter(TRANSFORMERS).load(weights, LoadOptions(context=2048))
    assert isinstance(engine, LocalEngine)
    return engine


def test_pickled_weights_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(EngineError, match="pickled weights may run programs"):
        load(tmp_path / "m")


def test_code_in_a_repository_is_not_run_unasked(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    (tmp_path / "m" / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(EngineError):
        load(tmp_path / "m")
    assert not (tmp_path / "ran").exists()


def test_a_format_s_missing_library_is_named_with_its_line(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "is_importable", lambda name: name not in ("gptqmodel", "optimum"))
    with pytest.raises(EngineMissing, match="needs optimum and gptqmodel") as caught:
        load(tiny_folder, "Int4", "gptq")
    assert caught.value.install_line.endswith("-m pip install optimum gptqmodel")


@pytest.mark.slow
def test_a_window_that_slid_on_starts_again_and_answers_the_same(gemma_folder: Path) -> None:
    """Gemma's windows hold 512 tokens: going back beyond what they kept must not give another answer."""
    engine = load(gemma_folder)
    try:
        greedy = Sampling(max_tokens=4, temperature=0)
        question = [Turn("user", " ".join(map(str, range(150))))]
        first = list(engine.stream(question, greedy))
        further = [*question, Turn("assistant", "150"), Turn("user", "and so on?")]
        list(engine.stream(further, greedy))
        again = list(engine.stream(question, greedy))
        assert "".join(chunk.text for chunk in again) == "".join(chunk.text for chunk in first)
    finally:
        engine.close()


@pytest.mark.slow
def test_real_weights_answer_as_llama_cpp_does_with_the_same_ones(gemma_folder: Path, gemma_gguf: Path) -> None:
    """The safetensors are the GGUF's values; both tokenizers and both loops must agree on a clear continuation."""
    prompt = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,"
    greedy = Sampling(max_tokens=6, temperature=0)
    theirs = registry.adapter(LLAMA_CPP).load(Weights(gemma_gguf, "g", "ggufv2", "Q4_K_M"), LoadOptions(context=512))
    expected = "".join(chunk.text for chunk in theirs.complete(prompt, greedy))
    counted = theirs.count_tokens("日本語 👩‍👩‍👧‍👦\n\n  x")
    theirs.close()
    engine = load(gemma_folder)
    try:
        assert "".join(chunk.text for chunk in engine.complete(prompt, greedy)) == expected
        assert "12" in expected
        assert engine.count_tokens("日本語 👩‍👩‍👧‍👦\n\n  x") == counted
    finally:
        engine.close()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_quantizing_while_loading_takes_less_memory(gemma_folder: Path) -> None:
    """536, 436 and 386 MB: only the linear layers shrink, and Gemma's embeddings are most of it."""
    taken = {}
    for quantization in ("none", "8-bit", "4-bit"):
        engine = load(gemma_folder, quantization)
        taken[quantization] = engine.measured_bytes() or 0
        assert "".join(chunk.text for chunk in engine.complete("1, 2, 3, 4,", Sampling(max_tokens=3, temperature=0)))
        engine.close()
    assert taken["none"] > 1.2 * taken["8-bit"] > 1.2 * taken["4-bit"]
    assert taken["4-bit"] > 0
