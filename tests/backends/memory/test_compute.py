"""Compute buffers in closed form, against what llama.cpp reserves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from known_models import QWEN3_30B_A3B, RESERVED_MIB

from backends.memory.compute import chooses_tokens, compute_fixed, mask_bytes
from backends.memory.engine_answer import ask, library_version
from backends.memory.gguf import read_header
from backends.memory.kv_cache import kv_cache
from specs.catalog import load_catalog
from specs.model import Architecture

MIB = 1 << 20


def closed_form(architecture: Architecture, context: int = 4096) -> float:
    cache = kv_cache(architecture)
    assert cache is not None
    return (compute_fixed(architecture, cache) + mask_bytes() * context) / MIB


@pytest.mark.parametrize("name", RESERVED_MIB)
def test_the_closed_form_is_what_llama_cpp_reserves(name: str) -> None:
    architecture, reserved = RESERVED_MIB[name]
    assert closed_form(architecture) == pytest.approx(reserved, rel=0.005)


def test_logits_of_a_whole_batch_rule_a_large_vocabulary() -> None:
    # Logged for Qwen3 Coder 30B A3B at n_ubatch 512: 300.75 MiB.
    cache = kv_cache(QWEN3_30B_A3B)
    assert cache is not None
    words = QWEN3_30B_A3B.vocab_size or 0
    logits = 4 * words * 512
    assert (compute_fixed(QWEN3_30B_A3B, cache, outputs=512) - logits) / MIB == pytest.approx(300.75, abs=0.01)


@pytest.mark.slow
@pytest.mark.skipif(library_version() is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("name", ["llama3-8b", "qwen3-30b-a3b", "gemma2-9b", "falcon-7b"])
def test_llama_cpp_itself_takes_our_tensors_and_answers(name: str, tmp_path: Path) -> None:
    architecture, reserved = RESERVED_MIB[name]
    path = synthetic.write(architecture, tmp_path / "model.gguf")
    answer = ask(path, read_header(path), context=4096)
    assert answer is not None
    assert answer.total_bytes / MIB == pytest.approx(reserved, rel=0.02)


@pytest.mark.slow
@pytest.mark.skipif(library_version() is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("family", ["glm-5.2", "DeepSeek-V3.2"])
def test_sparse_attention_takes_eight_bytes_for_each_token_and_cell(family: str, tmp_path: Path) -> None:
    architecture = load_catalog().family(family).specs[0].architecture
    assert architecture is not None
    keys = {
        "expert_shared_count": 1,
        "expert_weights_scale": 2.5,
        "expert_gating_func": 2,
        "attention.indexer.top_k": 2048,
    }
    path = synthetic.write(replace(architecture, extra={**architecture.extra, **keys}), tmp_path / "model.gguf")
    short, long = (ask(path, read_header(path), context=context) for context in (32_768, 131_072))
    assert short is not None
    assert long is not None
    each = (long.total_bytes - short.total_bytes) / (131_072 - 32_768)
    cache = kv_cache(architecture)
    assert cache is not None
    assert mask_bytes(chosen=chooses_tokens(cache)) == pytest.approx(each, rel=0.06)
