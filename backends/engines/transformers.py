"""Transformers in this process: PyTorch models from a folder of safetensors.

The loop is ours and not generate(): that one cannot be stopped in prefill, checks no prefix, and hands text to a
streamer whose reader hangs for ever when it fails.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Self

from backends.engines import installed
from backends.engines.engine import Alternative, EngineStatus, LoadOptions, Progress, Weights
from backends.engines.failures import failure
from backends.engines.freed_memory import give_back
from backends.engines.imports import TRANSFORMERS_MODULES, import_ahead
from backends.engines.library_words import inner_line, quieten, quieten_logbar
from backends.engines.local import Drawn, ScoringEngine, Wanted
from backends.engines.model_thread import Job
from backends.engines.prefix_cache import PrefixCache, blocks
from backends.engines.progress import Teller
from backends.engines.ranked import ranked
from backends.engines.scoring import SCORED_AT_ONCE
from backends.engines.threads import compute_threads
from backends.engines.tokenizer import Tokenizer
from backends.engines.torch_memory import TorchMemory
from backends.engines.torch_sampling import TorchSampler
from backends.engines.weights_folder import has_large_vocabulary, require_safetensors
from backends.errors import BackendError, EngineError, EngineMissing
from specs.model import TRANSFORMERS

BLOCK_TOKENS: Final = 128
"""Tokens computed at a time in prefill."""
PROBE_TOKENS: Final = 12
PROBE_DIFFERENCE: Final = 0.15
"""By so much of their length logits may differ for being computed in parts; rounding to bf16 makes 0.02."""
BF16_FLAGS: Final = ("avx512_bf16", "amx_bf16", "bf16")
"""Words in /proc/cpuinfo of processors that multiply bf16 themselves."""


class TransformersAdapter:
    """Takes safetensors as published, quantized by bitsandbytes while loading, or quantized already."""

    name = TRANSFORMERS

    def status(self) -> EngineStatus:
        status = installed.status(self.name)
        return replace(status, lacking=installed.format_lacks()) if status.status == "ready" else status

    def prefers_isolation(self, weights: Weights) -> bool:
        """Whether the load would hold up the screen of this process."""
        return has_large_vocabulary(weights)

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> ScoringEngine:
        status = EngineStatus("ready", lacking=installed.format_lacks()).of(weights.format, weights.quantization)
        if status.install_line is not None:
            raise EngineMissing(status.reason or self.name, status.install_line)
        require_safetensors(self.name, weights)
        return ScoringEngine(TransformersRunner(weights, options), weights, on_progress)


class TransformersRunner:
    """A causal language model of transformers with its caches."""

    name = TRANSFORMERS
    scored_at_once = SCORED_AT_ONCE
    vocabulary: Tokenizer
    measured_bytes: int | None
    """On cards what PyTorch has taken there, else the bytes of all parameters and buffers."""

    def __init__(self, weights: Weights, options: LoadOptions) -> None:
        self._weights = weights
        self._options = options
        self._model: Any = None
        self._cache: PrefixCache | None = None

    def load(self, tell: Teller) -> None:
        tell(0.0, "importing Transformers")
        # OpenMP reads it when torch is loaded. Its threads spin at every barrier otherwise, and beside any other busy
        # program they spin against each other: 8 to 42 tokens a second instead of 350 to 520 (tiny model, 2 cores).
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        quieten()
        by_bitsandbytes = self._weights.format == "bnb" or self._weights.quantization in ("4-bit", "8-bit")
        import_ahead(*TRANSFORMERS_MODULES, *(("bitsandbytes",) if by_bitsandbytes else ()))
        try:
            import torch
            import transformers
        except ImportError as error:
            raise EngineMissing("Transformers is not installed", installed.install_line(self.name)) from error
        quieten()
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_warning()
        if self._weights.format in ("gptq", "awq"):
            quieten_logbar()
        self._torch = torch
        torch.set_num_threads(compute_threads(self._options.threads))
        self._device, dtype = _device_and_dtype(torch, self._options.device)
        tell(0.05, "reading the tokenizer")
        folder = str(self._weights.path)
        common = {"local_files_only": True, "trust_remote_code": self._options.trust_remote_code}
        from transformers.utils import logging as their_logging

        try:
            self.vocabulary = Tokenizer(transformers.AutoTokenizer.from_pretrained(folder, **common), self._weights)
            tell(0.1, "reading the weights")
            previous = their_logging.set_tqdm_hook(_watched_by(tell))
            try:
                before = self._device_bytes()
                self._model = transformers.AutoModelForCausalLM.from_pretrained(
                    folder,
                    dtype=dtype,
                    use_safetensors=True,
                    device_map=self._device_map(),
                    **self._quantization(transformers, dtype),
                    **common,
                ).eval()
            finally:
                their_logging.set_tqdm_hook(previous)
        except BackendError:
            raise
        except Exception as error:  # a library of this size raises anything
            raise failure(f"Transformers cannot load {self._weights.name}", self._weights, inner_line(error)) from error
        grown = self._device_bytes() - before
        self.measured_bytes = grown if grown > 0 else int(self._model.get_memory_footprint())
        config = self._model.config.get_text_config(decoder=True)
        trained = getattr(config, "max_position_embeddings", None) or self._options.context
        self.context = min(self._options.context, trained)
        taken = inspect.signature(self._model.forward).parameters
        # Mamba's models call it by another name, and swallow the usual one without a word.
        self._cache_argument = "cache_params" if "past_key_values" not in taken else "past_key_values"
        if self._cache_argument not in taken:
            kind = type(self._model).__name__
            raise EngineError(f"Transformers cannot load {self._weights.name}", f"{kind} takes no cache from outside")
        self._memory = TorchMemory(transformers.DynamicCache, self._model.config)
        self.wants_stable = self._memory.needs_snapshots
        self._in_parts = not self._memory.needs_snapshots or self._computes_parts_as_the_whole()
        if not self._in_parts:
            self.wants_stable, self.scored_at_once = False, 1
        self._cache = PrefixCache(self._memory, BLOCK_TOKENS)
        self.where = {"cuda": "GPU", "mps": "GPU", "cpu": "CPU"}.get(self._device.partition(":")[0], self._device)
        tell(1.0, "ready")

    def _device_map(self) -> Any:
        if self._device.startswith("cuda") and self._options.device is None and self._torch.cuda.device_count() > 1:
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
        if not self._device.startswith("cuda"):
            return 0
        cuda = self._torch.cuda
        return sum(int(cuda.memory_allocated(card)) for card in range(cuda.device_count()))

    def draw(self, job: Job, wanted: Wanted) -> Iterator[Drawn]:
        cache = self._held
        wanted.cached_tokens = self._prepare(wanted.tokens, exact=wanted.exact)
        sampler = TorchSampler(self._torch, wanted.sampling)
        context = list(wanted.tokens)
        count = wanted.sampling.logprobs
        logits = None
        pauses = (wanted.stable,) if self.wants_stable else ()
        for start, end in self._stretches(wanted.cached_tokens, len(context), *pauses):
            logits = self._forward(job, context[start:end])
            if logits is not None and end in pauses:
                self._memory.snapshot(cache.live)
        while logits is not None:
            token = sampler.choose(logits, context)
            yield token, self._alternatives(logits, token, count) if count else None
            context.append(token)
            logits = self._forward(job, [token])

    def failed(self, error: Exception) -> str:
        self._held.forget()
        return inner_line(error)

    def free(self) -> None:
        # bitsandbytes' parameters hold the modules that hold them, and accelerate's hooks make circles too: where the
        # app has told the collector to leave what is there alone (gc.freeze), only this lets their memory go.
        for module in self._model.modules() if self._model is not None else ():
            module._parameters.clear()
            module._buffers.clear()
        self._model = self._cache = self._memory = None  # type: ignore[assignment]
        give_back()

    @property
    def _held(self) -> PrefixCache:
        assert self._cache is not None
        return self._cache

    def _prepare(self, tokens: list[int], *, exact: bool) -> int:
        """How many tokens of a prompt need no computing."""
        if self._in_parts:
            return self._held.prepare(tokens, exact=exact)
        self._held.forget()
        return 0

    def _stretches(self, start: int, end: int, *pauses: int) -> Iterator[tuple[int, int]]:
        return blocks(start, end, BLOCK_TOKENS, *pauses) if self._in_parts else iter([(start, end)])

    def _computes_parts_as_the_whole(self) -> bool:
        """Whether a prompt's second part is computed on the state that its first part has left.

        Mamba's models begin anew with every part of more than one token (transformers 5.23), and say nothing of it.
        """
        torch, found = self._torch, []
        words = torch.arange(3, 3 + PROBE_TOKENS, device=self._model.device)[None]
        with torch.inference_mode():
            for parts in ((words,), (words[:, :5], words[:, 5:])):
                cache = {self._cache_argument: self._memory.fresh().cache}
                logits = [self._model(input_ids=part, **cache, use_cache=True).logits[0, -1] for part in parts]
                found.append(logits[-1].float())
        whole, parted = found
        return bool((parted - whole).norm() < PROBE_DIFFERENCE * (whole - whole.mean()).norm())

    def _forward(self, job: Job, tokens: list[int]) -> Any:
        """Compute tokens after what the cache holds; the logits of the last one as floats, None: stopped."""
        rows = self._rows(job, tokens, 1)
        return rows[-1] if rows is not None else None

    def _rows(self, job: Job, tokens: list[int], kept: int) -> Any:
        """The same with the logits of so many of the last ones."""
        if job.cancelled:
            return None
        torch, cache = self._torch, self._held
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self._model.device)
            past = {self._cache_argument: cache.live.state.cache}
            out = self._model(input_ids=ids, **past, use_cache=True, logits_to_keep=kept)
            cache.added(tokens)
            return out.logits[0, -kept:].float()

    def behind_prompt(self, job: Job, prompt: list[int]) -> Any:
        logits = None
        for start, end in self._stretches(self._prepare(prompt, exact=True), len(prompt)):
            logits = self._forward(job, prompt[start:end])
        return logits.cpu().numpy() if logits is not None else None

    def behind_each(self, job: Job, tokens: list[int]) -> Sequence[Any] | None:
        rows = self._rows(job, tokens, len(tokens))
        return list(rows.cpu().numpy()) if rows is not None else None

    def _alternatives(self, logits: Any, chosen: int, count: int) -> tuple[Alternative, ...]:
        logprobs = self._torch.log_softmax(logits.double(), -1)
        best = self._torch.topk(logprobs, min(count, logprobs.shape[-1]))
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return ranked(found, (chosen, float(logprobs[chosen])), self.vocabulary.piece)


def _watched_by(tell: Teller) -> Callable[..., Any]:
    """What makes transformers' progress bars: counts what they go through."""

    def make(_factory: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        return _Bar(tell, args[0] if args else settings.get("iterable"), settings.get("total"))

    return make


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
