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
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from backends.engines import installed, llama_log
from backends.engines.answer import Answer
from backends.engines.chat_template import ChatTemplate, built_in
from backends.engines.engine import (
    Alternative,
    Chunk,
    EngineStatus,
    LoadOptions,
    Progress,
    Sampling,
    Score,
    Stats,
    StopReason,
    Turn,
    Weights,
)
from backends.engines.llama_cache import BLOCK_TOKENS, PrefixCache, common_prefix
from backends.engines.model_thread import Job, ModelThread
from backends.engines.plain_words import guarded, pieces
from backends.engines.reasoning import CHANNEL, USUAL_TAGS
from backends.engines.scoring import Stretch, given_tokens, score_all, stretches
from backends.engines.threads import compute_threads
from backends.errors import Cancelled, EngineError, EngineMissing, PromptTooLong
from specs.model import LLAMA_CPP

BATCH_TOKENS: Final = 512
"""n_batch and n_ubatch. With n_outputs_max = 1 the compute buffer no longer holds the logits of a whole batch: 22.8
MiB instead of 514.5 for Gemma's 262,144 words, so a large vocabulary needs no small batch."""
CHECKPOINT_AFTER: Final = 256
"""Tokens of an answer after which a window is copied; its cache can go back BATCH_TOKENS."""
PENALTY_TOKENS: Final = 64
"""How far back a repetition counts; llama.cpp's own default."""
CACHE_TYPES: Final = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30,
}  # fmt: skip
"""ggml's numbers of the types that a KV cache may have."""
REMEMBERED_TEXTS: Final = 512
"""Turns whose control tokens were looked for: a conversation's past turns come again with each prompt."""
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

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> LlamaCppEngine:
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
        return LlamaCppEngine(library, weights, options, on_progress)


class LlamaCppEngine:
    """A GGUF model with one context."""

    name = LLAMA_CPP

    def __init__(self, library: Any, weights: Weights, options: LoadOptions, on_progress: Progress | None) -> None:
        self._library = library
        self._weights = weights
        self._model: Any = None
        self._context: Any = None
        self._vocabulary_guard = threading.Lock()
        # llama.cpp asks at every node of the graph whether to go on. A Python function would take the GIL each time,
        # and wait for it while the screen draws; strlen() of a buffer of ours answers without: 0, or 1 to abort.
        self._marks_found: dict[str, set[str]] = {}
        self._abort_buffer = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
        self._abort_callback = library.ggml_abort_callback(strlen)
        self._thread = ModelThread(weights.name, self._free, self._abort)
        try:
            self._thread.call(lambda job: self._load(job, options, on_progress))
        except BaseException:
            self._thread.close()
            raise

    # Loading

    def _load(self, job: Job, options: LoadOptions, on_progress: Progress | None) -> None:
        library = self._library

        def tell(share: float, note: str) -> None:
            if on_progress is not None:
                on_progress(share, note)

        raised: list[BaseException] = []
        told = -1.0

        def progress(share: float, _user: object) -> bool:
            nonlocal told
            try:
                if share >= told + 0.005 or share == 1.0:
                    told = share
                    tell(0.95 * share, "reading the weights")
            except BaseException as error:  # noqa: BLE001 it must not pass through C; raised again below
                raised.append(error)
            return not raised and not job.cancelled

        callback = library.llama_progress_callback(progress)
        parameters = library.llama_model_default_params()
        parameters.load_mode = library.LLAMA_LOAD_MODE_MMAP
        parameters.progress_callback = callback
        self._place(parameters, options)
        with llama_log.listening() as lines:
            library.llama_backend_init()
            self._model = library.llama_model_load_from_file(str(self._weights.path).encode(), parameters)
            if raised:
                raise raised[0]
            if job.cancelled:
                raise Cancelled(f"loading {self._weights.name} was stopped")
            if not self._model:
                raise EngineError(f"llama.cpp cannot load {self._weights.name}", llama_log.reason(lines))
            tell(0.96, "making room for the context")
            self._vocabulary = library.llama_model_get_vocab(self._model)
            trained = library.llama_model_n_ctx_train(self._model)
            self.context = min(options.context, trained) if trained > 0 else options.context
            self._context = library.llama_init_from_model(self._model, self._context_parameters(options))
            if not self._context:
                raise EngineError(
                    f"llama.cpp has no room for {self.context:,} tokens of context with {self._weights.name}",
                    llama_log.reason(lines),
                )
            library.llama_set_abort_callback(self._context, self._abort_callback, ctypes.addressof(self._abort_buffer))
            self._read_report([line for _, line in lines])
        self._cache = PrefixCache(
            library,
            self._context,
            window=max(0, library.llama_model_n_swa(self._model)),
            recurrent=bool(library.llama_model_is_recurrent(self._model) or library.llama_model_is_hybrid(self._model)),
        )
        self._read_vocabulary()
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
        self._buffers_bytes = sum(int(float(size) * 2**20) for line in lines for _, size in BUFFER.findall(line))
        offloaded = [found for line in lines if (found := OFFLOADED.search(line))]
        layers, total = (int(text) for text in offloaded[-1].groups()) if offloaded else (0, 0)
        self.where = "CPU" if not layers else "GPU" if layers == total else f"split {layers}/{total}"

    def _read_vocabulary(self) -> None:
        library, vocabulary = self._library, self._vocabulary
        self._words = library.llama_vocab_n_tokens(vocabulary)
        self._piece_buffer = ctypes.create_string_buffer(256)

        def text_of(token: int) -> str:
            return library.llama_vocab_get_text(vocabulary, token).decode("utf-8", "replace") if token >= 0 else ""

        self._bos = text_of(library.llama_vocab_bos(vocabulary))
        eos = text_of(library.llama_vocab_eos(vocabulary))
        self._adds_bos = bool(library.llama_vocab_get_add_bos(vocabulary))
        tags = (self._weights.reasoning_tags,) if self._weights.reasoning_tags else USUAL_TAGS
        # Control tokens make no text, and the marks of thinking are such tokens in some vocabularies.
        self._shows_control = any(self._is_control(mark) for mark in (CHANNEL, *(tag for pair in tags for tag in pair)))
        own = library.llama_model_chat_template(self._model, None)
        if self._weights.chat_template is not None:
            self._template = ChatTemplate(self._weights.chat_template, self._bos, eos)
        elif own:
            self._template = ChatTemplate(own.decode("utf-8", "replace"), self._bos, eos)
        else:
            ours, note = built_in(self._is_control)
            self._template = ChatTemplate(ours.source, self._bos, eos, note=note, stop=ours.stop)
        self.template_note = self._template.note if self._weights.chats else None

    def _is_control(self, text: str) -> bool:
        tokens = self._tokenize(text, special=True)
        return len(tokens) == 1 and bool(self._library.llama_vocab_is_control(self._vocabulary, tokens[0]))

    # The contract

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        if not self._weights.chats:
            raise EngineError(f"{self._weights.name} is a base model without chat: it completes a text as it stands")
        asked = list(turns)
        return self._thread.stream(lambda job: self._chat(job, asked, sampling))

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        return self._thread.stream(lambda job: self._complete(job, prompt, sampling))

    def score(
        self, asked: Sequence[Turn] | str, answer: str, reasoning: str = "", reference: Sequence[Score] = ()
    ) -> tuple[Score, ...]:
        if isinstance(asked, str):
            parts, prompt = [Stretch(answer)], self._prompt(asked)
        else:
            plain, seam = guarded(asked, self._marks_in)
            text = self._template.render(plain, thinking=bool(reasoning))
            parts = stretches(text, answer, reasoning, self._weights.reasoning_tags)
            prompt = self._prompt(text, seam)
        return self._thread.call(lambda job: self._score(job, prompt, parts, tuple(reference)))

    def count_tokens(self, text: str) -> int:
        return len(self._tokenize(text, special=False))

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        plain, seam = guarded(turns, self._marks_in)
        return len(self._prompt(self._template.render(plain), seam))

    def stop(self) -> None:
        self._thread.stop()

    def measured_bytes(self) -> int | None:
        """The buffers that llama.cpp reports: weights (mapped ones too), KV cache, output and compute."""
        return None if self._thread.closed else self._buffers_bytes

    def close(self) -> None:
        self._thread.close()

    # On the model's thread

    def _abort(self, wanted: bool) -> None:
        self._abort_buffer[0] = b"\x01" if wanted else b"\0"

    def _free(self) -> None:
        with self._vocabulary_guard:
            if self._context:
                self._library.llama_free(self._context)
                self._context = None
            if self._model:
                self._library.llama_model_free(self._model)
                self._model = None

    def _chat(self, job: Job, turns: list[Turn], sampling: Sampling) -> Iterator[Chunk]:
        plain, seam = guarded(turns, self._marks_in)
        text = self._template.render(plain, thinking=sampling.thinking)
        tokens = self._prompt(text, seam)
        stable = None
        if self._cache.forgets:
            # The next turn's prompt will go on from here, whatever this answer's thinking becomes in it.
            past = self._prompt(self._template.render(plain, thinking=sampling.thinking, opens_answer=False), seam)
            stable = common_prefix(past, tokens)
        tags = (self._weights.reasoning_tags,) if self._weights.reasoning_tags else USUAL_TAGS
        tail = text.rstrip()
        opened = next((pair for pair in tags if tail.endswith(pair[0])), None)
        stop = (*sampling.stop, *self._weights.stop, *self._template.stop)
        answer = Answer(stop, opened or self._weights.reasoning_tags, thinking=opened is not None)
        yield from self._generate(job, tokens, stable, answer, sampling)

    def _complete(self, job: Job, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        tokens = self._prompt(prompt)
        yield from self._generate(job, tokens, len(tokens), Answer(sampling.stop, plain=True), sampling)

    def _generate(
        self, job: Job, tokens: list[int], stable: int | None, answer: Answer, sampling: Sampling
    ) -> Iterator[Chunk]:
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        library, context, vocabulary = self._library, self._context, self._vocabulary
        started = time.perf_counter()
        exact = sampling.seed is not None and sampling.temperature > 0
        cached = self._cache.prepare(tokens, exact=exact)
        room = self.context - len(tokens)
        limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        reason: StopReason = "length"
        first = last = started
        sampler = self._sampler(sampling, tokens)
        try:
            alive = self._prefill(job, tokens, cached, stable, exact=exact)
            first = last = time.perf_counter()
            while alive and answer.tokens < limit:
                token = library.llama_sampler_sample(sampler, context, -1)
                last = time.perf_counter()
                if not answer.tokens:
                    first = last
                if library.llama_vocab_is_eog(vocabulary, token):
                    reason = "end"
                    break
                alternatives = self._alternatives(token, sampling.logprobs) if sampling.logprobs else None
                yield from answer.token(self._piece(token), alternatives)
                if answer.stopped:
                    reason = "stop"
                    break
                if answer.tokens < limit:
                    alive = self._decode(job, [token])
                if answer.tokens == CHECKPOINT_AFTER and stable is not None and self._cache.forgets:
                    self._cache.checkpoint(stable)
        finally:
            library.llama_sampler_free(sampler)
        if not alive:
            reason = "cancelled"
        yield from answer.finish()
        yield Chunk(stats=Stats(len(tokens), cached, first - started, answer.tokens, last - first, reason))
        if stable is not None and self._cache.forgets and not job.cancelled:
            self._cache.checkpoint(stable)

    def _prefill(self, job: Job, tokens: list[int], start: int, stable: int | None, *, exact: bool) -> bool:
        """Compute the prompt from start on; False: stopped on the way.

        Args:
            stable: Where the next turn may have to come back to; None: nowhere.
            exact: In batches that do not depend on what was cached.
        """
        batch = BLOCK_TOKENS if exact else self._batch_tokens
        pauses = {len(tokens)}
        if stable is not None and self._cache.forgets_at_once:
            pauses.add(stable)
        at = start
        for end in sorted(pauses):
            while at < end:
                upto = min(end, at - at % batch + batch if exact else at + batch)
                if not self._decode(job, tokens[at:upto]):
                    return False
                at = upto
            if end == stable and self._cache.forgets_at_once:
                self._cache.checkpoint(end)
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
        self._cache.repair()
        if code == ABORTED:
            return False
        raise EngineError(
            f"llama.cpp failed on {self._weights.name}", llama_log.reason(lines) or f"decode returned {code}"
        )

    def _score(
        self, job: Job, tokens: list[int], parts: list[Stretch], reference: tuple[Score, ...]
    ) -> tuple[Score, ...]:
        """One token after the other: the context has room for one place's logits, and generating is no faster."""
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        given = given_tokens(parts, lambda text, special: self._tokenize(text, special=special), reference)
        # Computed as for a fixed seed: what the cache held would change last bits, and with them a close first choice.
        cached = self._cache.prepare(tokens, exact=True)
        if not self._prefill(job, tokens, cached, len(tokens), exact=True):
            return ()
        return score_all(
            given[: self.context - len(tokens)],
            self._logits(),
            lambda more: [self._logits()] if self._decode(job, more) else None,
            lambda one: self._piece(one).decode("utf-8", "replace"),
            reference,
            block_tokens=1,
        )

    def _logits(self) -> Any:
        import numpy

        pointer = self._library.llama_get_logits_ith(self._context, -1)
        return numpy.ctypeslib.as_array(pointer, shape=(self._words,))

    def _sampler(self, sampling: Sampling, prompt: list[int]) -> Any:
        """The chain in llama.cpp's own order: penalties, top-k, top-p, min-p, temperature, choice."""
        library = self._library
        chain = library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())

        def add(sampler: Any) -> None:
            library.llama_sampler_chain_add(chain, sampler)

        if sampling.repetition_penalty != 1.0:
            penalty = sampling.repetition_penalty
            add(library.llama_sampler_init_penalties(self._words, PENALTY_TOKENS, penalty, 0.0, 0.0))
        if sampling.temperature <= 0:
            add(library.llama_sampler_init_greedy())
        else:
            if sampling.top_k > 0:
                add(library.llama_sampler_init_top_k(sampling.top_k))
            if sampling.top_p < 1:
                add(library.llama_sampler_init_top_p(sampling.top_p, 1))
            if sampling.min_p > 0:
                add(library.llama_sampler_init_min_p(sampling.min_p, 1))
            add(library.llama_sampler_init_temp(sampling.temperature))
            seed = secrets.randbits(32) if sampling.seed is None else sampling.seed & 0xFFFFFFFF
            add(library.llama_sampler_init_dist(seed))
        for token in prompt[-PENALTY_TOKENS:] if sampling.repetition_penalty != 1.0 else ():
            library.llama_sampler_accept(chain, token)
        return chain

    def _alternatives(self, chosen: int, count: int) -> tuple[Alternative, ...]:
        """The most probable tokens before any sampler, best first; the chosen one is always among them."""
        import numpy

        pointer = self._library.llama_get_logits_ith(self._context, -1)
        logits = numpy.ctypeslib.as_array(pointer, shape=(self._words,)).astype(numpy.float64)
        logits -= logits.max()
        logits -= numpy.log(numpy.exp(logits).sum())
        count = min(count, self._words)
        best = numpy.argpartition(logits, -count)[-count:]
        ranked = [int(token) for token in best[numpy.argsort(-logits[best])]]
        if chosen not in ranked:
            ranked.append(chosen)
        return tuple(
            Alternative(self._piece(token).decode("utf-8", "replace"), token, float(logits[token])) for token in ranked
        )

    # The vocabulary, from any thread: llama.cpp's tokenizer is safe as long as the model is there

    def _prompt(self, text: str, seam: str | None = None) -> list[int]:
        """Tokens of a prompt, begun as the model wants it but never begun twice.

        Args:
            seam: Where the text is cut, so that no control token is seen across it; None: nowhere.
        """
        begun = bool(self._bos) and text.startswith(self._bos)
        parts = pieces(text, seam) if seam else [text]
        tokens = self._tokenize(parts[0] if parts else "", special=True, begin=self._adds_bos and not begun)
        for part in parts[1:]:
            tokens += self._tokenize(part, special=True)
        return tokens

    def _marks_in(self, text: str) -> set[str]:
        """Control tokens that llama.cpp would read in a text."""
        found = self._marks_found.get(text)
        if found is None:
            tokens = self._tokenize(text, special=True)
            found = {
                self._library.llama_vocab_get_text(self._vocabulary, token).decode("utf-8", "replace")
                for token in set(tokens)
                if self._library.llama_vocab_is_control(self._vocabulary, token)
            }
            if len(self._marks_found) >= REMEMBERED_TEXTS:
                self._marks_found.clear()
            self._marks_found[text] = found
        return found

    def _tokenize(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        with self._vocabulary_guard:
            if not self._model:
                raise EngineError("the model was closed; load it again")
            tokens = (ctypes.c_int32 * room)()
            count = self._library.llama_tokenize(self._vocabulary, data, len(data), tokens, room, begin, special)
        if count < 0:
            raise EngineError(f"llama.cpp cannot tokenize a text of {len(data):,} bytes")
        return tokens[:count]

    def _piece(self, token: int) -> bytes:
        buffer = self._piece_buffer
        length = self._library.llama_token_to_piece(
            self._vocabulary, token, buffer, len(buffer), 0, self._shows_control
        )
        if length < 0:
            self._piece_buffer = buffer = ctypes.create_string_buffer(-length)
            length = self._library.llama_token_to_piece(
                self._vocabulary, token, buffer, len(buffer), 0, self._shows_control
            )
        return buffer.raw[:length]
