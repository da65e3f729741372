"""KV caches and recurrent states against those that llama.cpp really makes, of real models made narrow."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import known_models as known
import pytest
import synthetic

from backends.memory.kv_cache import kv_cache
from specs.model import Architecture

MIB = 1 << 20
CONTEXT = 9000
MAKE_CONTEXT = """
import sys
import llama_cpp as library
parameters = library.llama_model_default_params()
parameters.n_gpu_layers = 0
model = library.llama_model_load_from_file(sys.argv[1].encode(), parameters)
wanted = library.llama_context_default_params()
wanted.n_ctx, wanted.n_ubatch, wanted.swa_full = int(sys.argv[2]), 512, False
sys.exit(0 if model and library.llama_init_from_model(model, wanted) else 1)
"""


def narrow(architecture: Architecture) -> Architecture:
    """The same caches with hardly any weights."""
    experts: dict[str, int | None] = {}
    if architecture.expert_count:
        used = min(architecture.expert_used_count or 1, 2)
        experts = {"expert_count": 8, "expert_used_count": used, "expert_feed_forward_length": 256}
        if "expert_shared_count" in architecture.extra:
            experts["expert_shared_feed_forward_length"] = None
    return replace(architecture, embedding_length=512, feed_forward_length=512, vocab_size=1000, **experts)


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize(
    "architecture",
    [
        known.GEMMA2_9B, known.GEMMA3_4B, known.GEMMA3N_E4B, known.GPT_OSS_20B, known.LLAMA4_SCOUT, known.QWEN35_9B,
        known.DEEPSEEK_V2_LITE,
    ],
    ids=lambda architecture: architecture.architecture,
)  # fmt: skip
def test_a_cache_is_as_large_as_llama_cpp_makes_it(architecture: Architecture, tmp_path: Path) -> None:
    thin = narrow(architecture)
    path = synthetic.write(thin, tmp_path / "thin.gguf", "Q8_0")
    command = [sys.executable, "-c", MAKE_CONTEXT, str(path), str(CONTEXT)]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    made = sum(float(size) for size in re.findall(r"(?:KV|RS) buffer size =\s+([0-9.]+) MiB", log))
    cache = kv_cache(thin)
    assert cache is not None
    assert cache.bytes_at(CONTEXT) / MIB == pytest.approx(made, abs=0.02)
