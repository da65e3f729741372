"""modeldeck's own spec files in TOML."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.model import ModelFamily, SpecError
from specs.readers import toml
from specs.reading import read_spec_file

WHOLE = """\
name = "llama-3-instruct"
description = "In our own words."
context_length = 8192
languages = ["en"]
abilities = ["chat"]
license = "llama3"

[[models]]
size_in_billions = 8
active_size_in_billions = 3
parameters = 8030261248

[models.architecture]
architecture = "llama"
block_count = 3
head_count_kv = [8, 8, 0]
tied_embeddings = false
rope_freq_base = 500000.0

[[models.specs]]
format = "ggufv2"
quantizations = ["IQ3_M", "Q4_K_M", "Q8_0"]

[models.specs.hubs.huggingface]
id = "lmstudio-community/Meta-Llama-3-8B-Instruct-GGUF"
file = "Meta-Llama-3-8B-Instruct-{quantization}.gguf"
split_file = "Meta-{quantization}-{part}.gguf"
revision = "main"
projectors = ["mmproj-f16.gguf"]

[models.specs.hubs.huggingface.parts]
Q8_0 = 2
F16 = ["split-a", "split-b"]

[models.specs.hubs.modelscope]
id = "LLM-Research/Meta-Llama-3-8B-Instruct-GGUF"
quantizations = ["Q4_K_M"]

[[models.specs]]
format = "pytorch"
quantizations = ["4-bit", "none"]
engines = { transformers = ["4-bit", "none"], VLLM = ["none"] }

[models.specs.hubs.huggingface]
id = "meta-llama/Meta-Llama-3-8B-Instruct"

[[models]]
size_in_billions = 70
[[models.specs]]
format = "mlx"
quantizations = ["4bit"]
engines = ["MLX"]
path = "/weights/llama"

[[models]]
size_in_billions = 8
active_size_in_billions = 3
[[models.specs]]
format = "mlx"
quantizations = ["4bit"]
hubs.huggingface.id = "mlx-community/Meta-Llama-3-8B-Instruct-{quantization}"
"""


def family(text: str) -> ModelFamily:
    (found,) = toml.read(text, "file.toml", "file.toml").families
    return found


def test_every_key_of_the_contract_reads() -> None:
    found = family(WHOLE)
    assert (found.name, found.context_length, found.license) == ("llama-3-instruct", 8192, "llama3")
    gguf, pytorch, mlx, again = found.specs
    assert (gguf.size_in_billions, gguf.active_size_in_billions, gguf.parameters) == (8, 3, 8030261248)
    assert gguf.architecture
    assert gguf.architecture.block_count == 3
    assert gguf.architecture.head_count_kv == (8, 8, 0)
    assert gguf.architecture.extra == {"rope_freq_base": 500000.0}
    assert pytorch.engines == {"Transformers": ("4-bit", "none"), "vLLM": ("none",)}
    assert (mlx.path, mlx.engines) == ("/weights/llama", {"MLX": ("4bit",)})
    assert again.hubs[0].model_id("4bit") == "mlx-community/Meta-Llama-3-8B-Instruct-4bit"


def test_quantizations_in_parts_count_and_stay_with_the_hub_that_has_them() -> None:
    gguf = family(WHOLE).specs[0]
    huggingface, modelscope = gguf.hubs
    assert gguf.quantizations == ("IQ3_M", "Q4_K_M", "Q8_0", "F16")
    assert huggingface.quantizations is None
    assert modelscope.quantizations == ("Q4_K_M",)
    assert huggingface.file_names("q8_0") == ("Meta-Q8_0-00001-of-00002.gguf", "Meta-Q8_0-00002-of-00002.gguf")
    assert huggingface.file_names("F16") == ("Meta-F16-split-a.gguf", "Meta-F16-split-b.gguf")
    assert huggingface.file_names("Q4_K_M") == ("Meta-Llama-3-8B-Instruct-Q4_K_M.gguf",)


def test_a_size_that_comes_again_keeps_what_was_said_of_it() -> None:
    found = family(WHOLE)
    assert found.specs[3].parameters == 8030261248
    assert found.specs[3].architecture == found.specs[0].architecture


def test_unknown_keys_are_left_aside_and_named_with_their_line() -> None:
    reading = toml.read(WHOLE.replace('license = "llama3"', 'licence = "llama3"'), "f", "f")
    assert [(note.line, note.what) for note in reading.notes] == [(6, 'unknown key "licence"')]


def test_a_hub_that_is_not_carried_is_named() -> None:
    reading = toml.read(WHOLE.replace("hubs.modelscope]", "hubs.csghub]"), "f", "f")
    assert [note.what for note in reading.notes] == ['modeldeck does not carry the hub "csghub"']
    assert [source.hub for source in reading.families[0].specs[0].hubs] == ["huggingface"]


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ('name = "llama-3-instruct"\n', "", None, "name is missing"),
        ('"llama-3-instruct"', "3", 1, "expected name as a text, found 3"),
        ('"llama-3-instruct"', '"../x"', 1, 'expected name without "/"'),
        ("context_length = 8192", 'context_length = "8k"', 3, "expected context_length as a whole number"),
        ("context_length = 8192", "context_length = -1", 3, "found -1"),
        ("context_length = 8192", "context_length = true", 3, "found True"),
        ('["en"]', '"en"', 4, "expected languages as a list of texts"),
        ('["chat"]', '["chat", 3]', 5, "expected abilities as a list of texts, found 3"),
        ("size_in_billions = 8\n", "size_in_billions = nan\n", 9, "expected size_in_billions as a number of billions"),
        ("size_in_billions = 8\n", "size_in_billions = 1e30\n", 9, "found 1e+30"),
        ("size_in_billions = 70\n", "size_in_billions = -70\n", 48, "found -70"),
        ("size_in_billions = 70\n", "", 47, "size_in_billions is missing"),
        ("parameters = 8030261248", "parameters = 8.5", 11, "expected parameters as a whole number"),
        ("block_count = 3", 'block_count = "many"', 15, "expected block_count as a whole number"),
        ("block_count = 3", "block_count = 1000000000", 15, "expected block_count of at most 10,000"),
        ("block_count = 3", "block_count = 4", 16, "expected head_count_kv for each of 4 blocks, found 3"),
        ("[8, 8, 0]", "64\nhead_count = 32", 16, "expected head_count_kv of at most the head_count, which is 32"),
        ("[8, 8, 0]", "8\nexpert_count = 8\nexpert_used_count = 9", 18, "expected expert_used_count of at most the"),
        ("[8, 8, 0]", "[8, -8]", 16, "expected head_count_kv as a whole number, or a list"),
        ("tied_embeddings = false", "tied_embeddings = 0", 17, "expected tied_embeddings as true or false"),
        ("500000.0", "inf", 18, "expected rope_freq_base as a finite number"),
        ('"ggufv2"', '"exl2"', 21, "expected format as one of ggufv2, pytorch, gptq, awq, fp8, fp4, bnb, mlx"),
        ('["IQ3_M", "Q4_K_M", "Q8_0"]', '["IQ3/M"]', 22, 'such as Q4_K_M, found "IQ3/M"'),
        ('"meta-llama/Meta-Llama-3-8B-Instruct"', '"llama"', 45, "expected a repository as owner/name"),
        ('"meta-llama/Meta-Llama-3-8B-Instruct"', '"a/../../b"', 45, "expected a repository as owner/name"),
        ('"meta-llama/Meta-Llama-3-8B-Instruct"', '"a/b\\u001b[31m"', 45, "expected a repository as owner/name"),
        ('"Meta-Llama-3-8B-Instruct-{quantization}.gguf"', '"/etc/{quantization}"', 26, "relative and without"),
        ('"Meta-Llama-3-8B-Instruct-{quantization}.gguf"', '"a/../b.gguf"', 26, "relative and without"),
        ('"Meta-Llama-3-8B-Instruct-{quantization}.gguf"', '"{size}.gguf"', 26, "with {quantization} only"),
        ("Q8_0 = 2", "Q8_0 = 0", 32, "expected the number of parts"),
        ("Q8_0 = 2", 'Q8_0 = ["../x"]', 32, "expected the name of a part"),
        ('["MLX"]', "3", 52, "expected engines as a list of names, or a table"),
        ('path = "/weights/llama"\n', "", 49, "hubs is missing"),
        ("[[models]]", "[models]", 8, "expected models as a list of tables"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(old: str, new: str, line: int | None, what: str) -> None:
    assert old in WHOLE
    text = (
        WHOLE.replace(old, new) if old != "[[models]]" else 'name = "x"\n\n\n\n\n\n\n[models]\nsize_in_billions = 8\n'
    )
    with pytest.raises(SpecError) as raised:
        family(text)
    assert what in raised.value.what
    assert raised.value.line == line


def test_a_text_that_is_no_toml_names_the_line() -> None:
    with pytest.raises(SpecError, match=r"^file\.toml:3: this is not TOML: "):
        toml.read('name = "x"\n\nthis is prose\n', "file.toml", "")
    with pytest.raises(SpecError, match=r"^file\.toml:1: this is not TOML: .* at the end of the file$"):
        toml.read('name = ["x"', "file.toml", "")


def test_numbers_of_thousands_of_digits_and_deep_nests_are_turned_away() -> None:
    for text in (f"name = {'9' * 5000}", f"name = {'[' * 20000}", f"{'a.' * 3000}a = 1"):
        with pytest.raises(SpecError):
            toml.read(text, "file.toml", "")


def test_control_characters_in_a_description_are_shown() -> None:
    assert family(WHOLE.replace("In our", "In \\u001b[31mour")).description == "In ␛[31mour own words."


def test_a_file_is_read_by_its_ending_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "Family.TOML"
    path.write_text(WHOLE)
    assert read_spec_file(path)[0].source == str(path)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200), st.integers(0, len(WHOLE)))
def test_no_text_raises_anything_but_a_spec_error(noise: str, place: int) -> None:
    for text in (noise, WHOLE[:place] + noise + WHOLE[place:]):
        try:
            toml.read(text, "file.toml", "")
        except SpecError as error:
            assert "\n" not in str(error)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["name", "context_length", "languages", "models", "size_in_billions", "specs", "format", "hubs", "engines", "id"]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(KEYS), values | st.lists(st.dictionaries(st.sampled_from(KEYS), values, max_size=4), max_size=2)
    )
)
def test_no_table_raises_anything_but_wrong(table: dict[str, object]) -> None:
    from specs.readers.values import Wrong

    try:
        toml.family_of({"name": "x", **table}, "", [])
    except Wrong as error:
        assert error.what
