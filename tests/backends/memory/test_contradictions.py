"""Weights whose headers and configurations contradict themselves, and those that only look so."""

from __future__ import annotations

import json
from pathlib import Path

import gguf_writer
import pytest

from backends.errors import BadWeights
from backends.memory.gguf import read_header
from backends.memory.hf_config import read_config
from backends.memory.kv_cache import kv_cache

GEMMA_4_31B = {
    "model_type": "gemma4",
    "text_config": {
        "model_type": "gemma4_text", "num_hidden_layers": 60, "hidden_size": 5376, "intermediate_size": 21_504,
        "num_attention_heads": 32, "num_key_value_heads": 16, "num_global_key_value_heads": 4, "head_dim": 256,
        "global_head_dim": 512, "sliding_window": 1024, "vocab_size": 262_144,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("block_count", 1_000_000_000, "block_count of at most 10,000"),
        ("attention.head_count_kv", 64, "head_count_kv of at most the head_count, which is 32"),
        ("attention.head_count_kv", [8, 8], "head_count_kv for each of 32 blocks, found 2"),
        ("leading_dense_block_count", 33, "leading_dense_block_count of at most the block_count"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(key: str, value: object, said: str, tmp_path: Path) -> None:
    keys = {"general.architecture": "llama", "llama.block_count": 32, "llama.attention.head_count": 32}
    path = gguf_writer.write(tmp_path / "odd.gguf", keys | {f"llama.{key}": value}, [])
    with pytest.raises(BadWeights, match=said):
        _ = read_header(path).architecture


def test_a_configuration_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(BadWeights, match="block_count of at most 10,000"):
        read_config(json.dumps({"num_hidden_layers": 10**9, "hidden_size": 64}).encode())


def test_gemma_4_has_other_heads_where_it_attends_fully() -> None:
    cache = kv_cache(read_config(json.dumps(GEMMA_4_31B).encode()).architecture)
    assert cache is not None
    # 10 full layers of 4 heads of 512, 50 windows of 16 of 256, K and V at 16 bits.
    assert cache.exact_bytes_at(8192) == 10 * 8192 * 4 * 512 * 4 + 50 * 1024 * 16 * 256 * 4
