"""llama.cpp's own answer for its compute buffers reaches the estimate, before a download too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.engine_compute import FAR, NEAR, header_from_hub, line_through, with_engine_answer
from backends.errors import HubError
from backends.fit import Compute, Knowledge
from backends.memory.engine_answer import Answer
from backends.memory.estimators import demand_of
from specs.model import HUGGINGFACE, LLAMA_CPP, HubSource, ModelFamily, ModelSpec, Variant

MIB = 1 << 20


def gemma(*hubs: HubSource) -> Variant:
    spec = ModelSpec("ggufv2", 0.27, ("Q4_K_M",), hubs)
    return Variant(ModelFamily("gemma-3-270m", 32768, ("en",), ("generate",), (spec,)), spec, "Q4_K_M")


def test_a_line_goes_through_both_answers() -> None:
    near, far = Answer(0, 20 * MIB, "1"), Answer(0, 27 * MIB, "1")
    line = line_through(near, far, "f16")
    assert line.host_fixed + line.host_per_token * NEAR == pytest.approx(20 * MIB, abs=1)
    assert line.host_fixed + line.host_per_token * FAR == pytest.approx(27 * MIB, abs=1)
    assert (line.device_fixed, line.device_per_token) == (0, 0.0)


def test_an_answer_stands_above_the_closed_form() -> None:
    on_a_card = Knowledge(compute=Compute("f16", 300 * MIB, 100.0, 5 * MIB, 10.0, "1"))
    demand = demand_of(gemma(), LLAMA_CPP, on_a_card)
    assert demand.device_compute(1000) == 300 * MIB + 100_000
    assert demand.host_compute(1000) == 5 * MIB + 10_000
    on_the_processor = Knowledge(compute=Compute("f16", 0, 0.0, 40 * MIB, 10.0, "1"))
    assert demand_of(gemma(), LLAMA_CPP, on_the_processor).device_compute(1000) == 40 * MIB + 10_000


def test_a_variant_that_no_hub_lists_has_no_header() -> None:
    with pytest.raises(HubError, match="no hub lists"):
        header_from_hub(gemma(), timeout_seconds=1.0)


@pytest.mark.weights
def test_the_engine_answers_from_a_header_on_the_hub_as_from_the_file(hub: Any, gemma_gguf: Path) -> None:
    hub.add("acme/gemma-GGUF", {"gemma-Q4_K_M.gguf": gemma_gguf})
    variant = gemma(HubSource(HUGGINGFACE, "acme/gemma-GGUF"))
    here = with_engine_answer(variant, Knowledge(), path=gemma_gguf).compute
    there = with_engine_answer(variant, Knowledge(), path=None).compute
    assert here is not None
    assert here == there
    # llama.cpp logs 514.5 MiB for 512 rows of logits of this model; our engine wants one row, so it reserves far less.
    assert 10 * MIB < here.host_fixed + here.host_per_token * FAR < 60 * MIB
    fetched = sum(entry["bytes"] for entry in hub.log() if "-cdn" in entry["path"])
    assert fetched < gemma_gguf.stat().st_size / 10
    hub.forget()
    with_engine_answer(variant, Knowledge(), path=None)
    assert not [entry for entry in hub.log() if "-cdn" in entry["path"]], "the header is kept by commit"
