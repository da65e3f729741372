"""Transformers in this process: PyTorch models from a folder of safetensors.

The loop is ours and not generate(): that one cannot be stopped in prefill, checks no prefix, and hands text to a
streamer whose reader hangs for ever when it fails.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Self

from backends.engines import installed
from backends.engines.answer import Answer
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
from backends.engines.model_thread import Job, ModelThread
from backends.engines.scoring import SCORED_AT_ONCE, Stretch, given_tokens, score_all
from backends.engines.threads import compute_threads
from backends.engines.tokenizer import Tokenizer
from backends.engines.torch_cache import BLOCK_TOKENS, TorchCaches
from backends.engines.torch_sampling import TorchSampler
from backends.errors import BackendError, Cancelled, EngineError, EngineMissing, PromptTooLong
from specs.model import TRANSFORMERS

NEEDS: Final = {
    "gptq": ("optimum", "gptqmodel"),
    "awq": ("gptqmodel",),
    "bnb": ("bitsandbytes",),
}
"""Libraries beyond transformers that a format needs, by import name."""
QUIET: Final = ("transformers", "bitsandbytes", "accelerate", "torch", "optimum", "gptqmodel", "py.warnings")
"""Loggers that would print on standard error, which is the screen."""
BF16_FLAGS: Final = ("avx512_bf16", "amx_bf16", "bf16")
"""Words in /proc/cpuinfo of processors that multiply bf16 themselves."""


class TransformersAdapter:
    """Takes safetensors as published, quantized by bitsandbytes while loading, or quantized already."""

    name = TRANSFORMERS

    def status(self) -> EngineStatus:
        return installed.status(self.name)

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> TransformersEngine:
        missing = [name for name in _needs(weights) if not installed.is_importable(name)]
        if missing:
            raise EngineMissing(
                f"{weights.format} {weights.quantization} needs {' and '.join(missing)} beside Transformers",
                installed.pip_line(missing),
            )
        if not (weights.path / "config.json").is_file():
            raise EngineError(f"Transformers cannot load {weights.name}", f"{weights.path} has no config.json")
        if not any(weights.path.glob("*.safetensors")):
            raise EngineError(
                f"Transformers cannot load {weights.name}",
                "there are no safetensors in its folder, and pickled weights may run programs: modeldeck reads none",
            )
        return TransformersEngine(weights, options, on_progress)


def _needs(weights: Weights) -> tuple[str, ...]:
    if weights.format == "pytorch" and weights.quantization in ("4-bit", "8-bit"):
        return ("bitsandbytes",)
    return NEEDS.get(weights.format, ())


class TransformersEngine:
    """A causal language model of transformers with its caches."""

    name = TRANSFORMERS

    def __init__(self, weights: Weights, options: LoadOptions, on_progress: Progress | None) -> None:
        self._weights = weights
        self._model: Any = None
        self._thread = ModelThread(weights.name, self._free)
        try:
            self._thread.call(lambda job: self._load(job, options, on_progress))
        except BaseException:
            self._thread.close()
            raise

    # Loading

    def _load(self, job: Job, options: LoadOptions, on_progress: Progress | None) -> None:
        tell = Teller(job, on_progress, f"loading {self._weights.name} was stopped")
        tell(0.0, "importing Transformers")
        # OpenMP reads it when torch is loaded. Its threads spin at every barrier otherwise, and beside any other busy
        # program they spin against each other: 8 to 42 tokens a second instead of 350 to 520 (tiny model, 2 cores).
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        quieten()
        try:
            import torch
            import transformers
        except ImportError as error:
            raise EngineMissing("Transformers is not installed", installed.install_line(self.name)) from error
        quieten(transformers)
        self._torch = torch
        torch.set_num_threads(compute_threads(options.threads))
        self._device, dtype = _device_and_dtype(torch, options.device)
        tell(0.05, "reading the tokenizer")
        folder = str(self._weights.path)
        common = {"local_files_only": True, "trust_remote_code": options.trust_remote_code}
        from transformers.utils import logging as their_logging

        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **common)
            self._tokenizer = Tokenizer(tokenizer, self._weights)
            tell(0.1, "reading the weights")
            previous = their_logging.set_tqdm_hook(tell.watch)
            try:
                before = self._device_bytes()
                self._model = transformers.AutoModelForCausalLM.from_pretrained(
                    folder,
                    dtype=dtype,
                    use_safetensors=True,
                    device_map=self._device_map(options),
                    **self._quantization(transformers, dtype),
                    **common,
                ).eval()
            finally:
                their_logging.set_tqdm_hook(previous)
        except BackendError:
            raise
        except Exception as error:  # a library of this size raises anything
            raise EngineError(f"Transformers cannot load {self._weights.name}", first_line(error)) from error
        grown = self._device_bytes() - before
        self._measured = grown if grown > 0 else int(self._model.get_memory_footprint())
        config = self._model.config.get_text_config(decoder=True)
        trained = getattr(config, "max_position_embeddings", None) or options.context
        self.context = min(options.context, trained)
        self._ends = self._tokenizer.end_tokens(self._weights.path)
        self._caches = TorchCaches(torch, transformers.DynamicCache, self._model.config)
        self.template_note = self._tokenizer.template_note
        self.where = {"cuda": "GPU", "mps": "GPU", "cpu": "CPU"}.get(self._device.partition(":")[0], self._device)
        tell(1.0, "ready")

    def _device_map(self, options: LoadOptions) -> Any:
        if self._device.startswith("cuda") and options.device is None and self._torch.cuda.device_count() > 1:
            return "auto"
        return {"": self._device}

    def _quantization(self, transformers: Any, dtype: Any) -> dict[str, Any]:
        if self._weights.format != "pytorch" or self._weights.quantization not in ("4-bit", "8-bit"):
            return {}
        if self._weights.quantization == "8-bit":
            return {"quantization_config": transformers.BitsAndBytesConfig(load_in_8bit=True)}
        return {
            "quantization_config": transformers.BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=dtype,
                bnb_4bit_use_double_quant=True,
            )
        }

    def _device_bytes(self) -> int:
        return int(self._torch.cuda.memory_allocated()) if self._device.startswith("cuda") else 0

    # The contract

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        if not self._weights.chats:
            raise EngineError(f"{self._weights.name} is a base model without chat: it completes a text as it stands")
        asked = list(turns)
        return self._thread.stream(lambda job: self._chat(job, asked, sampling))

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        return self._thread.stream(
            lambda job: self._generate(job, self._tokenizer.text(prompt), Answer(sampling.stop, plain=True), sampling)
        )

    def score(
        self, asked: Sequence[Turn] | str, answer: str, reasoning: str = "", reference: Sequence[Score] = ()
    ) -> tuple[Score, ...]:
        self._refuse_when_closed()
        tokens, parts = self._tokenizer.scored(asked, answer, reasoning)
        return self._thread.call(lambda job: self._score(job, tokens, parts, tuple(reference)))

    def count_tokens(self, text: str) -> int:
        self._refuse_when_closed()
        return self._tokenizer.count(text)

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        self._refuse_when_closed()
        return len(self._tokenizer.chat(turns)[0])

    def stop(self) -> None:
        self._thread.stop()

    def measured_bytes(self) -> int | None:
        """On a card what PyTorch has taken there, else the bytes of all parameters and buffers."""
        return None if self._thread.closed else self._measured

    def close(self) -> None:
        self._thread.close()

    def _refuse_when_closed(self) -> None:
        if self._thread.closed:
            raise EngineError("the model was closed; load it again")

    # On the model's thread

    def _free(self) -> None:
        self._model = None
        self._caches = None  # type: ignore[assignment]
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch is not None and torch.backends.mps.is_available():
            torch.mps.empty_cache()
        if sys.platform == "linux":
            # glibc keeps what was freed; a gigabyte of parameters should be seen to go.
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)

    def _chat(self, job: Job, turns: list[Turn], sampling: Sampling) -> Iterator[Chunk]:
        tokens, opened = self._tokenizer.chat(turns, sampling.thinking)
        tags = opened or self._weights.reasoning_tags
        answer = Answer((*sampling.stop, *self._tokenizer.stop), tags, thinking=opened is not None)
        yield from self._generate(job, tokens, answer, sampling)

    def _generate(self, job: Job, tokens: list[int], answer: Answer, sampling: Sampling) -> Iterator[Chunk]:
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        started = time.perf_counter()
        room = self.context - len(tokens)
        limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        reason: StopReason = "length"
        text = self._tokenizer.stream()
        sampler = TorchSampler(self._torch, sampling)
        context = list(tokens)
        first = last = started
        try:
            cached = self._caches.prepare(tokens, exact=sampling.seed is not None and sampling.temperature > 0)
            logits = self._prefill(job, tokens, cached)
            first = last = time.perf_counter()
            while logits is not None and answer.tokens < limit:
                token = sampler.choose(logits, context)
                last = time.perf_counter()
                if not answer.tokens:
                    first = last
                if token in self._ends:
                    reason = "end"
                    break
                alternatives = self._alternatives(logits, token, sampling.logprobs) if sampling.logprobs else None
                context.append(token)
                yield from answer.token(text.token(token), alternatives)
                if answer.stopped:
                    reason = "stop"
                    break
                if answer.tokens < limit:
                    logits = None if job.cancelled else self._forward([token])
                if job.cancelled:
                    logits = None
        except BackendError:
            raise
        except Exception as error:
            self._caches.forget()
            raise EngineError(f"Transformers failed on {self._weights.name}", first_line(error)) from error
        if logits is None:
            reason = "cancelled"
        yield from answer.text(text.finish())
        yield from answer.finish()
        yield Chunk(stats=Stats(len(tokens), cached, first - started, answer.tokens, last - first, reason))

    def _prefill(self, job: Job, tokens: list[int], start: int) -> Any:
        """The logits after the prompt; None: stopped between two blocks."""
        logits = None
        at = start
        while at < len(tokens):
            if job.cancelled:
                return None
            upto = min(len(tokens), at - at % BLOCK_TOKENS + BLOCK_TOKENS)
            logits = self._forward(tokens[at:upto])
            at = upto
        return None if job.cancelled else logits

    def _forward(self, tokens: list[int]) -> Any:
        """Compute tokens after what the cache holds; the logits of the last one as floats."""
        return self._rows(tokens, 1)[-1]

    def _rows(self, tokens: list[int], kept: int) -> Any:
        """The same with the logits of so many of the last ones."""
        torch = self._torch
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self._model.device)
            out = self._model(input_ids=ids, past_key_values=self._caches.live, use_cache=True, logits_to_keep=kept)
            self._caches.added(tokens)
            return out.logits[0, -kept:].float()

    def _score(
        self, job: Job, tokens: list[int], parts: list[Stretch], reference: tuple[Score, ...]
    ) -> tuple[Score, ...]:
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        given = given_tokens(parts, self._tokenizer.after_prompt, reference)[: self.context - len(tokens)]

        def forward(more: list[int]) -> Any:
            return None if job.cancelled else self._rows(more, len(more)).cpu().numpy()

        try:
            first = self._prefill(job, tokens, self._caches.prepare(tokens, exact=True))
            if first is None:
                return ()
            return score_all(
                given, first.cpu().numpy(), forward, self._tokenizer.piece, reference, block_tokens=SCORED_AT_ONCE
            )
        except BackendError:
            raise
        except Exception as error:
            self._caches.forget()
            raise EngineError(f"Transformers failed on {self._weights.name}", first_line(error)) from error

    def _alternatives(self, logits: Any, chosen: int, count: int) -> tuple[Alternative, ...]:
        logprobs = self._torch.log_softmax(logits.double(), -1)
        best = self._torch.topk(logprobs, min(count, logprobs.shape[-1]))
        ranked = [(int(token), float(value)) for value, token in zip(best.values, best.indices, strict=True)]
        if all(token != chosen for token, _ in ranked):
            ranked.append((chosen, float(logprobs[chosen])))
        return tuple(Alternative(self._tokenizer.piece(token), token, logprob) for token, logprob in ranked)


class Teller:
    """Tells a load's progress, and ends the load when that is wished."""

    def __init__(self, job: Job, on_progress: Progress | None, cancelled: str) -> None:
        self._job = job
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._share = -1.0

    def __call__(self, share: float, note: str) -> None:
        if self._job.cancelled:
            raise Cancelled(self._cancelled)
        if self._on_progress is not None and (share >= self._share + 0.005 or share == 1.0):
            self._share = share
            self._on_progress(share, note)

    def watch(self, _factory: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Stands in for a progress bar of transformers: counts what it goes through."""
        return _Bar(self, args[0] if args else settings.get("iterable"), settings.get("total"))


class _Bar:
    """As much of tqdm as transformers uses."""

    def __init__(self, tell: Teller, items: Any, total: int | None) -> None:
        self._tell = tell
        self._items = items
        self._total = total or (len(items) if hasattr(items, "__len__") else 0)
        self._done = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items or ():
            yield item
            self.update()

    def update(self, steps: int = 1) -> None:
        self._done += steps
        if self._total:
            self._tell(0.1 + 0.85 * min(1.0, self._done / self._total), "reading the weights")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to give back."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args, **_settings: None


def _device_and_dtype(torch: Any, wanted: str | None) -> tuple[str, Any]:
    """Where to compute and in which type: the best that the hardware multiplies itself."""
    device = wanted or (
        "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    )
    if device.startswith("cuda"):
        return device, torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "mps":
        return device, torch.bfloat16
    # 17-23 tokens a second in bf16 against 3-10 in fp32, where the processor has it; float16 overflows on Gemma 3.
    return device, torch.bfloat16 if _has_bf16() else torch.float32


def _has_bf16() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as told:  # noqa: PTH123 a device of the kernel
            flags = next((line for line in told if line.startswith(("flags", "Features"))), "")
    except OSError:
        return sys.platform == "darwin"
    return any(flag in flags.split() for flag in BF16_FLAGS)


def quieten(transformers: Any = None) -> None:
    """Have everything that the libraries say go to Python's logging alone."""
    logging.captureWarnings(True)
    for name in QUIET:
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
        logger.propagate = True
    # One warning for every matrix multiplication: 11,000 lines in one short answer.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if transformers is not None:
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_warning()


def first_line(error: BaseException) -> str:
    """What a library's exception says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
