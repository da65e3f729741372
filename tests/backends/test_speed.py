"""Predicted decode speeds, against measured ones."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import held_out
import speed_rows
from known_models import QWEN3_8B
from machines import EIGHT_H100, LAPTOP, RTX_3060, RTX_4090, card, linux, mac, variant

from backends.fit import Wish
from backends.judge import judge
from backends.machine.model import Cpu, Machine, Memory
from backends.machine.presets import preset
from specs.model import Architecture, ModelFamily, ModelSpec, Variant

PHI4 = Architecture("phi3", 40, 5120, 17_920, 40, 10, 128, 128, 100_352)
TRUTH = Path(__file__).parents[1] / "truth" / "decode_speed.csv"


def speed(weight_format: str, size: float, quantization: str, engine: str, machine: object) -> float:
    option = judge(variant(weight_format, size, quantization), engine, machine, Wish(4096))  # type: ignore[arg-type]
    assert option.tokens_per_second is not None
    assert option.tokens_per_second.basis == "predicted"
    return option.tokens_per_second.value


def test_measured_speeds_are_met() -> None:
    errors = sorted(row.error for row in speed_rows.rows(TRUTH))
    assert len(errors) == 268
    assert statistics.median(errors) <= 0.15
    assert errors[int(0.9 * len(errors))] <= 0.40


def test_speeds_on_hardware_that_nothing_was_fitted_on_are_met() -> None:
    # Ampere to Hopper, M1 to M4: other people's tables, named in the file.
    runs = held_out.elsewhere(TRUTH.with_name("decode_speed_elsewhere.csv"))
    errors = sorted(abs(predicted / measured - 1) for _, measured, predicted in runs)
    assert len(errors) == 49
    assert statistics.median(errors) <= 0.15
    assert errors[int(0.9 * len(errors))] <= 0.40


def test_a_device_that_the_fit_has_not_seen_is_met() -> None:
    runs = list(held_out.truth(TRUTH))
    errors = held_out.errors_without(runs, lambda one: one.device)
    assert statistics.median(errors["Apple M3 Pro"]) <= 0.15
    assert statistics.median(errors["AMD Radeon RX 7900 XT"]) <= 0.25


def test_cards_without_tensor_cores_are_as_quick_as_they_unpack() -> None:
    # 56.3 tok/s of Llama 2 7B at Q4_0, 33.4 at Q2_K. Source: llama.cpp's pull request 4766.
    p40 = linux(64, card("Tesla P40", 24, capability="6.1", gbps=346))
    assert speed("ggufv2", 8, "Q2_K", "llama.cpp", p40) < speed("ggufv2", 8, "Q4_K_M", "llama.cpp", p40)


def test_llama_3_8b_on_a_4090_is_near_what_others_measured() -> None:
    # 127.7 tok/s at Q4_K_M, 54.3 at F16. Source: XiongjieDai's GPU benchmarks on LLM inference.
    assert 0.85 * 127.7 < speed("ggufv2", 8, "Q4_K_M", "llama.cpp", RTX_4090) < 1.2 * 127.7
    assert 0.85 * 54.3 < speed("ggufv2", 8, "F16", "llama.cpp", RTX_4090) < 1.2 * 54.3


def test_only_active_experts_are_read() -> None:
    dense = speed("ggufv2", 8, "Q4_K_M", "llama.cpp", RTX_4090)
    assert speed("ggufv2", 30, "Q4_K_M", "llama.cpp", RTX_4090) > dense


def test_the_layers_in_ram_rule_a_split_model() -> None:
    assert speed("ggufv2", 70, "Q4_K_M", "llama.cpp", RTX_4090) < 5
    assert speed("ggufv2", 30, "Q4_K_M", "llama.cpp", RTX_3060) > 10


def test_an_unknown_device_has_no_prediction() -> None:
    unknown = linux(64, replace(card("Mystery", 24), bandwidth_bytes_per_second=None))
    assert judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", unknown).tokens_per_second is None
    server = replace(LAPTOP, cpu=replace(LAPTOP.cpu, name="AMD EPYC"))
    assert judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", server).tokens_per_second is None


def test_an_instinct_is_held_up_by_its_launches_not_by_its_memory() -> None:
    # 161 tok/s of Qwen3 8B at Q4_K_M. Source: llama.cpp's discussion 14640.
    spec = ModelSpec("ggufv2", 8.19, ("Q4_K_M",), parameters=8_190_735_360, architecture=QWEN3_8B)
    qwen3 = Variant(ModelFamily("qwen3", 40_960, (), (), (spec,)), spec, "Q4_K_M")
    predicted = judge(qwen3, "llama.cpp", preset("MI300X"), Wish(1024)).tokens_per_second
    assert predicted is not None
    assert 0.9 * 161 < predicted.value < 1.1 * 161


def test_a_measured_bandwidth_gives_any_host_a_prediction() -> None:
    server = replace(LAPTOP, cpu=replace(LAPTOP.cpu, name="AMD EPYC"), host_bandwidth_bytes_per_second=45_000_000_000)
    assert 5 < speed("ggufv2", 8, "Q4_K_M", "llama.cpp", server) < 8


def test_phi_4_on_a_servers_processor_is_near_what_others_measured() -> None:
    # EPYC 9554, 12 x DDR5-4800: 28.74 tok/s at Q4_K_M, 23.25 at Q6_K, 19.19 at Q8_0. Source: ahelpme.com's llama-bench.
    server = Machine("linux", "x86_64", Cpu("AMD EPYC 9554 64-Core Processor", 64, 128), Memory(190 << 30, 180 << 30))
    for quantization, measured in (("Q4_K_M", 28.74), ("Q6_K", 23.25), ("Q8_0", 19.19)):
        spec = ModelSpec("ggufv2", 14.66, (quantization,), architecture=PHI4)
        phi4 = Variant(ModelFamily("phi-4", 16_384, (), (), (spec,)), spec, quantization)
        predicted = judge(phi4, "llama.cpp", server, Wish(4096)).tokens_per_second
        assert predicted is not None
        assert 0.8 * measured < predicted.value < 1.15 * measured


def test_tensor_parallel_cards_share_the_work() -> None:
    assert speed("pytorch", 70, "none", "vLLM", EIGHT_H100) > 25


def test_mlx_on_a_mac_is_near_what_others_measured() -> None:
    # 50.18 tok/s on an M4 Pro, tests/truth/decode_speed.csv.
    assert 0.85 * 50.18 < speed("mlx", 8, "4bit", "MLX", mac(24)) < 1.15 * 50.18
