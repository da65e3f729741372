"""llama.cpp in this process, through llama-cpp-python's low-level calls.

The library's own Llama class is left aside: it guesses a chat format where the file names none, sends descriptors 1
and 2 to /dev/null while it loads, holds n_batch x n_vocab floats of scores (537 MB for Gemma) and cannot be stopped
in prefill.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from backends.engines import installed, llama_log
from backends.engines.engine import Alternative, EngineStatus, LoadOptions, Progress, Sampling, Weights
from backends.engines.failures import failure
from backends.engines.library_words import inner_line
from backends.engines.llama_memory import LlamaMemory
from backends.engines.llama_vocabulary import LlamaVocabulary
from backends.engines.local import Drawn, ScoringEngine, Wanted
from backends.engines.model_thread import Job
from backends.engines.prefix_cache import PrefixCache, blocks
from backends.engines.progress import Teller
from backends.engines.ranked import ranked
from backends.engines.sampling import PENALTY_TOKENS, seed_bits
from backends.engines.scoring import LogProbabilities
from backends.engines.threads import compute_threads
from backends.errors import EngineError, EngineMissing, OutOfMemory
from specs.model import LLAMA_CPP

BATCH_TOKENS: Final = 512
"""n_batch and n_ubatch. With n_outputs_max = 1 the compute buffer no longer holds the logits of a whole batch: 22.8
MiB instead of 514.5 for Gemma's 262,144 words, so a large vocabulary needs no small batch."""
EXACT_BLOCK_TOKENS: Final = 64
"""Tokens of one batch where the same seed must give the same text."""
CHECKPOINT_AFTER: Final = 256
"""Tokens of an answer after which a window is copied; its cache can go back BATCH_TOKENS."""
CACHE_TYPES: Final = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30,
}  # fmt: skip
"""ggml's numbers of the types that a KV cache may have."""
ABORTED: Final = 2
"""What llama_decode returns when its abort callback said so."""
BUFFER: Final = re.compile(r"(?<!_REPACK )(model|KV|RS|output|compute) buffer size\s*=\s*([0-9.]+) MiB")
"""Weights that ggml lays out again for the processor (CPU_REPACK) stand in the mapped file too: counted once."""
OFFLOADED: Final = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
BACKENDS: Final = {"cuda": "cuda", "metal": "metal", "hip": "rocm", "vulkan": "vulkan", "sycl": "sycl", "musa": "musa"}
"""By the file name of ggml's back end: the kind of accelerator it drives."""


def build_accelerators() -> tuple[str, ...] | None:
    """Kinds of accelerator that the installed build can use, by its files; None: it is not installed."""
    try:
        found = importlib.util.find_spec("llama_cpp")
    except (ImportError, ValueError):
        return None
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations))) / "lib"
    names = (
        {path.name.split(".")[0].removeprefix("lib") for path in folder.glob("*ggml-*")} if folder.is_dir() else set()
    )
    return tuple(kind for backend, kind in BACKENDS.items() if f"ggml-{backend}" in names)


class LlamaCppAdapter:
    """Takes GGUF files, whole or in parts, on every platform."""

    name = LLAMA_CPP

    def status(self) -> EngineStatus:
        status = installed.status(self.name)
        kinds = build_accelerators()
        if status.status != "ready" or kinds is None:
            return status
        reason = None
        os_name, arch = installed.system()
        if installed.has_nvidia_driver() and not set(kinds) & {"cuda", "vulkan"}:
            reason = (
                "this build has no CUDA: models run on the CPU; build it with "
                "CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-binary llama-cpp-python llama-cpp-python"
            )
        elif os_name == "macOS" and arch == "arm64" and "metal" not in kinds:
            reason = "this build has no Metal: models run on the CPU; install it again without a CMAKE_ARGS of your own"
        return EngineStatus("ready", reason, version=status.version, accelerators=kinds)

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> ScoringEngine:
        try:
            import llama_cpp as library
        except ImportError as error:
            raise EngineMissing("llama.cpp is not installed", installed.install_line(self.name)) from error
        except (OSError, RuntimeError) as error:
            raise EngineError("llama-cpp-python does not start here", str(error)) from error
        llama_log.capture(library)
        if not weights.path.is_file():
            raise EngineError(f"llama.cpp cannot load {weights.name}", f"{weights.path} is not there")
        if options.kv_cache_type not in CACHE_TYPES:
            known = ", ".join(CACHE_TYPES)
            raise EngineError(f"llama.cpp has no KV cache of type {options.kv_cache_type!r}; it has {known}")
        runner = LlamaCppRunner(library, weights, options)
        return ScoringEngine(runner, weights, on_progress, on_abort=runner.abort)


class LlamaCppRunner:
    """A GGUF model with one context."""

    name = LLAMA_CPP
    scored_at_once = 1
    """The context has room for one place's logits, and generating is no faster."""
    vocabulary: LlamaVocabulary
    measured_bytes: int | None
    """The buffers that llama.cpp reports: weights (mapped ones too), KV cache, output and compute."""

    def __init__(self, library: Any, weights: Weights, options: LoadOptions) -> None:
        self._library = library
        self._weights = weights
        self._options = options
        self._model: Any = None
        self._context: Any = None
        self._vocabulary: LlamaVocabulary | None = None
        # llama.cpp asks at every node of the graph whether to go on. A Python function would take the GIL each time,
        # and wait for it while the screen draws; strlen() of a buffer of ours answers without: 0, or 1 to abort.
        self._abort_buffer = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
        self._abort_callback = library.ggml_abort_callback(strlen)

    def abort(self, wanted: bool) -> None:
        """Have native code stop what it computes, or let it."""
        self._abort_buffer[0] = b"\x01" if wanted else b"\0"

    def load(self, tell: Teller) -> None:
        library = self._library
        raised: list[BaseException] = []

        def progress(share: float, _user: object) -> bool:
            try:
                tell(0.95 * share, "reading the weights")
            except BaseException as error:  # noqa: BLE001 it must not pass through C; raised again below
                raised.append(error)
            return not raised

        callback = library.llama_progress_callback(progress)
        parameters = library.llama_model_default_params()
        parameters.load_mode = library.LLAMA_LOAD_MODE_MMAP
        parameters.progress_callback = callback
        self._place(parameters, self._options)
        with llama_log.listening() as lines:
            library.llama_backend_init()
            self._model = library.llama_model_load_from_file(str(self._weights.path).encode(), parameters)
            if raised:
                raise raised[0]
            if not self._model:
                raise failure(f"llama.cpp cannot load {self._weights.name}", self._weights, llama_log.reason(lines))
            tell(0.96, "making room for the context")
            trained = library.llama_model_n_ctx_train(self._model)
            self.context = min(self._options.context, trained) if trained > 0 else self._options.context
            self._context = library.llama_init_from_model(self._model, self._context_parameters(self._options))
            if not self._context:
                raise OutOfMemory(
                    f"llama.cpp has no room for {self.context:,} tokens of context with {self._weights.name}",
                    llama_log.reason(lines),
                )
            library.llama_set_abort_callback(self._context, self._abort_callback, ctypes.addressof(self._abort_buffer))
            self._read_report([line for _, line in lines])
        self._memory = LlamaMemory(
            library,
            self._context,
            window=max(0, library.llama_model_n_swa(self._model)),
            recurrent=bool(library.llama_model_is_recurrent(self._model) or library.llama_model_is_hybrid(self._model)),
        )
        self.wants_stable = self._memory.forgets
        self._cache = PrefixCache(self._memory, EXACT_BLOCK_TOKENS)
        self.vocabulary = self._vocabulary = LlamaVocabulary(library, self._model, self._weights)
        tell(1.0, "ready")

    def _place(self, parameters: Any, options: LoadOptions) -> None:
        """Which layers go to which card."""
        if options.device == "cpu":
            parameters.n_gpu_layers = 0
            return
        if options.gpu_layers is not None:
            parameters.n_gpu_layers = options.gpu_layers
        if options.device and ":" in options.device:
            parameters.split_mode = self._library.LLAMA_SPLIT_MODE_NONE
            parameters.main_gpu = int(options.device.rpartition(":")[2])
        elif options.tensor_split:
            shares = (ctypes.c_float * self._library.llama_max_devices())(*options.tensor_split)
            self._tensor_split = shares  # native code reads it while loading
            parameters.tensor_split = shares

    def _context_parameters(self, options: LoadOptions) -> Any:
        library = self._library
        parameters = library.llama_context_default_params()
        parameters.n_ctx = self.context
        parameters.n_batch = parameters.n_ubatch = min(BATCH_TOKENS, self.context)
        parameters.n_seq_max = 1
        parameters.n_outputs_max = 1
        parameters.n_threads = parameters.n_threads_batch = compute_threads(options.threads)
        parameters.type_k = parameters.type_v = CACHE_TYPES[options.kv_cache_type]
        # "auto" is on wherever the back end can; a quantized V cache cannot do without it.
        quantized = options.kv_cache_type not in ("f32", "f16", "bf16")
        parameters.flash_attn_type = (
            library.LLAMA_FLASH_ATTN_TYPE_ENABLED if quantized else library.LLAMA_FLASH_ATTN_TYPE_AUTO
        )
        parameters.swa_full = False
        self._batch_tokens = parameters.n_batch
        return parameters

    def _read_report(self, lines: list[str]) -> None:
        """What llama.cpp says about where it put what."""
        self.measured_bytes = sum(int(float(size) * 2**20) for line in lines for _, size in BUFFER.findall(line))
        offloaded = [found for line in lines if (found := OFFLOADED.search(line))]
        layers, total = (int(text) for text in offloaded[-1].groups()) if offloaded else (0, 0)
        self.where = "CPU" if not layers else "GPU" if layers == total else f"split {layers}/{total}"

    def draw(self, job: Job, wanted: Wanted) -> Iterator[Drawn]:
        cache, memory = self._cache, self._memory
        wanted.cached_tokens = cache.prepare(wanted.tokens, exact=wanted.exact)
        sampler = self._sampler(wanted.sampling, wanted.tokens)
        count = wanted.sampling.logprobs
        drawn = 0
        try:
            alive = self._prefill(job, wanted.tokens, wanted.cached_tokens, wanted.stable, exact=wanted.exact)
            while alive:
                token = int(self._library.llama_sampler_sample(sampler, self._context, -1))
                yield token, self._alternatives(token, count) if count else None
                drawn += 1
                alive = self._decode(job, [token])
                if drawn == CHECKPOINT_AFTER and memory.forgets:
                    memory.checkpoint(cache.live, wanted.stable)
        finally:
            self._library.llama_sampler_free(sampler)
            if memory.forgets and not job.cancelled:
                memory.checkpoint(cache.live, wanted.stable)

    def failed(self, error: Exception) -> str:
        self._cache.forget()
        return inner_line(error)

    def free(self) -> None:
        if self._vocabulary is not None:
            self._vocabulary.close()
        if self._context:
            self._library.llama_free(self._context)
            self._context = None
        if self._model:
            self._library.llama_model_free(self._model)
            self._model = None

    def _prefill(self, job: Job, tokens: list[int], start: int, stable: int, *, exact: bool) -> bool:
        """Compute the prompt from start on; False: stopped on the way.

        Args:
            stable: Where the next turn may have to come back to.
            exact: In batches that do not depend on what was cached.
        """
        pauses = (stable,) if self._memory.recurrent else ()
        size = EXACT_BLOCK_TOKENS if exact else self._batch_tokens
        for at, upto in blocks(start, len(tokens), size, *pauses, aligned=exact):
            if not self._decode(job, tokens[at:upto]):
                return False
            if upto in pauses:
                self._memory.checkpoint(self._cache.live, upto)
        return True

    def _decode(self, job: Job, tokens: list[int]) -> bool:
        """Compute tokens after what the cache holds; False: stopped."""
        if job.cancelled:
            return False
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        with llama_log.listening() as lines:
            code = self._library.llama_decode(self._context, self._library.llama_batch_get_one(array, len(tokens)))
        if code == 0:
            self._cache.added(tokens)
            return not job.cancelled
        self._believe_the_cache()
        if code == ABORTED:
            return False
        line = llama_log.reason(lines) or f"decode returned {code}"
        raise failure(f"llama.cpp failed on {self._weights.name}", self._weights, line)

    def _believe_the_cache(self) -> None:
        """After a decode that was aborted or failed the library knows best what it holds."""
        held = self._memory.held_tokens()
        if self._memory.recurrent or held > self._cache.length:
            # A recurrent state that saw half a batch is nobody's state.
            self._cache.forget()
        elif held < self._cache.length:
            self._cache.shorten(held)

    def behind_prompt(self, job: Job, prompt: list[int]) -> Any:
        # Computed as for a fixed seed: what the cache held would change last bits, and with them a close first choice.
        cached = self._cache.prepare(prompt, exact=True)
        return self._logits() if self._prefill(job, prompt, cached, len(prompt), exact=True) else None

    def behind_each(self, job: Job, tokens: list[int]) -> Sequence[Any] | None:
        return [self._logits()] if self._decode(job, tokens) else None

    def _logits(self) -> Any:
        """Of the last place, one float a word: native memory, which the next decode writes over."""
        import numpy

        pointer = self._library.llama_get_logits_ith(self._context, -1)
        return numpy.ctypeslib.as_array(pointer, shape=(self.vocabulary.words,))

    def _alternatives(self, chosen: int, count: int) -> tuple[Alternative, ...]:
        here = LogProbabilities(self._logits())
        return ranked(here.likely(count), (chosen, here.of(chosen)), self.vocabulary.piece)

    def _sampler(self, sampling: Sampling, prompt: list[int]) -> Any:
        """llama.cpp's chain for settings within bounds."""
        library = self._library
        chain = library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())

        def add(sampler: Any) -> None:
            library.llama_sampler_chain_add(chain, sampler)

        if sampling.repetition_penalty != 1.0:
            penalty, words = sampling.repetition_penalty, self.vocabulary.words
            add(library.llama_sampler_init_penalties(words, PENALTY_TOKENS, penalty, 0.0, 0.0))
            for token in prompt[-PENALTY_TOKENS:]:
                library.llama_sampler_accept(chain, token)
        if sampling.temperature <= 0:
            add(library.llama_sampler_init_greedy())
            return chain
        if sampling.top_k > 0:
            add(library.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1:
            add(library.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            add(library.llama_sampler_init_min_p(sampling.min_p, 1))
        add(library.llama_sampler_init_temp(sampling.temperature))
        seed = seed_bits(sampling, 32)
        add(library.llama_sampler_init_dist(secrets.randbits(32) if seed is None else seed))
        return chain
