"""MLX in this process, through mlx-lm: on Apple Silicon's GPU, and with its CPU build on Linux."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Any, Final

from backends.engines import installed
from backends.engines.engine import Alternative, EngineStatus, LoadOptions, Progress, Sampling, Weights
from backends.engines.failures import failure
from backends.engines.imports import TRANSFORMERS_MODULES, import_ahead
from backends.engines.library_words import inner_line, quieten
from backends.engines.local import Drawn, ScoringEngine, Wanted
from backends.engines.mlx_memory import MlxMemory
from backends.engines.mlx_sampling import MlxSampler
from backends.engines.model_thread import Job
from backends.engines.prefix_cache import PrefixCache, blocks
from backends.engines.progress import Teller
from backends.engines.ranked import ranked
from backends.engines.scoring import SCORED_AT_ONCE
from backends.engines.tokenizer import Tokenizer
from backends.engines.weights_folder import has_large_vocabulary, require_safetensors
from backends.errors import BackendError, EngineMissing
from specs.model import MLX

BLOCK_TOKENS: Final = 256
"""Tokens computed at a time in prefill."""
READ_AT_ONCE: Final = 16
"""Tensors that are read before progress is told."""


class MlxAdapter:
    """Takes repositories in MLX's format, whole or quantized."""

    name = MLX

    def status(self) -> EngineStatus:
        status = installed.status(self.name)
        if status.status == "ready" and installed.system()[0] == "Linux":
            return EngineStatus(
                "ready", "this is its CPU build, which is slow", version=status.version, accelerators=()
            )
        return status

    def prefers_isolation(self, weights: Weights) -> bool:
        """Whether the load would hold up the screen of this process."""
        return has_large_vocabulary(weights)

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> ScoringEngine:
        require_safetensors(self.name, weights)
        return ScoringEngine(MlxRunner(weights, options), weights, on_progress)


class MlxRunner:
    """A model of mlx-lm with its caches. Everything happens on one thread: MLX's streams belong to theirs."""

    name = MLX
    scored_at_once = SCORED_AT_ONCE
    vocabulary: Tokenizer
    measured_bytes: int | None
    """What MLX has allocated for the weights."""

    def __init__(self, weights: Weights, options: LoadOptions) -> None:
        self._weights = weights
        self._options = options
        self._model: Any = None
        self._mx: Any = None
        self._cache: PrefixCache | None = None

    def load(self, tell: Teller) -> None:
        tell(0.0, "importing MLX")
        quieten()
        import_ahead(*TRANSFORMERS_MODULES, "mlx_lm.utils")
        try:
            import mlx.core as mx
            from mlx.utils import tree_flatten
            from mlx_lm.models.cache import make_prompt_cache
            from mlx_lm.utils import load_model
            from transformers import AutoTokenizer
        except ImportError as error:
            raise EngineMissing("MLX is not installed", installed.install_line(self.name)) from error
        self._mx = mx
        trusts = self._options.trust_remote_code
        tell(0.05, "reading the tokenizer")
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(self._weights.path), local_files_only=True, trust_remote_code=trusts
            )
            self.vocabulary = Tokenizer(tokenizer, self._weights)
            tell(0.1, "reading the weights")
            before = mx.get_active_memory()
            self._model, config = load_model(self._weights.path, lazy=True, trust_remote_code=trusts)
            arrays = [array for _, array in tree_flatten(self._model.parameters())]
            for at in range(0, len(arrays), READ_AT_ONCE):
                mx.eval(arrays[at : at + READ_AT_ONCE])
                tell(0.1 + 0.85 * min(1.0, (at + READ_AT_ONCE) / len(arrays)), "reading the weights")
            del arrays
        except BackendError:
            raise
        except Exception as error:  # a library of this size raises anything
            raise failure(f"MLX cannot load {self._weights.name}", self._weights, inner_line(error)) from error
        self.measured_bytes = int(mx.get_active_memory() - before)
        if mx.metal.is_available():
            # Keeps the weights from being paged out between two questions; the limit is the system's own.
            mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))
        trained = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
        self.context = min(self._options.context, trained or self._options.context)
        self._memory = MlxMemory(lambda: make_prompt_cache(self._model))
        self.wants_stable = self._memory.needs_snapshots
        self._cache = PrefixCache(self._memory, BLOCK_TOKENS)
        self.where = "GPU" if mx.default_device() == mx.Device(mx.gpu) and mx.metal.is_available() else "CPU"
        tell(1.0, "ready")

    def draw(self, job: Job, wanted: Wanted) -> Iterator[Drawn]:
        mx, cache = self._mx, self._held
        wanted.cached_tokens = cache.prepare(wanted.tokens, exact=wanted.exact)
        logits = self._prefill(job, wanted)
        if logits is None:
            return
        sampler = MlxSampler(mx, wanted.sampling, wanted.tokens)
        count = wanted.sampling.logprobs
        ahead = sampler.choose(logits)
        for place in range(1, wanted.limit + 1):
            current, current_logits = ahead, logits
            if place < wanted.limit:
                # The next token is under way on the device before this one is looked at.
                logits = self._model(current.reshape(1, 1), cache=cache.live.state.layers)[0, -1]
                ahead = sampler.choose(logits, current)
                mx.async_eval(ahead)
            token = int(current.item())
            if place < wanted.limit:
                cache.added([token])
            yield token, self._alternatives(current_logits, token, count) if count else None
            if job.cancelled:
                return

    def failed(self, error: Exception) -> str:
        self._held.forget()
        return inner_line(error)

    def free(self) -> None:
        self._model = self._cache = self._memory = None  # type: ignore[assignment]
        gc.collect()
        if self._mx is not None:
            self._mx.clear_cache()

    @property
    def _held(self) -> PrefixCache:
        assert self._cache is not None
        return self._cache

    def _prefill(self, job: Job, wanted: Wanted) -> Any:
        """The logits after the prompt; None: stopped between two blocks."""
        mx, cache, tokens = self._mx, self._held, wanted.tokens
        pauses = (wanted.stable,) if self.wants_stable else ()
        logits = None
        for start, end in blocks(wanted.cached_tokens, len(tokens), BLOCK_TOKENS, *pauses):
            if job.cancelled:
                return None
            layers = cache.live.state.layers
            logits = self._model(mx.array([tokens[start:end]]), cache=layers)[0, -1]
            mx.eval(logits, [layer.state for layer in layers])
            cache.added(tokens[start:end])
            if end in pauses:
                self._memory.snapshot(cache.live)
        return None if job.cancelled else logits

    def behind_prompt(self, job: Job, prompt: list[int]) -> Any:
        cached = self._held.prepare(prompt, exact=True)
        logits = self._prefill(job, Wanted(prompt, len(prompt), Sampling(), 0, cached))
        return self._as_numpy(logits) if logits is not None else None

    def behind_each(self, job: Job, tokens: list[int]) -> Sequence[Any] | None:
        if job.cancelled:
            return None
        mx, cache = self._mx, self._held
        layers = cache.live.state.layers
        rows = self._model(mx.array([tokens]), cache=layers)[0]
        mx.eval(rows, [layer.state for layer in layers])
        cache.added(tokens)
        return list(self._as_numpy(rows))

    def _as_numpy(self, logits: Any) -> Any:
        import numpy

        return numpy.array(logits.astype(self._mx.float32))

    def _alternatives(self, logits: Any, chosen: int, count: int) -> tuple[Alternative, ...]:
        mx = self._mx
        logits = logits.astype(mx.float32)
        logprobs = logits - mx.logsumexp(logits)
        count = min(count, logprobs.shape[-1])
        best = mx.argpartition(-logprobs, count - 1)[:count]
        found = zip(best.tolist(), logprobs[best].tolist(), strict=True)
        return ranked(found, (chosen, float(logprobs[chosen].item())), self.vocabulary.piece)
