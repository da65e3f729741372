"""The next token out of MLX's logits, as an array that is not computed yet."""

from __future__ import annotations

import time
from typing import Any

from backends.engines.engine import Sampling
from backends.engines.sampling import PENALTY_TOKENS, seed_bits


class MlxSampler:
    """Chooses as backends.engines.sampling says."""

    def __init__(self, mx: Any, sampling: Sampling, prompt: list[int]) -> None:
        """
        Args:
            sampling: Within bounds.
        """
        self._mx = mx
        self._sampling = sampling
        self._recent = mx.array(prompt[-PENALTY_TOKENS:])
        seed = seed_bits(sampling, 64)
        self._key = mx.random.key(time.time_ns() if seed is None else seed)

    def choose(self, logits: Any, before: Any = None) -> Any:
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
