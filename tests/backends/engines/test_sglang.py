"""SGLang's adapter against a stand-in with the recorded signatures of sglang 0.5.23; its kernels do not run here."""

from __future__ import annotations

import inspect
import json
import os
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_sglang
import pytest
from fake_tokenizer import END
from record_contracts import contract

from backends.engines.engine import Chunk, LoadOptions, Sampling, Turn, Weights
from backends.engines.local import LocalEngine
from backends.engines.registry import adapter
from backends.engines.sampling import bounded
from backends.engines.sglang import sampling_parameters, server_arguments
from backends.errors import EngineError, EngineMissing, PromptTooLong

QUESTION = [Turn("user", "Count to three.")]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in in SGLang's place."""
    for name, module in fake_sglang.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return fake_sglang


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
    (folder / "model.safetensors").write_bytes(b"")
    return Weights(folder, "tiny", "pytorch", "none")


def load(weights: Weights, **options: Any) -> LocalEngine:
    engine = adapter("sglang").load(weights, LoadOptions(**({"context": 1024} | options)))
    assert isinstance(engine, LocalEngine)
    return engine


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def test_an_answer_comes_token_by_token_and_its_end_token_is_not_counted(library: Any, weights: Weights) -> None:
    engine = load(weights)
    library.world.cached = 21
    chunks = list(engine.stream(QUESTION, Sampling(max_tokens=50)))
    found = chunks[-1].stats
    assert text(chunks) == "one two three"
    assert found is not None
    assert (found.decoded_tokens, found.stop_reason, found.cached_tokens) == (13, "end", 21)
    assert found.prompt_tokens == engine.prompt_tokens(QUESTION) == len(library.world.asked[0]["tokens"])
    asked = library.world.asked[0]
    assert (asked["max_new_tokens"], asked["stop_token_ids"]) == (50, [END])
    assert not library.world.aborted
    engine.close()
    engine.close()
    assert library.world.shut_down == 1


def test_a_stop_aborts_the_request_and_the_next_answer_is_whole(library: Any, weights: Weights) -> None:
    library.world.script = "x" * 500
    engine = load(weights)
    library.world.on_step = lambda at: engine.stop() if at == 2 else None
    chunks = list(engine.stream(QUESTION, Sampling()))
    assert chunks[-1].stats is not None
    assert chunks[-1].stats.stop_reason == "cancelled"
    assert sum(chunk.tokens for chunk in chunks) <= 3
    assert library.world.aborted == [library.world.asked[0]["rid"]] == library.world.ended, "read to its end"
    library.world.on_step = None
    library.world.script = "next"
    assert text(list(engine.stream(QUESTION, Sampling()))) == "next"
    engine.close()


@pytest.mark.timeout(30)
def test_a_stop_in_prefill_does_not_wait_for_a_token(library: Any, weights: Weights) -> None:
    library.world.hangs_until_aborted = True
    engine = load(weights)
    library.world.on_step = lambda at: engine.stop()
    chunks = list(engine.stream(QUESTION, Sampling()))
    assert chunks[-1].stats is not None
    assert (chunks[-1].stats.stop_reason, chunks[-1].stats.decoded_tokens) == ("cancelled", 0)
    engine.close()


def test_closing_ends_what_runs_on_the_loop_and_the_loop(library: Any, weights: Weights) -> None:
    engine = load(weights)
    list(engine.stream(QUESTION, Sampling()))
    engine.close()
    assert library.world.shut_down == 1
    assert library.world.watch.cancelled()
    assert library.world.loops[0].is_closed()


def test_the_stand_in_answers_with_what_the_wheel_s_sources_name() -> None:
    told = contract("sglang")
    assert told["version"] == "0.5.23"
    given = set(inspect.signature(fake_sglang.Engine.async_generate).parameters) - {"self"}
    assert given <= set(told["Engine.async_generate"])
    given = set(inspect.signature(fake_sglang.TokenizerManager.abort_request).parameters) - {"self"}
    assert given == set(told["TokenizerManager.abort_request"])
    assert {"finish_reason", "cached_tokens", "output_token_logprobs", "output_top_logprobs"} <= set(told["meta_info"])
    assert {"output_ids", "meta_info"} <= set(told["output"])


@pytest.mark.parametrize("own_loop", [False, True])
def test_every_answer_is_asked_for_on_the_loop_that_the_engine_was_made_on(
    library: Any, weights: Weights, own_loop: bool
) -> None:
    library.world.own_loop = own_loop
    engine = load(weights)
    list(engine.stream(QUESTION, Sampling()))
    list(engine.complete("Zero ", Sampling()))
    assert len({id(loop) for loop in library.world.loops}) == 1
    engine.close()


def test_a_stop_string_aborts_what_would_follow(library: Any, weights: Weights) -> None:
    engine = load(weights)
    chunks = list(engine.stream(QUESTION, Sampling(stop=(" three",))))
    assert text(chunks) == "one two"
    assert chunks[-1].stats is not None
    assert chunks[-1].stats.stop_reason == "stop"
    engine.close()


def test_an_abort_that_nobody_asked_for_is_an_error_with_sglang_s_line(library: Any, weights: Weights) -> None:
    engine = load(weights)
    library.world.aborts_with = "Out of memory. Try to lower mem-fraction-static."
    with pytest.raises(EngineError, match="SGLang failed on tiny: Out of memory"):
        list(engine.stream(QUESTION, Sampling()))
    engine.close()


def test_a_load_that_fails_says_the_inner_line(library: Any, weights: Weights) -> None:
    library.world.load_fails = RuntimeError("Rank 0 scheduler died during initialization (exit code: -9).\nSee above.")
    with pytest.raises(EngineError, match=r"SGLang cannot load tiny: Rank 0 scheduler died .*\(exit code: -9\)\.$"):
        load(weights)


@pytest.mark.parametrize("at_once", [1, 2])
def test_alternatives_hold_the_chosen_token(library: Any, weights: Weights, at_once: int) -> None:
    """Of each token its own, where several come at once too."""
    library.world.at_once = at_once
    engine = load(weights)
    chunks = list(engine.stream(QUESTION, Sampling(max_tokens=2, logprobs=2)))
    ranked = [token for chunk in chunks for token in chunk.alternatives]
    assert [[one.text for one in token] for token in ranked] == [["A", "o", "B"], ["A", "n", "B"]]
    assert [one.logprob for one in ranked[1]] == [-0.1, -0.5, -1.1]
    engine.close()


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (ModuleNotFoundError("No module named 'sglang'", name="sglang"), EngineMissing, "SGLang is not installed"),
        (ModuleNotFoundError("No module named 'zmq'", name="zmq"), EngineError, "start here: No module named 'zmq'"),
        (ImportError("libnvrtc.so.13: cannot open"), EngineError, r"start here: libnvrtc\.so\.13: cannot open"),
    ],
)
def test_an_sglang_that_is_not_there_and_one_that_does_not_start_are_told_apart(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[EngineError], line: str
) -> None:
    def fail(_: object) -> None:
        raise error

    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        found = name == "sglang"
        return ModuleSpec(name, SimpleNamespace(create_module=lambda _: None, exec_module=fail)) if found else None

    monkeypatch.delitem(sys.modules, "sglang", raising=False)
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=find_spec), *sys.meta_path])
    with pytest.raises(EngineError, match=line) as caught:
        load(weights)
    assert type(caught.value) is kind


def test_the_context_asked_for_is_cut_to_what_the_model_was_trained_for(library: Any, weights: Weights) -> None:
    engine = load(weights, context=100_000, tensor_parallel=2)
    assert engine.context == library.world.arguments[0]["context_length"] == 4096
    assert engine.where == "2 GPUs"
    engine.close()


def test_sglang_is_told_to_report_to_nobody(library: Any, weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "0")  # put back afterwards
    monkeypatch.delenv("DO_NOT_TRACK")
    load(weights).close()
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_it_belongs_into_a_process_of_its_own() -> None:
    assert adapter("sglang").prefers_isolation  # type: ignore[attr-defined]


def test_a_prompt_that_is_too_long_asks_nobody(library: Any, weights: Weights) -> None:
    engine = load(weights, context=64)
    with pytest.raises(PromptTooLong):
        list(engine.stream([Turn("user", "x" * 64)], Sampling()))
    assert not library.world.asked
    engine.close()


def test_sampling_reaches_sglang_whole() -> None:
    told = sampling_parameters(
        bounded(Sampling(temperature=0.8, top_k=0, top_p=0.9, min_p=0.1, repetition_penalty=1.2, seed=9)),
        64,
        frozenset({5, 2}),
    )
    assert told == {
        "max_new_tokens": 64, "temperature": 0.8, "top_k": -1, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2,
        "stop_token_ids": [2, 5], "skip_special_tokens": False, "sampling_seed": 9,
    }  # fmt: skip
    greedy = sampling_parameters(bounded(Sampling(temperature=0, seed=9)), 64, frozenset())
    assert (greedy["temperature"], greedy["top_k"], "sampling_seed" in greedy) == (0.0, -1, False)
    assert sampling_parameters(bounded(Sampling(seed=-1)), 64, frozenset())["sampling_seed"] == 0x7FFFFFFF


def test_sglang_is_set_up_for_one_conversation_that_can_be_stopped(weights: Weights) -> None:
    """Its own share of the card where the fit gives none: that leaves room for what is beside weights and cache."""
    assert server_arguments(weights, LoadOptions(4096), 4096) == {
        "model_path": str(weights.path), "served_model_name": "tiny", "load_format": "safetensors",
        "trust_remote_code": False, "context_length": 4096, "kv_cache_dtype": "auto", "tp_size": 1, "pp_size": 1,
        "max_running_requests": 1, "chunked_prefill_size": 2048, "incremental_streaming_output": True,
        "log_level": "error", "random_seed": 0,
    }  # fmt: skip
    told = server_arguments(
        replace(weights, format="bnb"),
        LoadOptions(4096, kv_cache_type="q8_0", pipeline_parallel=3, trust_remote_code=True),
        4096,
    )
    assert (told["load_format"], told["kv_cache_dtype"], told["pp_size"]) == ("bitsandbytes", "fp8_e4m3", 3)
    assert told["trust_remote_code"] is True


def test_cards_and_safety_are_as_the_options_say(weights: Weights) -> None:
    told = server_arguments(weights, LoadOptions(4096, memory_share=0.8, tensor_parallel=2, device="cuda:2"), 4096)
    assert (told["mem_fraction_static"], told["tp_size"], told["base_gpu_id"]) == (0.8, 2, 2)
    assert told["trust_remote_code"] is False
    assert told["load_format"] == "safetensors"
    with pytest.raises(EngineError, match="vLLM takes a Ray cluster"):
        server_arguments(weights, LoadOptions(4096, ray_address="auto"), 4096)
    with pytest.raises(EngineError, match="no KV cache of type 'q4_0'"):
        server_arguments(weights, LoadOptions(4096, kv_cache_type="q4_0"), 4096)


def test_pickled_weights_are_never_read(library: Any, weights: Weights) -> None:
    (weights.path / "model.safetensors").rename(weights.path / "pytorch_model.bin")
    with pytest.raises(EngineError, match="no safetensors"):
        load(weights)
    assert not library.world.arguments
