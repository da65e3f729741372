"""What the sampling settings mean, the same for every engine.

The order is llama.cpp's: penalties over the last tokens, prompt included, then top-k, top-p, min-p, temperature and
the choice. vLLM and SGLang divide by the temperature first, which their interfaces leave no way round: above
temperature 1 the same top-p and min-p leave more tokens there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from backends.engines.engine import Sampling

PENALTY_TOKENS: Final = 64
"""How far back a repetition counts; llama.cpp's own default. vLLM and SGLang count the whole prompt."""
MOST_TEMPERATURE: Final = 2.0
"""vLLM and the servers with OpenAI's protocol refuse more."""
LEAST_TOP_P: Final = 1e-6
"""Leaves the most probable token alone; libraries refuse 0 or take it for "off"."""


def bounded(sampling: Sampling) -> Sampling:
    """The settings within the bounds that every library takes.

    At temperature 0 the most probable token is chosen, whatever the others say: they are off then, and so is the
    seed. 0 is off for top_k, 1 for top_p, 0 for min_p.
    """
    if sampling.temperature <= 0:
        return replace(sampling, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=None)
    return replace(
        sampling,
        temperature=min(MOST_TEMPERATURE, sampling.temperature),
        top_k=max(0, sampling.top_k),
        top_p=min(1.0, max(LEAST_TOP_P, sampling.top_p)),
        min_p=min(1.0, max(0.0, sampling.min_p)),
    )


def seed_bits(sampling: Sampling, bits: int) -> int | None:
    """The seed in as many bits as a library takes; None: another answer each time."""
    return None if sampling.seed is None else sampling.seed & ((1 << bits) - 1)
