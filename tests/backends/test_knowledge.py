"""What is known of variants from this disk and from the hubs' listings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backends.downloads import fetch, plan
from backends.knowledge import from_hubs, known_of, weights_bytes
from specs.model import HUGGINGFACE, HubSource, ModelFamily, ModelSpec, Variant


def variants(*quantizations: str, weights_format: str = "ggufv2", model_id: str = "a/small-GGUF") -> list[Variant]:
    source = HubSource(HUGGINGFACE, model_id, "small-{quantization}.gguf" if weights_format == "ggufv2" else None)
    spec = ModelSpec(weights_format, 1, quantizations, (source,))
    family = ModelFamily("small", 4096, ("en",), ("chat",), (spec,))
    return list(family.variants())


def test_one_listing_tells_the_bytes_of_every_quantization(hub: Any) -> None:
    hub.add("a/small-GGUF", {"small-Q4_0.gguf": b"x" * 100, "small-Q8_0.gguf": b"x" * 200, "README.md": b"x"})
    four, eight = variants("Q4_0", "Q8_0")
    known = known_of([four, eight], deadline_seconds=10)
    assert (known[four.key].file_bytes, known[four.key].download_bytes) == (100, 100)
    assert known[eight.key].file_bytes == 200
    assert len(hub.log("api/models")) <= 2


def test_a_repository_s_download_holds_more_than_its_weights(hub: Any) -> None:
    hub.add("a/small", {"model.safetensors": b"x" * 100, "config.json": b"{}", "tokenizer.json": b"{}"})
    (only,) = variants("none", weights_format="pytorch", model_id="a/small")
    known = from_hubs([only], 10)[only.key]
    assert (known.file_bytes, known.download_bytes) == (100, 104)


def test_a_hub_that_does_not_answer_leaves_its_variants_out() -> None:
    assert known_of(variants("Q4_0"), deadline_seconds=5) == {}


def test_offline_asks_nobody(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("a/small-GGUF", {"small-Q4_0.gguf": b"x"})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert known_of(variants("Q4_0"), deadline_seconds=5) == {}
    assert hub.log() == []


def test_what_lies_here_is_measured_and_not_asked_for(hub: Any) -> None:
    hub.add("a/small-GGUF", {"small-Q4_0.gguf": b"GGUF" * 25})
    (only,) = variants("Q4_0")
    fetch(plan(only))
    hub.forget()
    known = known_of([only], deadline_seconds=5)[only.key]
    assert (known.on_disk, known.file_bytes, known.download_bytes) == (True, 100, 100)
    assert hub.log() == []


def test_all_parts_of_a_gguf_count(tmp_path: Path) -> None:
    for part in (1, 2, 3):
        (tmp_path / f"big-0000{part}-of-00003.gguf").write_bytes(b"x" * part)
    (tmp_path / "other-00002-of-00003.gguf").write_bytes(b"x" * 1000)
    assert weights_bytes(tmp_path / "big-00001-of-00003.gguf") == 6


def test_the_configuration_in_a_repository_tells_the_architecture(hub: Any) -> None:
    config = {
        "model_type": "llama",
        "num_hidden_layers": 16,
        "hidden_size": 2048,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 128256,
    }
    hub.add("a/small", {"model.safetensors": b"x" * 100, "config.json": json.dumps(config).encode()})
    (only,) = variants("none", weights_format="pytorch", model_id="a/small")
    architecture = from_hubs([only], 10)[only.key].architecture
    assert architecture is not None
    assert (architecture.block_count, architecture.head_count_kv) == (16, 8)


@pytest.mark.weights
def test_the_header_on_the_hub_tells_the_architecture_for_half_a_megabyte(hub: Any, gemma_gguf: Path) -> None:
    hub.add("a/small-GGUF", {"small-Q4_K_M.gguf": gemma_gguf})
    (only,) = variants("Q4_K_M")
    known = from_hubs([only], 30)[only.key]
    assert known.file_bytes == gemma_gguf.stat().st_size == 253_113_024
    assert known.architecture is not None
    assert (known.architecture.architecture, known.architecture.block_count) == ("gemma3", 18)
    assert sum(one["bytes"] for one in hub.log("cdn")) <= 512 << 10
