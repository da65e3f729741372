"""What llama.cpp is told about cards, cache and batches: read from the parameters that reach its own functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machines import RTX_4090, TWO_3090, UNLIKE, variant

from backends.engines import llama_log
from backends.engines.engine import LoadOptions, Sampling, Weights
from backends.engines.llama_cpp import LlamaCppRunner
from backends.engines.local import LocalEngine
from backends.fit import Wish
from backends.judge import judge
from backends.loaded import load_request
from specs.model import LLAMA_CPP

llama_cpp = pytest.importorskip("llama_cpp")
pytestmark = pytest.mark.weights
MIB = 1 << 20


class Overheard:
    """The library itself, with the parameters that were given to it; a build without cards takes them all the same."""

    def __init__(self) -> None:
        self.model: dict[str, Any] = {}
        self.context: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(llama_cpp, name)

    def llama_model_load_from_file(self, path: bytes, parameters: Any) -> Any:
        self.model = {name: getattr(parameters, name) for name, *_ in parameters._fields_}
        shares = parameters.tensor_split
        self.model["tensor_split"] = [shares[at] for at in range(4)] if shares else None
        return llama_cpp.llama_model_load_from_file(path, parameters)

    def llama_init_from_model(self, model: Any, parameters: Any) -> Any:
        self.context = {name: getattr(parameters, name) for name, *_ in parameters._fields_}
        return llama_cpp.llama_init_from_model(model, parameters)


@pytest.fixture
def told(gemma_gguf: Path) -> Callable[[LoadOptions], tuple[Overheard, int]]:
    """Load and close; what was heard, and the bytes of the buffers that llama.cpp reports."""

    llama_log.capture(llama_cpp)

    def load(options: LoadOptions) -> tuple[Overheard, int]:
        library = Overheard()
        weights = Weights(gemma_gguf, "gemma", "ggufv2", "Q4_K_M")
        engine = LocalEngine(LlamaCppRunner(library, weights, options), weights, None)
        taken = engine.measured_bytes()
        list(engine.complete("One, two,", Sampling(max_tokens=2)))
        engine.close()
        assert taken is not None
        return library, taken

    return load


def fitted(model: Any, machine: Any, wish: Wish | None = None) -> LoadOptions:
    """The options that the fit gives a load; the context is this test's."""
    options = load_request(judge(model, LLAMA_CPP, machine, wish), Path("/weights")).options
    return replace(options, context=512)


def test_all_layers_of_the_fit_go_to_the_card(told: Any) -> None:
    heard, _ = told(fitted(variant("ggufv2", 8, "Q4_K_M"), RTX_4090))
    assert heard.model["n_gpu_layers"] == 33
    assert heard.model["tensor_split"] is None


def test_a_split_sends_as_many_layers_as_the_fit_counts(told: Any) -> None:
    option = judge(variant("ggufv2", 70, "Q4_K_M"), LLAMA_CPP, RTX_4090)
    assert option.verdict == "split"
    heard, _ = told(fitted(variant("ggufv2", 70, "Q4_K_M"), RTX_4090))
    assert 0 < heard.model["n_gpu_layers"] == option.gpu_layers < 81


def test_two_cards_get_the_layers_that_the_fit_laid_on_each(told: Any) -> None:
    options = fitted(variant("ggufv2", 70, "Q4_K_M"), TWO_3090, Wish(4096))
    heard, _ = told(options)
    assert heard.model["tensor_split"][:2] == list(options.tensor_split)
    assert all(share > 0 for share in heard.model["tensor_split"][:2])


def test_one_card_of_several_is_named_and_nothing_is_split(told: Any) -> None:
    options = fitted(variant("ggufv2", 8, "Q4_K_M"), UNLIKE)
    heard, _ = told(replace(options, device="cuda:0"))  # this build has no second one
    assert heard.model["split_mode"] == llama_cpp.LLAMA_SPLIT_MODE_NONE
    assert heard.model["main_gpu"] == 0


def test_on_the_cpu_no_layer_leaves_it(told: Any) -> None:
    heard, _ = told(LoadOptions(512, gpu_layers=33, device="cpu"))
    assert heard.model["n_gpu_layers"] == 0


@pytest.mark.parametrize(
    ("kind", "number", "flash"), [("f16", 1, "AUTO"), ("q8_0", 8, "ENABLED"), ("q4_0", 2, "ENABLED")]
)
def test_the_cache_type_is_that_of_both_halves_and_a_quantized_one_turns_flash_attention_on(
    told: Any, kind: str, number: int, flash: str
) -> None:
    heard, _ = told(LoadOptions(512, kv_cache_type=kind))
    assert (heard.context["type_k"], heard.context["type_v"]) == (number, number)
    assert heard.context["flash_attn_type"] == getattr(llama_cpp, f"LLAMA_FLASH_ATTN_TYPE_{flash}")


def test_a_quantized_cache_takes_less_by_llama_cpp_s_own_count(told: Any) -> None:
    """At 8,192 tokens f16 takes 24 MiB in 3 full layers and 15 in windows of 1,024 cells; q8_0 has 34 for 64 bytes."""
    plain, packed = told(LoadOptions(8192))[1], told(LoadOptions(8192, kv_cache_type="q8_0"))[1]
    assert plain - packed == pytest.approx((24 + 15) * MIB * 30 / 64, rel=0.05)


def test_a_window_s_cache_has_its_real_size(told: Any) -> None:
    """From 8,192 to 32,768 tokens only 3 full layers grow, by 72 MiB, and the mask by 24; all 18 would by 432."""
    heard, longest = told(LoadOptions(32768))
    assert not heard.context["swa_full"]
    assert longest - told(LoadOptions(8192))[1] == pytest.approx(96 * MIB, abs=8 * MIB)


def test_a_large_vocabulary_makes_no_large_compute_buffer(told: Any) -> None:
    """262,144 words x 512 tokens of logits are 514.5 MiB; with one output row the buffer is 22.8."""
    heard, taken = told(LoadOptions(4096))
    assert heard.context["n_outputs_max"] == 1
    assert heard.context["n_ubatch"] == 512
    assert 240 * MIB < taken < 300 * MIB
