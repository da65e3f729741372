"""SGLang, its engine driven from this process: the scheduler that computes is a child process of its own making.

Not run here: its published kernels are CUDA only. Written and tested against the contract recorded from the wheel of
sglang 0.5.23 (sglang/srt/entrypoints/engine.py, managers/tokenizer_manager.py, sampling/sampling_params.py).
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from backends.engines import installed
from backends.engines.engine import Alternative, EngineStatus, LoadOptions, Progress, Sampling, Weights
from backends.engines.failures import failure
from backends.engines.library_words import inner_line, quieten
from backends.engines.local import Drawn, LocalEngine, Wanted
from backends.engines.model_thread import Job
from backends.engines.progress import Teller
from backends.engines.ranked import ranked
from backends.engines.sampling import seed_bits
from backends.engines.tokenizer import Tokenizer
from backends.engines.weights_folder import require_safetensors, trained_context
from backends.errors import BackendError, EngineError, EngineMissing
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

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> LocalEngine:
        require_safetensors(self.name, weights)
        return LocalEngine(SglangRunner(weights, options), weights, on_progress, close_seconds=60.0)


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
        sampling: Within bounds.
        limit: Tokens that the answer may have.
        end_tokens: Tokens that end it.
    """
    parameters: dict[str, Any] = {
        "max_new_tokens": limit,
        "temperature": sampling.temperature,
        # -1 is the whole vocabulary; at temperature 0 SGLang takes the first one by itself.
        "top_k": sampling.top_k or -1,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "stop_token_ids": sorted(end_tokens),
        "skip_special_tokens": False,
    }
    if sampling.seed is not None:
        parameters["sampling_seed"] = seed_bits(sampling, 31)
    return parameters


class SglangRunner:
    """A model in SGLang, one conversation at a time; its radix cache serves all of them."""

    name = SGLANG
    wants_stable = False
    vocabulary: Tokenizer
    measured_bytes: int | None = None
    """Not known: the memory is the scheduler's, which is another process."""

    def __init__(self, weights: Weights, options: LoadOptions) -> None:
        self._weights = weights
        self._options = options
        self._engine: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = itertools.count()

    def load(self, tell: Teller) -> None:
        import asyncio

        options = self._options
        trained = trained_context(self._weights.path)
        self.context = min(options.context, trained) if trained else options.context
        arguments = server_arguments(self._weights, options, self.context)
        tell(0.0, "importing SGLang")
        os.environ.setdefault("DO_NOT_TRACK", "1")
        quieten("sglang")
        try:
            import sglang
        except ImportError as error:
            if (error.name or "").partition(".")[0] == "sglang":
                raise EngineMissing("SGLang is not installed", installed.install_line(self.name)) from error
            raise EngineError("SGLang does not start here", inner_line(error)) from error
        tell(0.3, "reading the weights")
        # After the import, which puts uvloop's policy in place of asyncio's. The engine takes this thread's loop or,
        # by version, makes one of its own: every answer must be asked for on the one that it has.
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        try:
            self._engine = sglang.Engine(**arguments)
            if self._engine.loop is not self._loop:
                self._loop.close()
                self._loop = self._engine.loop
            self.vocabulary = Tokenizer(self._engine.tokenizer_manager.tokenizer, self._weights)
        except BackendError:
            raise
        except Exception as error:  # ImportError for a missing kernel, RuntimeError from the scheduler, ValueError
            raise failure(f"SGLang cannot load {self._weights.name}", self._weights, inner_line(error)) from error
        cards = options.tensor_parallel * options.pipeline_parallel
        self.where = "GPU" if cards == 1 else f"{cards} GPUs"
        tell(1.0, "ready")

    def free(self) -> None:
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

    def draw(self, job: Job, wanted: Wanted) -> Iterator[Drawn]:
        count = wanted.sampling.logprobs
        for output in self._outputs(job, wanted):
            about = output["meta_info"]
            wanted.cached_tokens = max(wanted.cached_tokens, about.get("cached_tokens") or 0)
            ended = about.get("finish_reason") or {}
            if ended.get("type") == "abort":
                raise failure(f"SGLang failed on {self._weights.name}", self._weights, str(ended.get("message")))
            best = about.get("output_top_logprobs") or ()
            chosen = about.get("output_token_logprobs") or ()
            for place, token in enumerate(output["output_ids"]):
                known = count and place < len(best) and place < len(chosen)
                yield token, self._alternatives(best[place], chosen[place]) if known else None
            if ended:
                return

    def failed(self, error: Exception) -> str:
        """The scheduler keeps its own books."""
        return inner_line(error)

    def _outputs(self, job: Job, wanted: Wanted) -> Iterator[dict[str, Any]]:
        """What the engine sends, until it is stopped; a request that is given up is aborted."""
        import asyncio

        loop = self._loop
        assert loop is not None
        request = f"modeldeck-{id(self)}-{next(self._numbers)}"
        begin = self._engine.async_generate(
            input_ids=wanted.tokens,
            sampling_params=sampling_parameters(wanted.sampling, wanted.limit, self.vocabulary.end_tokens),
            return_logprob=wanted.sampling.logprobs > 0,
            top_logprobs_num=wanted.sampling.logprobs,
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
                        return
                output = coming.result()
                if output is None:
                    ended = True
                    return
                if job.cancelled:
                    return
                ended = bool(output["meta_info"].get("finish_reason"))
                yield output
                coming = loop.create_task(_next(stream))
        finally:
            if not ended:
                self._engine.tokenizer_manager.abort_request(rid=request)
            loop.run_until_complete(_drained(coming, stream))

    def _alternatives(self, best: Sequence[Any], chosen: Sequence[Any]) -> tuple[Alternative, ...]:
        """SGLang gives (logprob, token, text or None) by rank, and the token that was chosen apart."""
        found = [(int(token), float(logprob)) for logprob, token, *_ in best]
        return ranked(found, (int(chosen[1]), float(chosen[0])), self.vocabulary.piece)


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
