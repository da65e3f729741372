"""Any repository as a family: its formats, quantizations and sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic
from known_models import LLAMA32_1B

from backends import downloads
from backends.errors import NotFound
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.repository import family_of, fetch_family, quantization_of, search
from specs.catalog import read_spec_file
from specs.model import ModelFamily
from specs.writing import family_to_toml


def of(names: dict[str, int], model_id: str = "maker/Tiny-8B-Instruct", **more: Any) -> ModelFamily:
    files = tuple(RepoFile(name, size) for name, size in names.items())
    return family_of(Listing("huggingface", model_id, "c" * 40, files), **more)


def test_gguf_files_become_one_spec_with_a_name_for_all() -> None:
    family = of({"Tiny-8B-Q4_K_M.gguf": 5, "Tiny-8B-Q8_0.gguf": 9, "mmproj-F16.gguf": 1, "README.md": 1})
    (spec,) = family.specs
    assert (spec.format, spec.size_in_billions, spec.quantizations) == ("ggufv2", 8, ("Q4_K_M", "Q8_0"))
    assert spec.hubs[0].file == "Tiny-8B-{quantization}.gguf"
    assert (family.name, family.abilities) == ("tiny-8b-instruct", ("chat",))


def test_parts_become_a_template_of_their_own() -> None:
    family = of({"Q8_0/T-Q8_0-00001-of-00002.gguf": 5, "Q8_0/T-Q8_0-00002-of-00002.gguf": 5, "T-Q4_0.gguf": 4})
    source = family.specs[0].hubs[0]
    assert source.file_names("Q4_0") == ("T-Q4_0.gguf",)
    assert source.file_names("Q8_0") == ("Q8_0/T-Q8_0-00001-of-00002.gguf", "Q8_0/T-Q8_0-00002-of-00002.gguf")


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("Tiny-8B-Q4_K_M.gguf", "Q4_K_M"),
        ("tiny-8b.q5_0.gguf", "q5_0"),
        ("Tiny-UD-IQ2_XXS.gguf", "UD-IQ2_XXS"),
        ("Tiny.i1-IQ3_M.gguf", "i1-IQ3_M"),
        ("BF16/Tiny-BF16-00001-of-00002.gguf", "BF16"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("tiny.gguf", None),
    ],
)
def test_a_files_name_tells_its_quantization(name: str, quantization: str | None) -> None:
    assert quantization_of(name) == quantization


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ("pytorch", "none")),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, ("gptq", "Int8")),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, ("awq", "Int4")),
        ({"quantization_config": {"quant_method": "fp8"}}, ("fp8", "fp8")),
        ({"quantization_config": {"quant_method": "mxfp4"}}, ("fp4", "FP4")),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, ("bnb", "4-bit")),
        ({"quantization": {"bits": 6, "group_size": 64}}, ("mlx", "6bit")),
    ],
)
def test_config_json_tells_the_format_of_safetensors(config: dict[str, Any], expected: tuple[str, str]) -> None:
    content = json.dumps({"model_type": "llama", "max_position_embeddings": 4096, **config}).encode()
    family = of({"model.safetensors": 16_000_000_000, "config.json": 1}, config=content)
    (spec,) = family.specs
    assert (spec.format, spec.quantizations[0]) == expected
    assert family.context_length == 4096


def test_without_a_size_in_the_name_the_bytes_tell_it() -> None:
    family = of({"model.safetensors": 3_000_000_000, "config.json": 1}, "maker/Small")
    assert family.specs[0].size_in_billions == 1.5


def test_a_mixture_of_experts_tells_both_sizes() -> None:
    family = of({"model.safetensors": 60, "config.json": 1}, "maker/Sparse-30B-A3B")
    assert (family.specs[0].size_in_billions, family.specs[0].active_size_in_billions) == (30, 3)


def test_pickles_alone_are_nothing_to_run() -> None:
    with pytest.raises(NotFound, match="no GGUF file and no safetensors"):
        of({"pytorch_model.bin": 1, "config.json": 1})


def test_a_config_that_is_no_json_is_no_obstacle() -> None:
    assert of({"model.safetensors": 16, "config.json": 1}, config=b"\xff{").specs[0].format == "pytorch"


def test_a_repository_nobody_described_is_found_and_downloaded(hub: Any) -> None:
    pytest.importorskip("modelscope_hub")
    hub.add("maker/Wild-1B-GGUF", {"wild-1b.q4_0.gguf": b"weights", "config.json": b"{}"}, downloads=3)
    found = search("wild")
    assert {(hit.hub, hit.model_id) for hit in found.repositories} == {
        ("huggingface", "maker/Wild-1B-GGUF"),
        ("modelscope", "maker/Wild-1B-GGUF"),
    }
    for name in ("huggingface", "modelscope"):
        (variant,) = fetch_family(name, "maker/Wild-1B-GGUF").variants()
        assert downloads.fetch(downloads.plan(variant)).path.read_bytes() == b"weights"


def test_a_hub_that_cannot_be_searched_is_a_line_beside_the_others_hits(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("maker/Wild-1B-GGUF", {"wild-1b.q4_0.gguf": b"weights"})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = search("wild", ("huggingface",))
    assert found.repositories == ()
    assert found.problems == (
        "huggingface: the hub cannot be searched: offline mode is on; unset HF_HUB_OFFLINE to ask the hub",
    )


def test_what_no_name_tells_stands_in_the_header_of_a_gguf_file(hub: Any, tmp_path: Path) -> None:
    file = synthetic.write(LLAMA32_1B, tmp_path / "wild-1B-Q4_K_M.gguf")
    hub.add("maker/Wild-1B-GGUF", {file.name: file}, sha256={file.name: "0" * 64})
    family = fetch_family("huggingface", "maker/Wild-1B-GGUF")
    (spec,) = family.specs
    assert family.context_length == 131_072
    assert spec.architecture is not None
    assert spec.architecture.block_count == 16
    text = family_to_toml(family)
    path = tmp_path / "wild.toml"
    path.write_text(text)
    (again,) = read_spec_file(path)
    assert (again.context_length, again.specs[0].architecture) == (131_072, spec.architecture)


def test_a_gguf_file_without_a_readable_header_is_still_a_family(hub: Any) -> None:
    hub.add("maker/Wild-1B-GGUF", {"wild-1B-Q4_K_M.gguf": b"no header" * 1000})
    family = fetch_family("huggingface", "maker/Wild-1B-GGUF")
    assert (family.context_length, family.specs[0].architecture) == (None, None)
