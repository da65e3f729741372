"""The next token out of PyTorch's logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends.engines.engine import Sampling
from backends.engines.sampling import PENALTY_TOKENS, seed_bits


class TorchSampler:
    """Chooses as backends.engines.sampling says.

    transformers divides by the temperature first, which makes the same top-p mean another thing there.
    """

    def __init__(self, torch: Any, sampling: Sampling) -> None:
        """
        Args:
            sampling: Within bounds.
        """
        self._torch = torch
        self._sampling = sampling
        self._generator = torch.Generator(device="cpu")
        seed = seed_bits(sampling, 64)
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)

    def choose(self, logits: Any, context: Sequence[int]) -> int:
        """A token, given float logits of one place and the tokens before it."""
        torch, sampling = self._torch, self._sampling
        if sampling.repetition_penalty != 1.0 and context:
            seen = torch.tensor(sorted(set(context[-PENALTY_TOKENS:])), device=logits.device)
            scores = logits[seen]
            logits = logits.clone()
            logits[seen] = torch.where(
                scores <= 0, scores * sampling.repetition_penalty, scores / sampling.repetition_penalty
            )
        if sampling.temperature <= 0:
            return int(logits.argmax())
        count = min(sampling.top_k, logits.shape[-1]) if sampling.top_k > 0 else logits.shape[-1]
        values, tokens = torch.topk(logits, count)  # sorted, best first
        values = values.float().cpu()
        if sampling.top_p < 1:
            shares = torch.softmax(values, -1)
            before = torch.cumsum(shares, -1) - shares
            values = values[: max(1, int((before < sampling.top_p).sum()))]
        if sampling.min_p > 0:
            shares = torch.softmax(values, -1)
            values = values[: max(1, int((shares >= sampling.min_p * shares[0]).sum()))]
        shares = torch.softmax(values / sampling.temperature, -1)
        place = int(torch.multinomial(shares, 1, generator=self._generator))
        return int(tokens[place])
