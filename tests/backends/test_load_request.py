"""What the fit decides reaches the engine: context, layers, cards, cache type, share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from machines import EIGHT_H100, GIB, LAPTOP, RTX_4090, TWO_3090, UNLIKE, card, linux, variant

from backends.engines.engine import EngineStatus, LoadOptions
from backends.fit import Wish
from backends.judge import judge
from backends.loaded import load_record, load_request
from backends.machine.model import Machine
from specs.model import Variant

PATH = Path("/weights")


def options_of(of: Variant, engine: str, machine: Machine, wish: Wish | None = None) -> LoadOptions:
    return load_request(judge(of, engine, machine, wish), PATH).options


def test_context_layers_and_cache_type_are_those_of_the_fit() -> None:
    told = options_of(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", RTX_4090, Wish(4096, "q8_0"))
    assert (told.context, told.gpu_layers, told.kv_cache_type) == (4096, 33, "q8_0")
    assert (told.tensor_split, told.device, told.memory_share, told.tensor_parallel) == ((), None, None, 1)


def test_layers_on_several_cards_are_split_as_the_fit_laid_them() -> None:
    of = variant("ggufv2", 70, "Q4_K_M")
    option = judge(of, "llama.cpp", TWO_3090, Wish(4096))
    told = load_request(option, PATH).options
    assert option.verdict == "gpu"
    assert sum(told.tensor_split) == option.gpu_layers
    assert [told.tensor_split[at] for at in option.card_indices] == list(option.card_layers)


def test_shares_stand_in_the_cards_order_not_in_that_of_their_free_memory() -> None:
    machine = linux(64, card("NVIDIA GeForce RTX 3060", 12, index=0), card("NVIDIA GeForce RTX 3090", 24, index=1))
    option = judge(variant("ggufv2", 70, "Q4_K_M"), "llama.cpp", machine)
    told = load_request(option, PATH).options
    assert option.card_indices == (1, 0)
    assert told.tensor_split == (float(option.card_layers[1]), float(option.card_layers[0]))


def test_of_several_cards_the_one_that_the_fit_means_is_named() -> None:
    small = variant("ggufv2", 8, "Q4_K_M")
    option = judge(small, "llama.cpp", UNLIKE)
    assert load_request(option, PATH).options.device == f"cuda:{option.card_indices[0]}"
    assert load_request(judge(small, "llama.cpp", LAPTOP), PATH).options.device is None


def test_a_build_that_cannot_drive_the_card_is_not_told_its_number() -> None:
    built = EngineStatus("ready", version="1.0", accelerators=())
    option = judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", UNLIKE, status=built)
    assert load_request(option, PATH).options.device is None


def test_what_goes_into_ram_is_kept_off_the_card() -> None:
    told = options_of(variant("pytorch", 8, "none"), "Transformers", linux(64, card("NVIDIA GeForce RTX 3060", 12)))
    assert told.device == "cpu"


def test_vllm_claims_no_more_of_a_card_than_is_free() -> None:
    free = options_of(variant("pytorch", 8, "none"), "vLLM", linux(64, card("NVIDIA GeForce RTX 4090", 24)))
    held = card("NVIDIA GeForce RTX 4090", 24)
    held = replace(held, free_bytes=20 * GIB)
    busy = options_of(variant("pytorch", 8, "none"), "vLLM", linux(64, held))
    assert free.memory_share == pytest.approx(0.9)
    assert busy.memory_share is not None
    assert 0.7 < busy.memory_share < 20 / 24


def test_sglang_s_share_leaves_what_lies_beside_weights_and_cache() -> None:
    held = replace(card("NVIDIA GeForce RTX 4090", 24), free_bytes=20 * GIB)
    of = variant("pytorch", 8, "none")
    busy = options_of(of, "SGLang", linux(64, held)).memory_share
    vllms = options_of(of, "vLLM", linux(64, held)).memory_share
    assert busy is not None
    assert vllms is not None
    assert busy < vllms
    assert options_of(of, "SGLang", RTX_4090).memory_share is None


def test_cards_that_share_every_layer_are_counted() -> None:
    assert options_of(variant("pytorch", 70, "none"), "vLLM", EIGHT_H100).tensor_parallel > 1
    assert options_of(variant("pytorch", 70, "none"), "Transformers", EIGHT_H100).tensor_parallel == 1


def test_only_reports_that_can_be_compared_correct_the_estimate() -> None:
    llama = load_request(judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", RTX_4090), PATH)
    vllm = load_request(judge(variant("pytorch", 8, "none"), "vLLM", RTX_4090), PATH)
    kept = load_record(llama, 6 * GIB, 100.0)
    assert (kept.measured_bytes, kept.tokens_per_second) == (6 * GIB, 100.0)
    assert kept.predicted_bytes == llama.comparable_bytes
    assert llama.comparable_bytes is not None
    assert llama.predicted_bytes is not None
    assert llama.comparable_bytes < llama.predicted_bytes
    assert (load_record(vllm, 20 * GIB).predicted_bytes, load_record(vllm, 20 * GIB).measured_bytes) == (None, None)
