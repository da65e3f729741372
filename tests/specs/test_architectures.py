"""The catalog's architectures against the published counts of parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.memory.shape import architecture_name, is_whole
from backends.memory.tensors import parameter_count
from specs.catalog import load_catalog
from specs.model import ModelFamily, ModelSpec

BOUND = 0.012
SENSES = {"vision", "audio", "omni"}
"""Abilities of families whose repositories hold encoders beside the language part, which alone has an architecture."""

MORE_THAN_THE_MODEL = {
    # Repositories with blocks that guess further tokens, which a GGUF file leaves out.
    "deepseek-prover-v2", "deepseek-r1", "deepseek-r1-0528", "deepseek-v3", "deepseek-v3-0324", "Deepseek-V3.1",
    "DeepSeek-V3.2", "DeepSeek-V3.2-Exp", "GLM-4.7-Flash", "Qwen3-Next-Instruct", "Qwen3-Next-Thinking",
    # Scales of MXFP4 are counted; attention masks are stored.
    "gpt-oss", "gpt-2",
}  # fmt: skip


def _whole() -> list[tuple[ModelFamily, ModelSpec]]:
    found = {
        (family.name, spec.size_in_billions): (family, spec)
        for family in load_catalog().families
        for spec in family.specs
        if spec.parameters and is_whole(spec.architecture)
    }
    return list(found.values())


@pytest.mark.parametrize(("family", "spec"), _whole(), ids=lambda value: getattr(value, "name", ""))
def test_the_tensors_have_the_published_parameters(family: ModelFamily, spec: ModelSpec) -> None:
    assert spec.architecture
    assert spec.parameters
    architecture = replace(spec.architecture, architecture=architecture_name(family.name, spec.architecture))
    difference = parameter_count(architecture) / spec.parameters - 1
    assert difference <= BOUND
    if not SENSES & set(family.abilities) and family.name not in MORE_THAN_THE_MODEL:
        assert difference >= -BOUND
