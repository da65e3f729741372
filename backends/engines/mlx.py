"""MLX in this process, through mlx-lm: on Apple Silicon's GPU, and with its CPU build on Linux."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

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
from backends.engines.llama_cache import common_prefix
from backends.engines.mlx_cache import BLOCK_TOKENS, MlxCaches
from backends.engines.model_thread import Job, ModelThread
from backends.engines.scoring import SCORED_AT_ONCE, Stretch, given_tokens, score_all
from backends.engines.tokenizer import Tokenizer
from backends.engines.transformers import Teller, first_line, quieten
from backends.errors import BackendError, EngineError, EngineMissing, PromptTooLong
from specs.model import MLX

PENALTY_TOKENS: Final = 64
"""How far back a repetition counts, as in llama.cpp."""
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

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> MlxEngine:
        if not (weights.path / "config.json").is_file():
            raise EngineError(f"MLX cannot load {weights.name}", f"{weights.path} has no config.json")
        return MlxEngine(weights, options, on_progress)


class MlxEngine:
    """A model of mlx-lm with its caches. Everything happens on one thread: MLX's streams belong to theirs."""

    name = MLX

    def __init__(self, weights: Weights, options: LoadOptions, on_progress: Progress | None) -> None:
        self._weights = weights
        self._model: Any = None
        self._thread = ModelThread(weights.name, self._free)
        try:
            self._thread.call(lambda job: self._load(job, options, on_progress))
        except BaseException:
            self._thread.close()
            raise

    def _load(self, job: Job, options: LoadOptions, on_progress: Progress | None) -> None:
        tell = Teller(job, on_progress, f"loading {self._weights.name} was stopped")
        tell(0.0, "importing MLX")
        quieten()
        try:
            import mlx.core as mx
            from mlx.utils import tree_flatten
            from mlx_lm.models.cache import make_prompt_cache
            from mlx_lm.utils import load_model
            from transformers import AutoTokenizer
        except ImportError as error:
            raise EngineMissing("MLX is not installed", installed.install_line(self.name)) from error
        self._mx = mx
        tell(0.05, "reading the tokenizer")
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(self._weights.path), local_files_only=True, trust_remote_code=options.trust_remote_code
            )
            self._tokenizer = Tokenizer(tokenizer, self._weights)
            tell(0.1, "reading the weights")
            before = mx.get_active_memory()
            self._model, config = load_model(self._weights.path, lazy=True, trust_remote_code=options.trust_remote_code)
            arrays = [array for _, array in tree_flatten(self._model.parameters())]
            for at in range(0, len(arrays), READ_AT_ONCE):
                mx.eval(arrays[at : at + READ_AT_ONCE])
                tell(0.1 + 0.85 * min(1.0, (at + READ_AT_ONCE) / len(arrays)), "reading the weights")
            del arrays
        except BackendError:
            raise
        except Exception as error:  # a library of this size raises anything
            raise EngineError(f"MLX cannot load {self._weights.name}", first_line(error)) from error
        self._measured = int(mx.get_active_memory() - before)
        if mx.metal.is_available():
            # Keeps the weights from being paged out between two questions; the limit is the system's own.
            mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))
        trained = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
        self.context = min(options.context, trained or options.context)
        self._ends = self._tokenizer.end_tokens(self._weights.path)
        self._caches = MlxCaches(lambda: make_prompt_cache(self._model))
        self.template_note = self._tokenizer.template_note
        self.where = "GPU" if mx.default_device() == mx.Device(mx.gpu) and mx.metal.is_available() else "CPU"
        tell(1.0, "ready")

    # The contract

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        if not self._weights.chats:
            raise EngineError(f"{self._weights.name} is a base model without chat: it completes a text as it stands")
        asked = list(turns)
        return self._thread.stream(lambda job: self._chat(job, asked, sampling))

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        def run(job: Job) -> Iterator[Chunk]:
            tokens = self._tokenizer.text(prompt)
            return self._generate(job, tokens, len(tokens) - 1, Answer(sampling.stop, plain=True), sampling)

        return self._thread.stream(run)

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
        """What MLX has allocated for the weights."""
        return None if self._thread.closed else self._measured

    def close(self) -> None:
        self._thread.close()

    def _refuse_when_closed(self) -> None:
        if self._thread.closed:
            raise EngineError("the model was closed; load it again")

    # On the model's thread

    def _free(self) -> None:
        if self._model is None:
            return
        self._model = None
        self._caches = None  # type: ignore[assignment]
        gc.collect()
        self._mx.clear_cache()

    def _chat(self, job: Job, turns: list[Turn], sampling: Sampling) -> Iterator[Chunk]:
        tokens, opened = self._tokenizer.chat(turns, sampling.thinking)
        stable = common_prefix(self._tokenizer.stable(turns, sampling.thinking), tokens)
        tags = opened or self._weights.reasoning_tags
        answer = Answer((*sampling.stop, *self._tokenizer.stop), tags, thinking=opened is not None)
        yield from self._generate(job, tokens, stable, answer, sampling)

    def _generate(
        self, job: Job, tokens: list[int], stable: int, answer: Answer, sampling: Sampling
    ) -> Iterator[Chunk]:
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        mx = self._mx
        started = time.perf_counter()
        room = self.context - len(tokens)
        limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        reason: StopReason = "length"
        text = self._tokenizer.stream()
        choose = _Chooser(mx, sampling, tokens)
        first = last = started
        alive = True
        try:
            cached = self._caches.prepare(tokens, exact=sampling.seed is not None and sampling.temperature > 0)
            logits = self._prefill(job, tokens, cached, stable)
            alive = logits is not None
            first = last = time.perf_counter()
            ahead = choose(logits) if alive and limit else None
            while ahead is not None:
                current, current_logits = ahead, logits
                ahead = None
                if answer.tokens + 1 < limit:
                    # The next token is under way on the device before this one is looked at.
                    logits = self._model(current.reshape(1, 1), cache=self._caches.live)[0, -1]
                    ahead = choose(logits, current)
                    mx.async_eval(ahead)
                token = int(current.item())
                if answer.tokens + 1 < limit:
                    self._caches.added([token])
                last = time.perf_counter()
                if not answer.tokens:
                    first = last
                if token in self._ends:
                    reason = "end"
                    break
                alternatives = (
                    self._alternatives(current_logits, token, sampling.logprobs) if sampling.logprobs else None
                )
                yield from answer.token(text.token(token), alternatives)
                if answer.stopped:
                    reason = "stop"
                    break
                if job.cancelled:
                    alive = False
                    break
        except BackendError:
            raise
        except Exception as error:
            self._caches.forget()
            raise EngineError(f"MLX failed on {self._weights.name}", first_line(error)) from error
        if not alive:
            reason = "cancelled"
        yield from answer.text(text.finish())
        yield from answer.finish()
        yield Chunk(stats=Stats(len(tokens), cached, first - started, answer.tokens, last - first, reason))

    def _prefill(self, job: Job, tokens: list[int], start: int, stable: int) -> Any:
        """The logits after the prompt; None: stopped between two blocks."""
        mx = self._mx
        logits = None
        at = start
        while at < len(tokens):
            if job.cancelled:
                return None
            upto = min(len(tokens), at - at % BLOCK_TOKENS + BLOCK_TOKENS)
            if self._caches.rotates and at < stable < upto:
                upto = stable
            logits = self._model(mx.array([tokens[at:upto]]), cache=self._caches.live)[0, -1]
            mx.eval(logits, [layer.state for layer in self._caches.live])
            self._caches.added(tokens[at:upto])
            at = upto
            if at == stable and self._caches.rotates:
                self._caches.snapshot()
        return None if job.cancelled else logits

    def _score(
        self, job: Job, tokens: list[int], parts: list[Stretch], reference: tuple[Score, ...]
    ) -> tuple[Score, ...]:
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        import numpy

        mx = self._mx
        given = given_tokens(parts, self._tokenizer.after_prompt, reference)[: self.context - len(tokens)]

        def forward(more: list[int]) -> Any:
            if job.cancelled:
                return None
            rows = self._model(mx.array([more]), cache=self._caches.live)[0].astype(mx.float32)
            mx.eval(rows, [layer.state for layer in self._caches.live])
            self._caches.added(more)
            return numpy.array(rows)

        try:
            first = self._prefill(job, tokens, self._caches.prepare(tokens, exact=True), len(tokens))
            if first is None:
                return ()
            first = numpy.array(first.astype(mx.float32))
            return score_all(given, first, forward, self._tokenizer.piece, reference, block_tokens=SCORED_AT_ONCE)
        except BackendError:
            raise
        except Exception as error:
            self._caches.forget()
            raise EngineError(f"MLX failed on {self._weights.name}", first_line(error)) from error

    def _alternatives(self, logits: Any, chosen: int, count: int) -> tuple[Alternative, ...]:
        mx = self._mx
        logits = logits.astype(mx.float32)
        logprobs = logits - mx.logsumexp(logits)
        count = min(count, logprobs.shape[-1])
        best = mx.argpartition(-logprobs, count - 1)[:count]
        pairs = zip(best.tolist(), logprobs[best].tolist(), strict=True)
        ranked = sorted(pairs, key=lambda pair: -pair[1])
        if all(token != chosen for token, _ in ranked):
            ranked.append((chosen, float(logprobs[chosen].item())))
        return tuple(Alternative(self._tokenizer.piece(token), token, logprob) for token, logprob in ranked)


class _Chooser:
    """The next token as an array that is not computed yet, by the settings' one meaning: see TorchSampler."""

    def __init__(self, mx: Any, sampling: Sampling, prompt: list[int]) -> None:
        self._mx = mx
        self._sampling = sampling
        self._recent = mx.array(prompt[-PENALTY_TOKENS:])
        seed = sampling.seed if sampling.seed is not None else time.time_ns()
        self._key = mx.random.key(seed & 0xFFFFFFFFFFFFFFFF)

    def __call__(self, logits: Any, before: Any = None) -> Any:
        """
        Args:
            before: The token before this one, if it is not the prompt's last.
        """
        mx, sampling = self._mx, self._sampling
        if sampling.temperature <= 0 and sampling.repetition_penalty == 1.0:
            return mx.argmax(logits)
        logits = logits.astype(mx.float32)
        if sampling.repetition_penalty != 1.0:
            if before is not None:
                self._recent = mx.concatenate([self._recent, before.reshape(1)])[-PENALTY_TOKENS:]
            scores = logits[self._recent]
            penalty = sampling.repetition_penalty
            logits[self._recent] = mx.where(scores <= 0, scores * penalty, scores / penalty)
        if sampling.temperature <= 0:
            return mx.argmax(logits)
        tokens = mx.argsort(-logits)
        if sampling.top_k > 0:
            tokens = tokens[: sampling.top_k]
        values = logits[tokens]
        low = mx.array(-mx.inf)
        if sampling.top_p < 1:
            shares = mx.softmax(values)
            before_each = mx.cumsum(shares) - shares
            values = mx.where((before_each < sampling.top_p) | (mx.arange(len(values)) == 0), values, low)
        if sampling.min_p > 0:
            shares = mx.softmax(values)
            values = mx.where(shares >= sampling.min_p * shares[0], values, low)
        self._key, key = mx.random.split(self._key)
        return tokens[mx.random.categorical(values / sampling.temperature, key=key)]
