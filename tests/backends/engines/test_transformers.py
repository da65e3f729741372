"""What Transformers does beyond the contract that all engines share."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from backends.engines import installed, registry
from backends.engines.engine import LoadOptions, Sampling, Turn, Weights
from backends.engines.local import LocalEngine
from backends.engines.transformers import TransformersRunner
from backends.errors import EngineError, EngineMissing
from specs.model import LLAMA_CPP, TRANSFORMERS
from tests.backends.engines import make_weights
from tests.conftest import weights_cache

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed"),
]


def load(folder: Path, quantization: str = "none", form: str = "pytorch") -> LocalEngine:
    weights = Weights(folder, folder.name, form, quantization)
    engine = registry.adapter(TRANSFORMERS).load(weights, LoadOptions(context=2048))
    assert isinstance(engine, LocalEngine)
    return engine


@pytest.mark.parametrize(("device", "taken"), [("cuda:0", 12), ("cuda:1", 12), ("cpu", 0), ("mps", 0)])
def test_what_is_taken_on_all_cards_counts(tmp_path: Path, device: str, taken: int) -> None:
    """A model that is laid over two cards has a part on each, and the current one is the first whatever was asked."""
    runner = TransformersRunner(Weights(tmp_path, "m", "pytorch", "none"), LoadOptions(256))
    runner._device = device
    cards = SimpleNamespace(device_count=lambda: 2, memory_allocated=lambda card=0: (5, 7)[card])
    runner._torch = SimpleNamespace(cuda=cards)
    assert runner._device_bytes() == taken


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
    weights = Weights(tmp_path / "m", "m", "pytorch", "none", key="m/1B/pytorch/none/owner/own")
    adapter = registry.adapter(TRANSFORMERS)
    with pytest.raises(EngineError, match="brings Python code of its own") as caught:
        adapter.load(weights, LoadOptions(context=256))
    assert "modeldeck launch --trust-remote-code owner/own " in str(caught.value)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(EngineError):
        adapter.load(weights, LoadOptions(context=256, trust_remote_code=True))
    assert (tmp_path / "ran").exists(), "asked for by name it runs, and here it has no model to give"


@pytest.mark.parametrize(
    ("form", "absent", "said", "extra"),
    [
        ("gptq", ("gptqmodel", "optimum"), "needs gptqmodel and optimum for gptq", "gptq"),
        ("gptq", ("optimum",), "needs optimum for gptq", "gptq"),
        ("awq", ("gptqmodel",), "needs gptqmodel for awq", "awq"),
        ("bnb", ("bitsandbytes",), "needs bitsandbytes for bnb", "transformers"),
    ],
)
def test_a_format_s_missing_library_is_named_with_its_line(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, form: str, absent: tuple[str, ...], said: str, extra: str
) -> None:
    monkeypatch.setattr(installed, "is_importable", lambda name: name not in absent)
    adapter = registry.adapter(TRANSFORMERS)
    with pytest.raises(EngineMissing, match=said) as caught:
        load(tiny_folder, "Int4", form)
    assert f"modeldeck[{extra}" in caught.value.install_line
    for quantization in ("Int4", "Int8"):
        assert adapter.status().of(form, quantization).status == "not-installed"
    assert adapter.status().of("pytorch", "none").status == "ready"


def test_quantizing_while_loading_wants_bitsandbytes_and_plain_weights_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "is_importable", lambda name: name != "bitsandbytes")
    status = registry.adapter(TRANSFORMERS).status()
    found = {one: status.of("pytorch", one).status for one in ("none", "4-bit", "8-bit")}
    assert found == {"none": "ready", "4-bit": "not-installed", "8-bit": "not-installed"}


def test_fp8_without_a_card_is_taken_apart_to_nearly_the_same_values(tiny_folder: Path, tiny_fp8_folder: Path) -> None:
    """transformers takes fp8 apart where no kernel is: e4m3 has 3 bits of mantissa, so a logprob moves a little."""
    found = []
    for folder, form in ((tiny_folder, "pytorch"), (tiny_fp8_folder, "fp8")):
        engine = load(folder, "none" if form == "pytorch" else "fp8", form)
        chunks = list(engine.complete("The sea is", Sampling(max_tokens=1, temperature=0, logprobs=1)))
        found.append(next(one for chunk in chunks for token in chunk.alternatives for one in token))
        engine.close()
    assert found[0].token == found[1].token
    assert 0 < abs(found[0].logprob - found[1].logprob) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_a_published_bitsandbytes_repository_loads_as_it_is(gemma_folder: Path, bits: int) -> None:
    """Real weights, quantized and saved before: 386 and 436 MB of 536; counting on is what both still know."""
    folder = make_weights.bnb_folder(weights_cache(), gemma_folder, bits)
    engine = load(folder, f"{bits}-bit", "bnb")
    try:
        said = "".join(
            chunk.text for chunk in engine.complete("1, 2, 3, 4, 5, 6, 7, 8,", Sampling(max_tokens=8, temperature=0))
        )
        assert said.replace(" ", "").startswith("9,10")
        assert 0.6 * 536e6 < (engine.measured_bytes() or 0) < 0.9 * 536e6
    finally:
        engine.close()


@pytest.mark.slow
def test_a_window_of_512_goes_back_behind_an_answer_that_was_given_again(gemma_folder: Path) -> None:
    """A second turn, given again, then edited: its 500 tokens and the first turn's beginning are not computed again."""
    engine = load(gemma_folder)
    try:
        greedy = Sampling(max_tokens=4, temperature=0, logprobs=5)
        question = [Turn("user", " ".join(map(str, range(200))))]
        first = list(engine.stream(question, greedy))
        said = Turn("assistant", "".join(chunk.text for chunk in first))
        further = [*question, said, Turn("user", "and " + " ".join(map(str, range(100))))]
        for _ in range(2):
            list(engine.stream(further, greedy))
        edited = [*question, said, Turn("user", "or " + " ".join(map(str, range(60))))]
        warm = list(engine.stream(edited, greedy))
        assert warm[-1].stats is not None
        assert first[-1].stats is not None
        assert first[-1].stats.prompt_tokens > 512
        assert warm[-1].stats.cached_tokens > first[-1].stats.prompt_tokens
        engine.close()
        engine = load(gemma_folder)
        cold = list(engine.stream(edited, greedy))
        ranked = [
            [one.token for chunk in chunks for token in chunk.alternatives for one in token[:1]]
            for chunks in (warm, cold)
        ]
        assert ranked[0] == ranked[1]
        best = [
            [one.logprob for chunk in chunks for token in chunk.alternatives[:1] for one in token[:1]]
            for chunks in (warm, cold)
        ]
        assert best[0] == pytest.approx(best[1], abs=0.1)
    finally:
        engine.close()


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
@pytest.mark.parametrize("quantization", ["none", "4-bit"])
def test_half_a_gigabyte_of_weights_is_given_back(gemma_folder: Path, quantization: str) -> None:
    process = psutil.Process()
    load(gemma_folder, quantization).close()  # what is imported stays
    engine = load(gemma_folder, quantization)
    held = engine.measured_bytes() or 0
    list(engine.complete("One, two, three", Sampling(max_tokens=2)))
    loaded = process.memory_info().rss
    engine.close()
    assert held > 300e6
    assert loaded - process.memory_info().rss > 0.9 * held


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
