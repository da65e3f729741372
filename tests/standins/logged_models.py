"""Models of tests/truth/llama_cpp_buffers_elsewhere.csv: those that the bundled catalog does not hold."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import known_models as known

from backends.memory.gguf_size import gguf_size
from backends.memory.kv_cache import KvCache, kv_cache, layer_bytes, padded
from backends.memory.shape import architecture_name
from specs.catalog import Catalog, load_catalog
from specs.formats import parse_quantization
from specs.model import Architecture

MIB = 1 << 20
GIB = 1 << 30

LFM2_HEADS_KV = (0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0)
MODELS = {
    "falcon-h1-1.5b": known.dense(
        "falcon-h1", 24, 2048, 4096, 8, 2, 128, 65_537,
        ssm_conv_kernel=4, ssm_state_size=256, ssm_group_count=1, ssm_inner_size=3072,
    ),
    # The converter writes no heads for Mamba.
    "mamba-1.4b": Architecture(
        "mamba", 48, 2048, 0, 0, vocab_size=50_280, tied_embeddings=True,
        ssm_conv_kernel=4, ssm_state_size=16, ssm_inner_size=4096,
    ),
    "granite-4.0-1b": known.dense("granite", 40, 2048, 4096, 16, 4, 128, 100_352, tied=True),
    "command-r-35b": known.COMMAND_R,
    "lfm2-1.2b": Architecture(
        "lfm2", 16, 2048, 8192, 32, LFM2_HEADS_KV, vocab_size=65_536, tied_embeddings=True,
        extra={"shortconv.l_cache": 3},
    ),
    "gemma2-2b": known.dense("gemma2", 26, 2304, 9216, 8, 4, 256, 256_000, tied=True, sliding_window=4096),
    "laguna": known.dense("laguna", 48, 3072, 8192, 48, 8, 128, 100_352, sliding_window=512),
    "olmoe-1b-7b": known.dense("olmoe", 16, 2048, 1024, 16, 16, 128, 50_304, expert_count=64, expert_used_count=8),
    "pythia-2.8b": known.dense("gptneox", 32, 2560, 10_240, 32, 32, 80, 50_304),
    "phi3-mini": known.PHI3_MINI,
    "bge-small": known.dense("bert", 12, 384, 1536, 12, 12, 32, 30_522, tied=True),
}  # fmt: skip
"""By the column architecture; the others are "catalog:family:size"."""


@lru_cache(maxsize=1)
def _catalog() -> Catalog:
    return load_catalog()


def architecture_of(key: str) -> Architecture:
    """The hyper-parameters that a row's estimate starts from."""
    if not key.startswith("catalog:"):
        return MODELS[key]
    _, name, size = key.split(":")
    family = _catalog().family(name)
    found = next(
        spec.architecture for spec in family.specs if spec.size_in_billions == float(size) and spec.architecture
    )
    assert architecture_name(name, found) == found.architecture
    return found


@dataclass(frozen=True)
class Judged:
    """One logged figure beside ours."""

    model: str
    what: str
    """"cache", "windows", "state", "compute", "host compute" or "tensors"."""
    logged: float
    ours: float
    granted: float
    """Half of the logged figure's last digit."""

    @property
    def error(self) -> float:
        """Relative, after what was granted."""
        return max(0.0, abs(self.ours - self.logged) - self.granted) / self.logged


def caches(cache: KvCache, context: int, cache_type: str, ubatch: int, full: bool) -> tuple[int, int, int]:
    """Bytes of the layers that attend fully, of those that attend through a window, and of all recurrent state."""
    cells = padded(context)
    windowed = cells if full else min(cells, padded(cache.window + ubatch))
    state = sum(count * layer.state_elements * 4 for count, layer in cache.groups)
    sums = {"full": 0, "window": 0, "recurrent": 0, "none": 0}
    for count, layer in cache.groups:
        sums[layer.kind] += count * (layer_bytes(layer, cells, windowed, cache_type) - layer.state_elements * 4)
    assert sum(sums.values()) - sums["recurrent"] - sums["none"] + state == cache.bytes_at(
        context, cache_type, ubatch=ubatch, full=full
    )
    return sums["full"], sums["window"], state


def judged(path: Path) -> Iterator[Judged]:
    """Every logged figure of the file with what our estimators give."""
    with path.open() as file:
        for row in csv.DictReader(file):
            architecture = architecture_of(row["architecture"])
            yield from _buffers(row, architecture)
            if row["tensors_GiB"]:
                size = gguf_size(architecture, parse_quantization("ggufv2", row["quant"]), row["imatrix"] == "yes")
                assert size is not None
                yield _judged(row, "tensors", "tensors_GiB", size.tensors_bytes / GIB)


def _buffers(row: dict[str, str], architecture: Architecture) -> Iterator[Judged]:
    if not row["n_ctx"]:
        return
    cache = kv_cache(architecture)
    assert cache is not None, row["model"]
    context, ubatch = int(row["n_ctx"]), int(row["n_ubatch"])
    ours = caches(cache, context, row["kv_type"], ubatch, row["swa_full"] == "1")
    for what, column, size in zip(
        ("cache", "windows", "state"), ("kv_MiB", "window_kv_MiB", "state_MiB"), ours, strict=True
    ):
        if row[column]:
            yield _judged(row, what, column, size / MIB)
    width = architecture.embedding_length or 0
    if row["compute_MiB"]:
        # The logits of a whole batch, and the output's input.
        outputs = int(row["n_outputs"])
        yield _judged(row, "compute", "compute_MiB", 4 * outputs * ((architecture.vocab_size or 0) + width) / MIB)
    if row["host_compute_MiB"]:
        # Versions before 2026 hand the mask over in 32 bits.
        yield _judged(row, "host compute", "host_compute_MiB", 4 * ubatch * (context + width) / MIB)


def _judged(row: dict[str, str], what: str, column: str, ours: float) -> Judged:
    digits = len(row[column].partition(".")[2])
    return Judged(row["model"], what, float(row[column]), ours, 0.5 * 10**-digits)
