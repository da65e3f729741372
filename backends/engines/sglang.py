"""SGLang, its engine driven from this process: the scheduler that computes is a child process of its own making.

Not run here: its published kernels are CUDA only. Written and tested against the signatures of sglang 0.5.23
(sglang/srt/entrypoints/engine.py, managers/tokenizer_manager.py, sampling/sampling_params.py).
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from backends.engines import installed
from backends.engines.answer import Answer
from backends.engines.engine import (
    Alternative,
    Chunk,
    EngineStatus,
    LoadOptions,
    Progress,
    Sampling,
    Stats,
    StopReason,
    Turn,
    Weights,
)
from backends.engines.model_thread import Job, ModelThread
from backends.engines.tokenizer import Tokenizer
from backends.engines.vllm_arguments import inner_line, trained_context
from backends.errors import BackendError, Cancelled, EngineError, EngineMissing, PromptTooLong
from specs.model import SGLANG

if TYPE_CHECKING:
    import asyncio

CACHE_TYPES: Final = {"f16": "auto", "bf16": "bf16", "q8_0": "fp8_e4m3"}
"""SGLang's name for a KV cache type of ours; "auto" is the weights' own 16 bits."""
PREFILL_TOKENS: Final = 2048
"""Prompt tokens that are computed at once: an abort waits for them."""
LOOK_SECONDS: Final = 0.05
"""How often a stop is looked for while the scheduler is silent, as in prefill."""
ABORT_SECONDS: Final = 10.0
"""How long an abort is waited for before the request is left to itself."""


class SglangAdapter:
    """Takes safetensors on Linux with CUDA cards, of one machine."""

    name = SGLANG
    prefers_isolation = True
    """Its shutdown ends every child of the process that it runs in, other engines' too, and its watchdog ends that
    process itself when the scheduler dies: it belongs into a child process of its own."""

    def status(self) -> EngineStatus:
        return installed.status(self.name)

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> SglangEngine:
        if not (weights.path / "config.json").is_file():
            raise EngineError(f"SGLang cannot load {weights.name}", f"{weights.path} has no config.json")
        if not any(weights.path.glob("*.safetensors")):
            raise EngineError(
                f"SGLang cannot load {weights.name}",
                "its folder holds no safetensors, and pickled weights may run programs: modeldeck reads none",
            )
        return SglangEngine(weights, options, on_progress)


def server_arguments(weights: Weights, options: LoadOptions, context: int) -> dict[str, Any]:
    """ServerArgs for one model and one conversation at a time.

    Raises:
        EngineError: SGLang cannot do what the options ask for.
    """
    if options.kv_cache_type not in CACHE_TYPES:
        offered = ", ".join(CACHE_TYPES)
        raise EngineError(f"SGLang has no KV cache of type {options.kv_cache_type!r}; it has {offered}")
    if options.ray_address is not None:
        raise EngineError("modeldeck runs SGLang on one machine; vLLM takes a Ray cluster")
    arguments: dict[str, Any] = {
        "model_path": str(weights.path),
        "served_model_name": weights.name,
        "load_format": "bitsandbytes" if weights.format == "bnb" else "safetensors",
        "trust_remote_code": options.trust_remote_code,
        "context_length": context,
        "kv_cache_dtype": CACHE_TYPES[options.kv_cache_type],
        "tp_size": options.tensor_parallel,
        "pp_size": options.pipeline_parallel,
        "max_running_requests": 1,
        "chunked_prefill_size": PREFILL_TOKENS,
        "incremental_streaming_output": True,
        "log_level": "error",
        "random_seed": 0,
    }
    if options.memory_share is not None:
        arguments["mem_fraction_static"] = options.memory_share
    if options.device and ":" in options.device:
        arguments["base_gpu_id"] = int(options.device.rpartition(":")[2])
    return arguments


def sampling_parameters(sampling: Sampling, limit: int, end_tokens: frozenset[int]) -> dict[str, Any]:
    """SamplingParams as the mapping that Engine.async_generate takes.

    Args:
        limit: Tokens that the answer may have.
        end_tokens: Tokens that end it.
    """
    greedy = sampling.temperature <= 0
    parameters: dict[str, Any] = {
        "max_new_tokens": limit,
        "temperature": 0.0 if greedy else sampling.temperature,
        # -1 is the whole vocabulary; at temperature 0 SGLang takes the first one by itself.
        "top_k": sampling.top_k if sampling.top_k > 0 and not greedy else -1,
        "top_p": 1.0 if greedy or sampling.top_p <= 0 else min(1.0, sampling.top_p),
        "min_p": 0.0 if greedy else min(1.0, max(0.0, sampling.min_p)),
        "repetition_penalty": sampling.repetition_penalty,
        "stop_token_ids": sorted(end_tokens),
        "skip_special_tokens": False,
    }
    if sampling.seed is not None and not greedy:
        parameters["sampling_seed"] = sampling.seed & 0x7FFFFFFF
    return parameters


class SglangEngine:
    """A model in SGLang, one conversation at a time; its radix cache serves all of them."""

    name = SGLANG

    def __init__(self, weights: Weights, options: LoadOptions, on_progress: Progress | None) -> None:
        self._weights = weights
        self._engine: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = itertools.count()
        self._tokenizing = threading.Lock()
        self._thread = ModelThread(weights.name, self._free)
        try:
            self._thread.call(lambda job: self._load(job, options, on_progress))
        except BaseException:
            self._thread.close()
            raise

    # Loading

    def _load(self, job: Job, options: LoadOptions, on_progress: Progress | None) -> None:
        import asyncio

        def tell(share: float, note: str) -> None:
            if job.cancelled:
                raise Cancelled(f"loading {self._weights.name} was stopped")
            if on_progress is not None:
                on_progress(share, note)

        trained = trained_context(self._weights.path)
        self.context = min(options.context, trained) if trained else options.context
        arguments = server_arguments(self._weights, options, self.context)
        tell(0.0, "importing SGLang")
        os.environ.setdefault("DO_NOT_TRACK", "1")
        logger = logging.getLogger("sglang")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
        # The engine keeps the loop of the thread that made it, and every answer must be asked for on that one.
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        try:
            import sglang
        except ImportError as error:
            if (error.name or "").partition(".")[0] == "sglang":
                raise EngineMissing("SGLang is not installed", installed.install_line(self.name)) from error
            raise EngineError("SGLang does not start here", inner_line(error)) from error
        tell(0.3, "reading the weights")
        try:
            self._engine = sglang.Engine(**arguments)
            self._tokenizer = Tokenizer(self._engine.tokenizer_manager.tokenizer, self._weights)
        except BackendError:
            raise
        except Exception as error:  # ImportError for a missing kernel, RuntimeError from the scheduler, ValueError
            raise EngineError(f"SGLang cannot load {self._weights.name}", inner_line(error)) from error
        self._ends = self._tokenizer.end_tokens(self._weights.path)
        self.template_note = self._tokenizer.template_note
        cards = options.tensor_parallel * options.pipeline_parallel
        self.where = "GPU" if cards == 1 else f"{cards} GPUs"
        tell(1.0, "ready")

    # The contract

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        if not self._weights.chats:
            raise EngineError(f"{self._weights.name} is a base model without chat: it completes a text as it stands")
        asked = list(turns)
        return self._thread.stream(lambda job: self._chat(job, asked, sampling))

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        return self._thread.stream(lambda job: self._complete(job, prompt, sampling))

    def count_tokens(self, text: str) -> int:
        self._refuse_when_closed()
        with self._tokenizing:
            return self._tokenizer.count(text)

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        self._refuse_when_closed()
        with self._tokenizing:
            return len(self._tokenizer.chat(turns)[0])

    def stop(self) -> None:
        self._thread.stop()

    def measured_bytes(self) -> int | None:
        """Not known: the memory is the scheduler's, which is another process."""
        return None

    def close(self) -> None:
        self._thread.close(wait_seconds=60.0)

    def _refuse_when_closed(self) -> None:
        if self._thread.closed:
            raise EngineError("the model was closed; load it again")

    # On the model's thread

    def _free(self) -> None:
        import asyncio

        engine, self._engine = self._engine, None
        if engine is not None:
            with contextlib.suppress(Exception):
                engine.shutdown()
        loop, self._loop = self._loop, None
        if loop is not None:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            # One turn of the loop lets the cancelled tasks end.
            loop.run_until_complete(asyncio.sleep(0))
            asyncio.set_event_loop(None)
            loop.close()
        gc.collect()

    def _chat(self, job: Job, turns: list[Turn], sampling: Sampling) -> Iterator[Chunk]:
        with self._tokenizing:
            tokens, opened = self._tokenizer.chat(turns, sampling.thinking)
        tags = opened or self._weights.reasoning_tags
        answer = Answer((*sampling.stop, *self._tokenizer.stop), tags, thinking=opened is not None)
        yield from self._generate(job, tokens, answer, sampling)

    def _complete(self, job: Job, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        with self._tokenizing:
            tokens = self._tokenizer.text(prompt)
        yield from self._generate(job, tokens, Answer(sampling.stop, plain=True), sampling)

    def _generate(self, job: Job, tokens: list[int], answer: Answer, sampling: Sampling) -> Iterator[Chunk]:
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        started = first = last = time.perf_counter()
        room = self.context - len(tokens)
        limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        text = self._tokenizer.stream()
        cached = 0
        reason: StopReason = "length"
        try:
            for output in self._outputs(job, tokens, sampling, limit) if limit > 0 else ():
                if output is None:
                    reason = "cancelled"
                    break
                about = output["meta_info"]
                cached = max(cached, about.get("cached_tokens") or 0)
                ended = about.get("finish_reason") or {}
                if ended.get("type") == "abort":
                    raise EngineError(f"SGLang failed on {self._weights.name}", str(ended.get("message")))
                ranked = about.get("output_top_logprobs") or ()
                chosen = about.get("output_token_logprobs") or ()
                for place, token in enumerate(output["output_ids"]):
                    last = time.perf_counter()
                    if not answer.tokens:
                        first = last
                    if token in self._ends:
                        reason = "end"
                        break
                    alternatives = None
                    if sampling.logprobs and place < len(ranked) and place < len(chosen):
                        alternatives = self._alternatives(ranked[place], chosen[place])
                    yield from answer.token(text.token(token), alternatives)
                    if answer.stopped:
                        reason = "stop"
                        break
                if ended or reason != "length":
                    break
        except BackendError:
            raise
        except Exception as error:
            raise EngineError(f"SGLang failed on {self._weights.name}", inner_line(error)) from error
        if not answer.tokens and reason == "cancelled":
            first = last = time.perf_counter()
        yield from answer.text(text.finish())
        yield from answer.finish()
        yield Chunk(stats=Stats(len(tokens), cached, first - started, answer.tokens, last - first, reason))

    def _outputs(self, job: Job, tokens: list[int], sampling: Sampling, limit: int) -> Iterator[dict[str, Any] | None]:
        """What the engine sends, and None once it was stopped; a request that is given up is aborted."""
        import asyncio

        loop = self._loop
        assert loop is not None
        request = f"modeldeck-{id(self)}-{next(self._numbers)}"
        begin = self._engine.async_generate(
            input_ids=tokens,
            sampling_params=sampling_parameters(sampling, limit, self._ends),
            return_logprob=sampling.logprobs > 0,
            top_logprobs_num=sampling.logprobs,
            stream=True,
            rid=request,
        )
        stream: AsyncIterator[dict[str, Any]] = loop.run_until_complete(begin)
        ended = False
        coming = loop.create_task(_next(stream))
        try:
            while True:
                while not coming.done():
                    loop.run_until_complete(asyncio.wait({coming}, timeout=LOOK_SECONDS))
                    if job.cancelled:
                        yield None
                        return
                output = coming.result()
                if output is None:
                    ended = True
                    return
                if job.cancelled:
                    yield None
                    return
                ended = bool(output["meta_info"].get("finish_reason"))
                yield output
                coming = loop.create_task(_next(stream))
        finally:
            if not ended:
                self._engine.tokenizer_manager.abort_request(rid=request)
            loop.run_until_complete(_drained(coming, stream))

    def _alternatives(self, ranked: Sequence[Any], chosen: Sequence[Any]) -> tuple[Alternative, ...]:
        """SGLang gives (logprob, token, text or None) by rank, and the token that was chosen apart."""
        found = {int(token): float(logprob) for logprob, token, *_ in ranked}
        found.setdefault(int(chosen[1]), float(chosen[0]))
        best = sorted(found.items(), key=lambda item: -item[1])
        return tuple(Alternative(self._tokenizer.piece(token), token, min(0.0, logprob)) for token, logprob in best)


async def _next(stream: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    return await anext(stream, None)


async def _drained(coming: asyncio.Task[dict[str, Any] | None], stream: AsyncIterator[dict[str, Any]]) -> None:
    """Read what the scheduler still sends of a request, until its generator has cleaned up behind itself."""
    import asyncio

    with contextlib.suppress(Exception):
        async with asyncio.timeout(ABORT_SECONDS):
            if await coming is None:
                return
            async for _ in stream:
                pass
