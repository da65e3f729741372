"""Which files of a repository a variant needs."""

from __future__ import annotations

from typing import Any

import pytest

from backends.errors import NotFound
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.selection import gguf_groups, needed_files, quantization_in
from specs.model import HubSource, ModelFamily, ModelSpec, Variant


def chosen(names: list[str], quantization: str = "Q4_K_M", model_format: str = "ggufv2", **source: Any) -> list[str]:
    """Names that are needed of a repository with these names."""
    where = HubSource("huggingface", "maker/Tiny", **source)
    spec = ModelSpec(model_format, 1, (quantization,), (where,))
    variant = Variant(ModelFamily("tiny", 2048, (), (), (spec,)), spec, quantization)
    listing = Listing("huggingface", "maker/Tiny", "c" * 40, tuple(RepoFile(name, 1) for name in names))
    return [file.name for file in needed_files(listing, variant, where)]


def test_the_names_of_the_spec_come_first() -> None:
    names = ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"]
    assert chosen(names, file="b-{quantization}.gguf") == ["b-Q4_K_M.gguf"]


def test_parts_that_the_spec_names_are_taken_in_its_order() -> None:
    names = ["t-Q8_0.gguf-split-a", "t-Q8_0.gguf-split-b"]
    source = {"split_file": "t-{quantization}.gguf-split-{part}", "parts": {"Q8_0": ("a", "b")}}
    assert chosen(names, "Q8_0", **source) == names


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["Tiny.q4_k_m.gguf", "Tiny.q4_k_s.gguf"], ["Tiny.q4_k_m.gguf"]),
        (["Tiny-Q4-K-M.gguf"], ["Tiny-Q4-K-M.gguf"]),
        (["Q4_K_M/Tiny-00001.gguf", "Q8_0/Tiny-00001.gguf"], ["Q4_K_M/Tiny-00001.gguf"]),
        (
            ["t-Q4_K_M-00002-of-00002.gguf", "t-Q4_K_M-00001-of-00002.gguf", "t-Q8_0.gguf"],
            ["t-Q4_K_M-00001-of-00002.gguf", "t-Q4_K_M-00002-of-00002.gguf"],
        ),
        (
            ["Q4_K_M/t-Q4_K_M-00001-of-00002.gguf", "Q4_K_M/t-Q4_K_M-00002-of-00002.gguf"],
            ["Q4_K_M/t-Q4_K_M-00001-of-00002.gguf", "Q4_K_M/t-Q4_K_M-00002-of-00002.gguf"],
        ),
        (["t-Q4_K_M.gguf.part1of2", "t-Q4_K_M.gguf.part2of2"], ["t-Q4_K_M.gguf.part1of2", "t-Q4_K_M.gguf.part2of2"]),
        (["mmproj-t-Q4_K_M.gguf", "t-Q4_K_M.gguf", "t.imatrix.gguf"], ["t-Q4_K_M.gguf"]),
        (["model.gguf", "README.md"], ["model.gguf"]),
    ],
)
def test_without_a_name_the_listing_tells_in_any_case_and_any_folder(names: list[str], found: list[str]) -> None:
    assert chosen(names) == found


def test_a_quantization_is_a_word_of_its_own() -> None:
    assert quantization_in("Tiny-Q4_K_M", "Q4_K_M")
    assert not quantization_in("Tiny-IQ4_K_M", "Q4_K_M")
    assert not quantization_in("Tiny-Q4_K_M_L", "Q4_K_M")
    assert not quantization_in("Tiny-UD-Q4_K_XL", "Q4_K")


def test_parts_of_which_one_is_missing_are_no_weights() -> None:
    files = [RepoFile(f"t-Q4_K_M-0000{n}-of-00003.gguf", 1) for n in (1, 3)]
    assert gguf_groups(files) == {}


def test_a_quantization_that_is_not_there_is_answered_with_what_is() -> None:
    with pytest.raises(NotFound, match=r"has no a GGUF file of Q2_K|has no GGUF|it has t-Q4_K_M\.gguf, t-Q8_0\.gguf"):
        chosen(["t-Q4_K_M.gguf", "t-Q8_0.gguf"], "Q2_K")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ["model-00001-of-00001.safetensors", "consolidated.safetensors", "config.json", "params.json"],
            ["model-00001-of-00001.safetensors", "config.json"],
        ),
        (["model.safetensors", "pytorch_model.bin", "config.json"], ["model.safetensors", "config.json"]),
        (["model.safetensors", "original/model.safetensors", "flax_model.msgpack"], ["model.safetensors"]),
        (["weights.00.safetensors", "config.json"], ["weights.00.safetensors", "config.json"]),
        (
            ["model.safetensors", "tokenizer.model", "modeling.py", "merges.txt", "vocab.json", "tf_model.h5"],
            ["model.safetensors", "tokenizer.model", "merges.txt", "vocab.json"],
        ),
    ],
)
def test_a_repository_gives_one_copy_of_the_weights_and_what_a_loader_reads(names: list[str], found: list[str]) -> None:
    assert sorted(chosen(names, "none", "pytorch")) == sorted(found)


def test_pickles_are_refused_with_the_reason() -> None:
    with pytest.raises(NotFound, match="only as pickles, which can run code"):
        chosen(["pytorch_model.bin", "config.json"], "none", "pytorch")


def test_a_listing_of_100000_files_is_read_in_a_moment() -> None:
    names = [f"folder{n % 100}/t-Q8_0-{n}.gguf" for n in range(100_000)] + ["t-Q4_K_M.gguf"]
    assert chosen(names) == ["t-Q4_K_M.gguf"]
