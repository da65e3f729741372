"""Model pages in reStructuredText, of every era."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.model import ModelFamily, ModelSpec, SpecError
from specs.readers import pages
from specs.reading import check_spec_file, read_spec_file

SEEDS = Path(__file__).parents[1] / "seeds"

OLDEST = """\
.. _models_builtin_baichuan:

========
Baichuan
========

- **Context Length:** 4096
- **Model Name:** baichuan
- **Languages:** en, zh
- **Abilities:** embed, generate
- **Description:** A model of another time.

Specifications
^^^^^^^^^^^^^^

Model Spec 1 (ggmlv3, 7 Billion)
++++++++++++++++++++++++++++++++

- **Model Format:** ggmlv3
- **Model Size (in billions):** 7
- **Quantizations:** q2_K, q3_K_L, Q4_0
- **Model ID:** TheBloke/baichuan-llama-7B-GGML

Execute the following command to launch the model, remember to replace `${quantization}` with your
chosen quantization method from the options listed above::

   xinference launch --model-name baichuan --size-in-billions 7 --model-format ggmlv3 --quantization ${quantization}

.. note::

   4-bit quantization is not supported on ``macOS``. See :ref:`installation` and *this_*.

Model Specs (pytorch, 1_8 Billion)
++++++++++++++++++++++++++++++++++

- **Model Format:** pytorch
- **Model Size (in billions):** 1_8
- **Quantizations:** 4-bit, 8-bit, none
- **Model ID:** Owner/Name_With_Underscores
"""

NEWER = """\
.. _models_llm_mixed-Case:

========================================
mixed-Case
========================================

- **Model Languages**: en
- **Model Abilities**: chat, tools
- **Model Description**: Two lines
  of description, and *emphasis*.

Specifications
^^^^^^^^^^^^^^


Model Spec 1 (awq, 46_7 Billion)
++++++++++++++++++++++++++++++++++++++++

- **Model Format**: awq
- **Model Size (in billions)**: 46_7
- **Quantizations**: Int4
- **Engines**: vLLM, Transformers, LMDEPLOY
- **Model ID**: Owner/Mixed-AWQ
- **Model Hubs**:  `Hugging Face <https://huggingface.co/owner/mixed-awq>`__, `ModelScope <https://www.modelscope.cn/models/other/Mixed-AWQ-{quantization}/summary>`__

Model Spec 2 (pytorch, 46_7 Billion)
++++++++++++++++++++++++++++++++++++++++

- **Model Format:** pytorch
- **Model Size (in billions):** 46_7
- **Quantizations:** 4-bit, 8-bit, none
- **Engines:** vLLM, Transformers, SGLang, MLX (vLLM, SGLang and MLX only available for quantization 8-bit, none)
- **Model ID:** Owner/Mixed
- **Model Hubs**:  `Wisemodel <https://wisemodel.cn/models/Owner/Mixed>`__, `ModelScope <https://modelscope.cn/models/Owner/Mixed>`__

Model Spec 3 (gptq, 46_7 Billion)
++++++++++++++++++++++++++++++++++++++++

- **Quantizations:** Int4
- **Engines**:
- **Model ID:** Owner/Mixed-GPTQ
"""


def family(text: str) -> ModelFamily:
    (found,) = pages.read(text, "page.rst", "page.rst").families
    return found


def rows(specs: tuple[ModelSpec, ...]) -> list[tuple[str, float, str]]:
    return [(spec.format, spec.size_in_billions, ", ".join(spec.quantizations)) for spec in specs]


def test_the_newer_seed_reads_whole() -> None:
    (found,) = read_spec_file(SEEDS / "llama-3-instruct.rst")
    assert (found.name, found.context_length, found.languages, found.abilities) == (
        "llama-3-instruct", 8192, ("en",), ("chat",),
    )  # fmt: skip
    assert found.description.startswith("The Llama 3 instruction tuned models")
    assert rows(found.specs) == [
        ("ggufv2", 8, "IQ3_M, Q4_K_M, Q5_K_M, Q6_K, Q8_0"),
        ("pytorch", 8, "4-bit, 8-bit, none"),
        ("ggufv2", 70, "IQ1_M, IQ2_XS, Q4_K_M"),
        ("pytorch", 70, "4-bit, 8-bit, none"),
        ("mlx", 8, "4-bit"),
        ("mlx", 8, "8-bit"),
        ("mlx", 8, "none"),
        ("mlx", 70, "4-bit"),
        ("mlx", 70, "8-bit"),
        ("mlx", 70, "none"),
        ("gptq", 8, "Int4"),
        ("gptq", 70, "Int4"),
    ]
    assert {source.hub: source.id for source in found.specs[11].hubs} == {
        "huggingface": "TechxGenus/Meta-Llama-3-70B-Instruct-GPTQ",
        "modelscope": "swift/Meta-Llama-3-70B-Instruct-GPTQ-{quantization}",
    }
    assert found.specs[3].engines == {
        "vLLM": ("none",), "Transformers": ("4-bit", "8-bit", "none"), "SGLang": ("none",),
    }  # fmt: skip


def test_the_older_seed_reads_whole() -> None:
    (found,) = read_spec_file(SEEDS / "llama-3.1.rst")
    assert found.languages == ("en", "de", "fr", "it", "pt", "hi", "es", "th")
    assert found.abilities == ("generate",)
    assert [(spec.format, spec.size_in_billions, len(spec.quantizations)) for spec in found.specs] == [
        ("pytorch", 8, 1), ("ggufv2", 8, 14), ("pytorch", 70, 1), ("pytorch", 405, 1),
    ]  # fmt: skip
    assert [len(spec.hubs) for spec in found.specs] == [2, 1, 2, 2]


def test_a_template_in_one_of_two_ids_gives_each_hub_its_own_repository() -> None:
    (found,) = read_spec_file(SEEDS / "llama-3-instruct.rst")
    variant = list(found.variants())[-2]
    assert variant.model_id == "TechxGenus/Meta-Llama-3-8B-Instruct-GPTQ"
    other = variant.source("modelscope")
    assert other
    assert other.model_id(variant.quantization) == "swift/Meta-Llama-3-8B-Instruct-GPTQ-Int4"


def test_the_oldest_pages_lack_engines_and_hubs_and_read_all_the_same() -> None:
    found = family(OLDEST)
    assert found.name == "baichuan"
    dead, small = found.specs
    assert (dead.format, dead.quantizations, dead.engines) == ("ggmlv3", ("q2_K", "q3_K_L", "Q4_0"), None)
    assert (small.size_in_billions, small.model_id) == (1.8, "Owner/Name_With_Underscores")
    assert [source.hub for source in small.hubs] == ["huggingface"]


def test_the_colon_may_stand_outside_the_bold_and_bullets_may_lack() -> None:
    found = family(NEWER)
    assert (found.name, found.context_length, found.abilities) == ("mixed-Case", None, ("chat", "tools"))
    assert found.description == "Two lines of description, and *emphasis*."
    assert [spec.size_in_billions for spec in found.specs] == [46.7, 46.7, 46.7]


def test_ids_keep_their_case_and_links_may_lead_past_the_repository() -> None:
    first = family(NEWER).specs[0]
    assert {source.hub: source.id for source in first.hubs} == {
        "huggingface": "Owner/Mixed-AWQ", "modelscope": "other/Mixed-AWQ-{quantization}",
    }  # fmt: skip


def test_a_restriction_may_name_several_engines_and_quantizations() -> None:
    assert family(NEWER).specs[1].engines == {
        "vLLM": ("8-bit", "none"),
        "Transformers": ("4-bit", "8-bit", "none"),
        "SGLang": ("8-bit", "none"),
        "MLX": ("8-bit", "none"),
    }


def test_a_hub_that_is_not_carried_is_named_with_its_line() -> None:
    reading = pages.read(NEWER, "page.rst", "page.rst")
    assert [source.hub for source in reading.families[0].specs[1].hubs] == ["modelscope"]
    assert [(note.line, note.what) for note in reading.notes] == [(34, 'modeldeck does not carry the hub "Wisemodel"')]


def test_a_spec_may_leave_format_and_size_to_its_title_and_engines_to_us() -> None:
    third = family(NEWER).specs[2]
    assert (third.format, third.size_in_billions, third.engines) == ("gptq", 46.7, None)


@pytest.mark.parametrize(
    ("label", "bullets", "kind"),
    [
        ("_models_embedding_bge", "- **Model Name:** bge\n- **Abilities:** embed", "an embedding model"),
        ("_models_builtin_bge", "- **Model Name:** bge\n- **Abilities:** embed", "an embedding model"),
        ("_models_rerank_r", "- **Model Name:** r\n- **Abilities:** rerank", "a rerank model"),
        ("_models_image_sd", "- **Model Name:** sd\n- **Model Family:** stable_diffusion", "an image model"),
        ("_models_audio_w", "- **Model Name:** w\n- **Abilities:** audio-to-text", "an audio model"),
        ("_models_video_v", "- **Model Name:** v\n- **Abilities:** text2video", "a video model"),
        ("_models_builtin_x", "- **Model Name:** x\n- **Dimensions:** 768", "an embedding model"),
    ],
)  # fmt: skip
def test_pages_of_other_models_are_turned_away_politely(label: str, bullets: str, kind: str) -> None:
    text = f".. {label}:\n\n===\nX\n===\n\n{bullets}\n\nSpecifications\n^^^^^^^^^^^^^^\n\n- **Model ID:** a/b\n"
    with pytest.raises(SpecError, match=f"this is the page of {kind}.*modeldeck browses language models"):
        pages.read(text, "page.rst", "page.rst")


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("**Model Format:** pytorch", "**Model Format:** exl2", 36, "expected Model Format as one of ggufv2"),
        ("billions):** 1_8", "billions):** -3", 37, "expected Model Size as a number of billions"),
        ("Owner/Name_With_Underscores", "../../etc/passwd", 39, "expected a repository as owner/name"),
        ("**Context Length:** 4096", "**Context Length:** many", 7, "expected Context Length as a number"),
        ("4-bit, 8-bit, none", "4-bit, ../none", 38, "expected the name of a quantization"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(old: str, new: str, line: int, expected: str) -> None:
    with pytest.raises(SpecError, match=expected) as raised:
        family(OLDEST.replace(old, new))
    assert raised.value.line == line


def test_docutils_neither_includes_files_nor_prints(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    hostile = (
        f".. include:: {secret}\n\n.. raw:: html\n   :file: {secret}\n\n.. csv-table::\n   :file: {secret}\n\n"
        f".. unknown:: x\n\n|nothing| `broken\n\n====\nodd\n==\n\n{OLDEST}"
    )
    assert "secret" not in repr(family(hostile))
    assert capfd.readouterr() == ("", "")


def test_several_pages_may_stand_in_one_file() -> None:
    named = NEWER.replace("- **Model Languages**", "- **Model Name**: mixed-Case\n- **Model Languages**")
    reading = pages.read(f"{OLDEST}\n\n{named}", "page.rst", "page.rst")
    assert [(found.name, len(found.specs)) for found in reading.families] == [("baichuan", 2), ("mixed-Case", 3)]


def test_escape_sequences_in_a_description_are_shown() -> None:
    assert family(OLDEST.replace("of another", "of \x1b[31manother")).description == "A model of ␛[31manother time."


def test_a_page_is_known_by_its_content_too(tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    path.write_text(NEWER)
    assert check_spec_file(path).families[0].name == "mixed-Case"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400), st.integers(0, len(OLDEST)))
def test_no_text_raises_anything_but_a_spec_error(noise: str, place: int) -> None:
    for text in (noise, OLDEST[:place] + noise + OLDEST[place:]):
        try:
            pages.read(text, "page.rst", "page.rst")
        except SpecError as error:
            assert "\n" not in str(error)
