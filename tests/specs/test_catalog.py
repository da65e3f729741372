"""The catalog: what is in it, what replaces what, and how it is searched."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from specs.catalog import Catalog, UnknownFamily, UnknownVariant, load_catalog
from specs.document import catalog_to_json, family_to_json
from specs.model import FORMATS, HUGGINGFACE, HubSource, ModelFamily, ModelSpec
from specs.reading import read_spec_file

SEEDS = Path(__file__).parents[1] / "seeds"


@pytest.fixture(scope="module")
def bundled() -> Catalog:
    return load_catalog()


def write(folder: Path, file: str, name: str, size: float = 1, extra: str = "") -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'name = "{name}"\nabilities = ["chat"]\n{extra}\n[[models]]\nsize_in_billions = {size}\n[[models.specs]]\n'
        f'format = "ggufv2"\nquantizations = ["Q4_K_M"]\nhubs.huggingface.id = "owner/name-{size}"\n'
    )
    return path


def test_the_bundled_catalog_is_whole_and_without_problems(bundled: Catalog) -> None:
    assert len(bundled.families) == 162
    assert bundled.problems == ()
    assert {family.source for family in bundled.families} == {"bundled"}
    assert all({"chat", "generate"} & set(family.abilities) for family in bundled.families)
    assert {spec.format for family in bundled.families for spec in family.specs} <= set(FORMATS)


def test_every_bundled_variant_has_an_id_of_its_own(bundled: Catalog) -> None:
    variants = list(bundled.variants())
    assert all(variant.model_id.count("/") >= 1 and "{" not in variant.model_id for variant in variants)
    assert [key for key, count in Counter(variant.key for variant in variants).items() if count > 1] == []


def test_every_bundled_file_name_is_whole(bundled: Catalog) -> None:
    for variant in bundled.variants():
        for source in variant.spec.hubs:
            for name in source.file_names(variant.quantization) or ():
                assert "{" not in name
                assert not name.startswith("/")


@pytest.mark.parametrize("name", ["llama-3-instruct", "llama-3.1"])
def test_the_seeds_families_are_the_seeds_word_for_word(bundled: Catalog, name: str) -> None:
    page = family_to_json(read_spec_file(SEEDS / f"{name}.rst")[0])
    ours = family_to_json(bundled.family(name))
    for key in ("name", "context_length", "languages", "abilities", "specs"):
        assert ours[key] == page[key]


def test_the_seeds_families_carry_file_names_and_architecture_besides(bundled: Catalog) -> None:
    spec = bundled.family("llama-3-instruct").specs[0]
    assert spec.hubs[0].file_names("Q4_K_M") == ("Meta-Llama-3-8B-Instruct-Q4_K_M.gguf",)
    assert spec.parameters == 8_030_261_248
    assert spec.architecture
    assert (spec.architecture.architecture, spec.architecture.head_count_kv) == ("llama", 8)


def test_sizes_with_an_underscore_became_numbers(bundled: Catalog) -> None:
    assert {spec.active_size_in_billions for spec in bundled.family("gpt-oss").specs} == {3.6, 5.1}


def test_deepseek_v3_keeps_a_latent_cache(bundled: Catalog) -> None:
    # config.json of deepseek-ai/DeepSeek-V3
    shape = bundled.family("deepseek-v3").specs[0].architecture
    assert shape
    assert (shape.kv_lora_rank, shape.rope_dimension_count, shape.key_length) == (512, 64, 192)


def test_the_users_file_replaces_a_bundled_family_in_its_place(tmp_path: Path, bundled: Catalog) -> None:
    path = write(tmp_path, "mine.toml", "LLAMA-3-Instruct", 5)
    catalog = load_catalog(tmp_path)
    assert len(catalog.families) == 162
    assert catalog.family("llama-3-instruct").source == str(path)
    place = [family.name for family in bundled.families].index("llama-3-instruct")
    assert catalog.families[place].name == "LLAMA-3-Instruct"
    assert catalog.problems == (f"{path}: LLAMA-3-Instruct replaces the bundled family",)


def test_extra_files_and_folders_come_last_and_say_what_they_replace(tmp_path: Path) -> None:
    first = write(tmp_path / "user", "a.toml", "mine", 1)
    second = write(tmp_path / "extra", "sub/b.toml", "mine", 2)
    third = write(tmp_path / "other", "c.toml", "mine", 3)
    catalog = load_catalog(tmp_path / "user", [tmp_path / "extra", third])
    assert catalog.family("mine").sizes_in_billions == (3,)
    assert catalog.problems == (
        f"{second}: mine replaces the one of {first}",
        f"{third}: mine replaces the one of {second}",
    )


def test_a_family_that_stands_twice_in_one_file_counts_once(tmp_path: Path) -> None:
    entry = {"model_name": "twice", "model_specs": [
        {"model_format": "pytorch", "model_size_in_billions": 1, "quantization": "none", "model_id": "a/b"},
    ]}  # fmt: skip
    path = tmp_path / "twice.json"
    path.write_text(json.dumps([entry, {**entry, "context_length": 7}]))
    catalog = load_catalog(None, [path])
    assert catalog.family("twice").context_length == 7
    assert catalog.problems == (f"{path}: twice stands here twice; the later one counts",)


def test_a_bad_file_costs_one_line_and_nothing_else(tmp_path: Path) -> None:
    good = write(tmp_path, "good.toml", "good")
    (tmp_path / "bad.toml").write_text('name = "bad"\ncontext_length = "long"\n')
    (tmp_path / ".hidden.toml").write_text("not looked at")
    (tmp_path / "README.md").write_text("not looked at")
    catalog = load_catalog(tmp_path, [tmp_path / "gone.toml"])
    assert catalog.family("good").source == str(good)
    bad, gone = catalog.problems
    assert bad.startswith(f"{tmp_path}/bad.toml:2: expected context_length as a whole number")
    assert gone == f"{tmp_path}/gone.toml: there is no such file"


def test_a_folder_that_is_not_there_yet_is_no_problem(tmp_path: Path) -> None:
    assert load_catalog(tmp_path / "specs").problems == ()


def test_a_search_finds_every_word_anywhere_and_names_first(bundled: Catalog) -> None:
    found = [family.name for family in bundled.search("QWEN coder")]
    assert found[:3] == ["qwen2.5-coder", "qwen2.5-coder-instruct", "Qwen3-Coder"]
    assert "XiYanSQL-QwenCoder-2504" in found
    assert bundled.search("lmstudio-community meta-llama-3-70b")[0].name == "llama-3-instruct"
    assert bundled.search("no such words") == ()
    assert len(bundled.search("  ")) == 162


def test_filters_narrow_a_search(bundled: Catalog) -> None:
    assert all("mlx" in family.formats for family in bundled.search("", format="MLX"))
    assert {family.name for family in bundled.search("", ability="omni")} == {
        "qwen2.5-omni", "Qwen3-Omni-Thinking", "Qwen3-Omni-Instruct",
    }  # fmt: skip
    assert all(min(family.sizes_in_billions) <= 1 for family in bundled.search("", max_size=1))
    mlx = bundled.search("", engine="mlx")
    assert 0 < len(mlx) < 162
    assert bundled.search("llama", format="ggufv2", engine="llama.cpp", max_size=8)


def test_search_matches_languages_and_abilities(bundled: Catalog) -> None:
    assert "llama-3.1" in [family.name for family in bundled.search("hi generate")]


def test_an_unknown_family_names_those_near_it(bundled: Catalog) -> None:
    with pytest.raises(UnknownFamily, match="llama-3-instruct"):
        bundled.family("llama3-instruct")
    assert issubclass(UnknownFamily, KeyError)


def test_a_variant_is_found_in_any_case(bundled: Catalog) -> None:
    variant = bundled.variant("Llama-3-Instruct", "8", "GGUFv2", "q4_k_m")
    assert variant.quantization == "Q4_K_M"
    assert bundled.variant("qwen-chat", "1_8", "pytorch").spec.size_in_billions == 1.8


def test_an_unknown_variant_lists_what_there_is(bundled: Catalog) -> None:
    with pytest.raises(UnknownVariant) as raised:
        bundled.variant("llama-3-instruct", 8, "ggufv2", "Q9")
    assert str(raised.value) == (
        "llama-3-instruct has no 8B ggufv2 Q9; there is 8B ggufv2 IQ3_M, Q4_K_M, Q5_K_M, Q6_K, Q8_0"
    )
    with pytest.raises(UnknownVariant, match="say which one"):
        bundled.variant("llama-3-instruct", 8, "ggufv2")


def test_a_model_id_tells_twins_apart(bundled: Catalog) -> None:
    first = bundled.variant("llama-3.1-instruct", 8, "ggufv2", "Q4_K_M")
    ids = {
        variant.model_id
        for variant in bundled.family("llama-3.1-instruct").variants()
        if (variant.spec.size_in_billions, variant.spec.format, variant.quantization) == (8, "ggufv2", "Q4_K_M")
    }
    for model_id in ids:
        chosen = bundled.variant("llama-3.1-instruct", 8, "ggufv2", "Q4_K_M", model_id=model_id.upper())
        assert chosen.model_id == model_id
    assert first.model_id in ids


def test_the_document_has_the_promised_keys(bundled: Catalog) -> None:
    document = catalog_to_json(bundled, bundled.search("llama-3.1"))
    assert set(document) == {"families", "problems"}
    assert set(document["families"][0]) == {
        "name", "context_length", "languages", "abilities", "sizes_in_billions", "formats", "source",
    }  # fmt: skip
    whole = family_to_json(bundled.family("llama-3-instruct"))
    assert set(whole) == {
        "name", "context_length", "languages", "abilities", "description", "license", "source", "specs",
    }  # fmt: skip
    assert whole["specs"][1] == {
        "format": "pytorch",
        "size_in_billions": 8,
        "active_size_in_billions": None,
        "quantizations": ["4-bit", "8-bit", "none"],
        "engines": {"Transformers": ["4-bit", "8-bit", "none"], "vLLM": ["none"], "SGLang": ["none"]},
        "hubs": {
            "huggingface": {"id": "meta-llama/Meta-Llama-3-8B-Instruct"},
            "modelscope": {"id": "LLM-Research/Meta-Llama-3-8B-Instruct"},
        },
    }
    json.dumps(document)


def test_a_search_of_thousands_of_families_looks_at_text_made_beforehand() -> None:
    spec = ModelSpec("ggufv2", 7, ("Q4_K_M",) * 5, (HubSource(HUGGINGFACE, "owner/Model-GGUF"),))
    families = tuple(ModelFamily(f"model-{number}", 4096, ("en",), ("chat",), (spec,)) for number in range(4000))
    catalog = Catalog(families)
    assert len(catalog.search("model-1")) == 1111
    assert catalog._index is catalog._index  # made once
