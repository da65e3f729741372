"""JSON model descriptions in both of Xinference's forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.model import ModelFamily, SpecError
from specs.readers import json as reader
from specs.reading import read_spec_file

SHIPPED: dict[str, Any] = {
    "version": 2,
    "context_length": 32768,
    "model_name": "qwen2.5-instruct",
    "model_lang": ["en", "zh"],
    "model_ability": ["chat", "tools"],
    "model_description": "Some words.",
    "model_specs": [
        {
            "model_format": "ggufv2",
            "model_size_in_billions": "0_5",
            "activated_size_in_billions": "0_1",
            "model_src": {
                "huggingface": {
                    "model_id": "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
                    "model_revision": "abc123",
                    "quantizations": ["q2_k", "q4_k_m"],
                    "model_file_name_template": "qwen2.5-0.5b-instruct-{quantization}.gguf",
                    "model_file_name_split_template": "qwen2.5-0.5b-instruct-{quantization}-{part}.gguf",
                    "quantization_parts": {"fp16": ["00001-of-00002", "00002-of-00002"]},
                },
                "modelscope": {"model_id": "qwen/Qwen2.5-0.5B-Instruct-GGUF", "quantizations": ["q4_k_m"]},
                "openmind_hub": {"model_id": "x/y", "quantizations": ["q4_k_m"]},
            },
        }
    ],
    "architectures": ["Qwen2ForCausalLM"],
    "chat_template": "{% for message in messages %}{{ message }}{% endfor %}",
    "stop_token_ids": [151643],
    "stop": ["<|im_end|>"],
    "reasoning_start_tag": "<think>",
    "reasoning_end_tag": "</think>",
    "virtualenv": {"packages": []},
}
REGISTERED: dict[str, Any] = {
    "version": 1,
    "context_length": 2048,
    "model_name": "my-model",
    "model_lang": ["en"],
    "model_ability": ["generate"],
    "model_family": "other",
    "model_specs": [
        {
            "model_format": "pytorch",
            "model_size_in_billions": 7,
            "quantization": "none",
            "model_id": None,
            "model_hub": "huggingface",
            "model_uri": "file:///weights/my%20model",
            "model_revision": None,
        },
        {
            "model_format": "ggufv2",
            "model_size_in_billions": "1_8",
            "quantizations": ["Q4_K_M"],
            "model_id": "owner/name",
            "model_file_name_template": "name.{quantization}.gguf",
        },
    ],
}


def read(content: object) -> tuple[ModelFamily, ...]:
    return reader.read(json.dumps(content, indent=1), "file.json", "file.json").families


def test_the_shipped_form_reads_with_each_hubs_own_list() -> None:
    (found,) = read(SHIPPED)
    assert (found.name, found.context_length, found.stop) == ("qwen2.5-instruct", 32768, ("<|im_end|>",))
    assert (found.reasoning_start_tag, found.reasoning_end_tag) == ("<think>", "</think>")
    assert found.chat_template
    assert found.chat_template.startswith("{% for")
    (spec,) = found.specs
    assert (spec.size_in_billions, spec.active_size_in_billions) == (0.5, 0.1)
    assert spec.quantizations == ("q2_k", "q4_k_m", "fp16")
    huggingface, modelscope = spec.hubs
    assert (huggingface.revision, huggingface.quantizations) == ("abc123", None)
    assert huggingface.file_names("fp16") == (
        "qwen2.5-0.5b-instruct-fp16-00001-of-00002.gguf", "qwen2.5-0.5b-instruct-fp16-00002-of-00002.gguf",
    )  # fmt: skip
    assert modelscope.quantizations == ("q4_k_m",)


def test_other_hubs_are_read_and_named_as_not_carried() -> None:
    reading = reader.read(json.dumps(SHIPPED, indent=1), "file.json", "")
    (note,) = reading.notes
    assert note.what == 'qwen2.5-instruct: modeldeck does not carry the hub "openmind_hub"'
    assert note.line == json.dumps(SHIPPED, indent=1).split("openmind_hub")[0].count("\n") + 1


def test_the_registered_form_reads_with_its_local_weights() -> None:
    (found,) = read(REGISTERED)
    local, gguf = found.specs
    assert (local.path, local.hubs, local.quantizations) == ("/weights/my model", (), ("none",))
    assert next(found.variants()).model_id == "/weights/my model"
    assert (gguf.size_in_billions, gguf.model_id) == (1.8, "owner/name")
    assert gguf.hubs[0].file_names("Q4_K_M") == ("name.Q4_K_M.gguf",)


def test_a_list_holds_several_families_and_leaves_other_kinds_out() -> None:
    embedding = {"model_name": "bge", "dimensions": 768, "max_tokens": 512, "model_id": "BAAI/bge"}
    reading = reader.read(json.dumps([SHIPPED, embedding, REGISTERED]), "file.json", "")
    assert [found.name for found in reading.families] == ["qwen2.5-instruct", "my-model"]
    assert any('"bge" is left out: this describes an embedding model' in note.what for note in reading.notes)


def test_a_description_of_another_kind_alone_is_turned_away() -> None:
    with pytest.raises(SpecError, match="this describes an embedding model, and modeldeck browses language models"):
        read({"model_name": "bge", "dimensions": 768})


def without(spec: dict[str, Any], **changes: Any) -> dict[str, Any]:
    changed = {**spec, **changes}
    return {key: value for key, value in changed.items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "key", "what"),
    [
        ({"model_format": "exl2"}, "model_format", "expected model_format as one of"),
        ({"model_size_in_billions": "seven"}, "model_size_in_billions", "expected model_size_in_billions as a number"),
        ({"model_size_in_billions": -7}, "model_size_in_billions", "found -7"),
        ({"model_size_in_billions": True}, "model_size_in_billions", "found True"),
        ({"model_size_in_billions": ...}, "model_format", "model_size_in_billions is missing"),
        ({"model_id": "no-owner"}, "model_id", "expected a repository as owner/name"),
        ({"model_uri": "file:///a\u001b"}, "model_uri", "expected model_uri as file:///"),
        ({"model_uri": "relative/path", "model_id": None}, "model_uri", "with the whole path"),
        ({"quantizations": ["a b"]}, "quantizations", "expected the name of a quantization"),
        ({"quantizations": {}}, "quantizations", "expected quantizations as a list of texts"),
        ({"model_file_name_template": "../{quantization}"}, "model_file_name_template", "relative and without"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(changes: dict[str, Any], key: str, what: str) -> None:
    spec = without(REGISTERED["model_specs"][1], **changes)
    text = json.dumps({**REGISTERED, "model_specs": [REGISTERED["model_specs"][0], spec]}, indent=1)
    with pytest.raises(SpecError) as raised:
        reader.read(text, "file.json", "")
    assert what in raised.value.what
    named = text.splitlines()[(raised.value.line or 0) - 1]
    assert key in named or named.strip() in {"{", '"a b"'}


def test_weights_elsewhere_are_named_as_not_carried() -> None:
    spec = without(REGISTERED["model_specs"][1], model_uri="s3://bucket/name")
    reading = reader.read(json.dumps({**REGISTERED, "model_specs": [spec]}), "file.json", "")
    assert [note.what for note in reading.notes] == ['my-model: modeldeck does not carry weights behind "s3://"']


def test_a_text_that_is_no_json_names_line_and_column() -> None:
    with pytest.raises(SpecError, match=r"^file\.json:2: this is not JSON: .* at column 1$"):
        reader.read('{"a": 1,\n}', "file.json", "")
    with pytest.raises(SpecError, match="nested too deeply"):
        reader.read("[" * 100_000, "file.json", "")


def test_a_file_is_read_by_its_content_when_the_ending_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "my-model"
    path.write_text(json.dumps(REGISTERED))
    assert read_spec_file(path)[0].name == "my-model"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["model_name", "model_lang", "model_specs", "model_format", "model_size_in_billions", "model_src", "model_id",
        "quantizations", "huggingface", "model_uri", "quantization_parts", "stop", "architectures"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), values, max_size=3),
    st.dictionaries(st.sampled_from(KEYS), values, max_size=4),
)
def test_no_content_raises_anything_but_a_spec_error(top: dict[str, Any], inner: dict[str, Any]) -> None:
    nested = {**REGISTERED, "model_specs": [{**REGISTERED["model_specs"][1], **inner}], **top}
    shipped = {**SHIPPED, "model_specs": [{**SHIPPED["model_specs"][0], "model_src": {"huggingface": inner}}]}
    for content in (top, nested, shipped, [nested]):
        try:
            reader.read(json.dumps(content), "file.json", "")
        except SpecError as error:
            assert "\n" not in str(error)
