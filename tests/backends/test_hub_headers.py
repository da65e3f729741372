"""Hyper-parameters read from a hub by ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import synthetic
from known_models import LLAMA32_1B
from machines import RTX_4090

from backends.judge import judge
from backends.knowledge import from_hubs
from specs.model import HUGGINGFACE, HubSource, ModelFamily, ModelSpec, Variant

SOURCE = HubSource(HUGGINGFACE, "a/one-GGUF", "one-{quantization}.gguf")
SPEC = ModelSpec("ggufv2", 1, ("Q4_K_M", "Q8_0"), (SOURCE,))
FAMILY = ModelFamily("one", 8192, ("en",), ("chat",), (SPEC,))


def test_a_header_on_the_hub_makes_the_fit_exact_without_a_download(hub: Any, tmp_path: Path) -> None:
    files = {
        f"one-{name}.gguf": synthetic.write(LLAMA32_1B, tmp_path / f"{name}.gguf", name) for name in SPEC.quantizations
    }
    hub.add("a/one-GGUF", files)
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


def test_a_repository_that_lies_about_its_header_still_gives_its_bytes(hub: Any) -> None:
    hub.add("a/one-GGUF", {"one-Q4_K_M.gguf": b"x" * 5000, "one-Q8_0.gguf": b"GGUF" * 1000})
    known = from_hubs([Variant(FAMILY, SPEC, "Q4_K_M")], 20)
    (only,) = known.values()
    assert (only.file_bytes, only.architecture) == (5000, None)
