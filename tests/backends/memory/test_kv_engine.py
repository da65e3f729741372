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
from specs.catalog import load_catalog
from specs.model import Architecture

MIB = 1 << 20
CONTEXT = 9000
OWN_WIDTH = {"cohere2", "exaone4", "olmo2", "phi3"}
COHERE2_7B = known.dense(
    "cohere2", 8, 4096, 14_336, 32, 8, 128, 256_000, tied=True, sliding_window=4096, extra={"logit_scale": 0.0625}
)
EXAONE4_32B = known.dense("exaone4", 64, 5120, 27_392, 8, 2, 128, 102_400, sliding_window=4096)
OLMO3_7B = known.dense("olmo2", 8, 4096, 11_008, 32, 32, 128, 100_352, sliding_window=4096)
HUNYUAN_7B = known.dense("hunyuan-dense", 8, 4096, 14_336, 32, 8, 128, 128_166)
SPARSE = {
    "expert_shared_count": 1,
    "expert_weights_scale": 2.5,
    "expert_gating_func": 2,
    "attention.indexer.top_k": 2048,
    "attention.indexer.block_size": 128,
    "attention.indexer.local_blocks": 1,
}
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
    # Some read their heads' length out of the width, or hold the recurrence to it.
    heads = architecture.head_count if isinstance(architecture.head_count, int) else 0
    width = heads * (architecture.key_length or 0) if architecture.architecture in OWN_WIDTH else 512
    return replace(architecture, embedding_length=width, feed_forward_length=512, vocab_size=1000, **experts)


def made_mib(architecture: Architecture, path: Path) -> float:
    """What llama.cpp says that the caches and states of a context take."""
    file = synthetic.write(architecture, path, "Q8_0")
    command = [sys.executable, "-c", MAKE_CONTEXT, str(file), str(CONTEXT)]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return sum(float(size) for size in re.findall(r"(?:KV|RS) buffer size =\s+([0-9.]+) MiB", log))


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize(
    "architecture",
    [
        known.GEMMA2_9B, known.GEMMA3_4B, known.GEMMA3N_E4B, known.GPT_OSS_20B, known.LLAMA4_SCOUT, known.QWEN35_9B,
        known.DEEPSEEK_V2_LITE, COHERE2_7B, EXAONE4_32B, OLMO3_7B, HUNYUAN_7B,
        replace(known.PHI4, block_count=8),
    ],
    ids=lambda architecture: architecture.architecture,
)  # fmt: skip
def test_a_cache_is_as_large_as_llama_cpp_makes_it(architecture: Architecture, tmp_path: Path) -> None:
    thin = narrow(architecture)
    made = made_mib(thin, tmp_path / "thin.gguf")
    cache = kv_cache(thin)
    assert cache is not None
    assert cache.bytes_at(CONTEXT) / MIB == pytest.approx(made, abs=0.02)


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("family", ["glm-5", "glm-5.2", "DeepSeek-V3.2", "MiniMax-M3", "minicpm3-4b"])
def test_a_family_of_the_catalog_has_the_cache_that_llama_cpp_makes(family: str, tmp_path: Path) -> None:
    spec = load_catalog().family(family).specs[0]
    assert spec.architecture is not None
    sparse = SPARSE if "attention.indexer.key_length" in spec.architecture.extra else {}
    # The first blocks are enough: they hold each kind, and the whole of MiniCPM3's caches would be 7 GB.
    thin = narrow(replace(spec.architecture, block_count=12, extra={**spec.architecture.extra, **sparse}))
    made = made_mib(thin, tmp_path / "thin.gguf")
    cache = kv_cache(thin)
    assert cache is not None
    assert cache.bytes_at(CONTEXT) / MIB == pytest.approx(made, abs=0.02)
