"""In what a model's hyper-parameters contradict each other, so that no estimate can be made of them."""

from __future__ import annotations

from typing import Final

from specs.model import Architecture

MAX_BLOCKS: Final = 10_000
"""Twenty times what llama.cpp takes (LLAMA_MAX_LAYERS)."""


def contradiction(architecture: Architecture) -> tuple[str, str] | None:
    """The key that stands against another, and what was expected of it; None: nothing does."""
    blocks = architecture.block_count
    if blocks is not None and blocks > MAX_BLOCKS:
        return "block_count", f"block_count of at most {MAX_BLOCKS:,}, found {blocks:,}"
    for key in ("feed_forward_length", "head_count", "head_count_kv"):
        listed = getattr(architecture, key)
        if blocks is not None and isinstance(listed, tuple) and len(listed) != blocks:
            return key, f"{key} for each of {blocks:,} blocks, found {len(listed):,}"
    for key, most in (
        ("expert_used_count", "expert_count"),
        ("leading_dense_block_count", "block_count"),
        ("head_count_kv", "head_count"),
    ):
        value, limit = getattr(architecture, key), getattr(architecture, most)
        if isinstance(value, int) and isinstance(limit, int) and limit and value > limit:
            return key, f"{key} of at most the {most}, which is {limit:,}, found {value:,}"
    return None
