"""Hyper-parameters read from a hub by ranges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf_writer
import pytest
import synthetic
from known_models import LLAMA3_8B, LLAMA32_1B
from machines import RTX_4090

from backends.judge import judge
from backends.knowledge import from_hubs
from specs.model import HUGGINGFACE, MODELSCOPE, HubSource, ModelFamily, ModelSpec, Variant

SOURCE = HubSource(HUGGINGFACE, "a/one-GGUF", "one-{quantization}.gguf")
SPEC = ModelSpec("ggufv2", 1, ("Q4_K_M", "Q8_0"), (SOURCE,))
FAMILY = ModelFamily("one", 8192, ("en",), ("chat",), (SPEC,))


def test_a_header_on_the_hub_makes_the_fit_exact_without_a_download(hub: Any, tmp_path: Path) -> None:
    files = {
        f"one-{name}.gguf": synthetic.write(LLAMA32_1B, tmp_path / f"{name}.gguf", name) for name in SPEC.quantizations
    }
    hub.add("a/one-GGUF", files, sha256=dict.fromkeys(files, "0" * 64))  # so that the hub need not sum gigabytes
    variants = list(FAMILY.variants())
    known = from_hubs(variants, 20)
    assert all(one.architecture is not None for one in known.values())
    option = judge(variants[0], "llama.cpp", RTX_4090, knowledge=known[variants[0].key])
    assert option.memory.basis == "file"
    assert option.memory.kv_cache_bytes == 8192 * 16 * 2 * 8 * 64 * 2
    assert option.download_bytes == files["one-Q4_K_M.gguf"].stat().st_size
    ranges = [one for one in hub.log() if one.get("range")]
    assert len(ranges) <= 3
    hub.forget()
    assert from_hubs(variants, 20) == known
    assert not [one for one in hub.log() if one.get("range")]


def llama_3_gguf(path: Path) -> Path:
    """Llama 3 8B with a vocabulary of the real one's size: 128,256 tokens, their types, and 280,147 merges."""
    tokens = [f"token-{number:06}" for number in range(128_256)]
    merges = [f"{number:06} {number + 1:06}" for number in range(280_147)]
    keys = synthetic.metadata(LLAMA3_8B, 8192) | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * len(tokens),
        "tokenizer.ggml.merges": merges,
    }
    return gguf_writer.write(path, keys, synthetic.tensors(LLAMA3_8B, "Q4_K_M"))


@pytest.mark.parametrize("hub_name", [HUGGINGFACE, MODELSCOPE])
def test_an_estimate_from_a_hub_costs_three_ranges_and_512_kb_whatever_the_vocabulary(
    hub: Any, tmp_path: Path, hub_name: str
) -> None:
    if hub_name == MODELSCOPE:
        pytest.importorskip("modelscope_hub")
    path = llama_3_gguf(tmp_path / "one-Q4_K_M.gguf")
    assert path.stat().st_size > 4_900_000_000
    hub.add("a/one-GGUF", {"one-Q4_K_M.gguf": path}, sha256={"one-Q4_K_M.gguf": "0" * 64})
    source = HubSource(hub_name, "a/one-GGUF", "one-{quantization}.gguf")
    spec = ModelSpec("ggufv2", 8, ("Q4_K_M",), (source,))
    variant = Variant(ModelFamily("one", 8192, ("en",), ("chat",), (spec,)), spec, "Q4_K_M")
    known = from_hubs([variant], 30)[variant.key]
    assert known.architecture is not None
    assert (known.architecture.block_count, known.architecture.vocab_size) == (32, 128_256)
    bodies = [one for one in hub.log() if one["method"] == "GET" and re.search("/-cdn/|/resolve/|/repo$", one["path"])]
    assert len([one for one in bodies if "/-cdn/" in one["path"]]) <= 3
    assert sum(one["bytes"] for one in bodies) <= 512 << 10


def test_a_repository_that_lies_about_its_header_still_gives_its_bytes(hub: Any) -> None:
    hub.add("a/one-GGUF", {"one-Q4_K_M.gguf": b"x" * 5000, "one-Q8_0.gguf": b"GGUF" * 1000})
    known = from_hubs([Variant(FAMILY, SPEC, "Q4_K_M")], 20)
    (only,) = known.values()
    assert (only.file_bytes, only.architecture) == (5000, None)
