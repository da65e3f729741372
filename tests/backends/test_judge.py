"""Verdicts: where a variant runs, how far, why not, and what would cure it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machines import (
    EIGHT_H100,
    FAMILY,
    GIB,
    LAPTOP,
    READY,
    RTX_3060,
    RTX_4090,
    SMALL,
    TINY,
    TWO_3090,
    UNLIKE,
    card,
    linux,
    mac,
    variant,
)  # fmt: skip

from backends.engines.engine import EngineStatus, Lack
from backends.fit import Correction, Knowledge, Speed, Wish
from backends.judge import best_option, judge, option_to_json, options, quick_verdicts
from backends.machine.model import Accelerator, Machine
from backends.machine.presets import preset
from backends.words import amount
from specs.catalog import load_catalog
from specs.engines import candidate_engines
from specs.model import LLAMA_CPP, TRANSFORMERS, VLLM, ModelFamily, ModelSpec, Variant


def test_a_small_model_runs_whole_on_a_large_card() -> None:
    option = judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", RTX_4090, status=READY["llama.cpp"])
    assert option.verdict == "gpu"
    assert option.gpu_layers == option.total_layers == 33
    assert option.where == "on the RTX 4090, all 33 layers"
    assert option.reason is None
    assert option.context == 8192
    assert option.memory.basis == "catalog"
    assert option.memory.kv_cache_bytes == 8192 * 131_072
    assert option.engine_status == "ready"


def test_a_large_model_is_split() -> None:
    option = judge(variant("ggufv2", 70, "Q4_K_M"), "llama.cpp", RTX_4090)
    assert option.verdict == "split"
    assert option.gpu_layers is not None
    assert 20 < option.gpu_layers < 81
    assert "too large for the RTX 4090 alone" in (option.reason or "")


def test_without_a_card_it_runs_on_the_cpu() -> None:
    option = judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", LAPTOP)
    assert option.verdict == "cpu"
    assert option.gpu_layers == 0
    assert option.reason is None


def test_what_other_processes_hold_counts() -> None:
    busy = linux(64, card("NVIDIA GeForce RTX 4090", 24, free=3))
    assert judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", busy).verdict == "split"


def test_two_unlike_cards_share_layers() -> None:
    one = judge(variant("ggufv2", 30, "Q8_0"), "llama.cpp", UNLIKE)
    assert one.verdict == "gpu"
    assert one.card_indices == (0, 1)
    assert sum(one.card_layers) == one.total_layers
    assert one.card_layers[0] > one.card_layers[1]


def test_tensor_parallelism_takes_as_many_cards_as_it_must() -> None:
    option = judge(variant("pytorch", 70, "none"), "vLLM", EIGHT_H100)
    assert option.verdict == "gpu"
    assert len(option.card_indices) == 2  # 138 GB of weights and what surrounds them, of 72 GiB each


def test_tensor_parallelism_needs_heads_that_divide() -> None:
    family = FAMILY
    odd = next(one for one in family.specs if one.format == "pytorch" and one.size_in_billions == 70)
    architecture = replace(odd.architecture, head_count=63, head_count_kv=9) if odd.architecture else None
    changed = replace(family, specs=(replace(odd, architecture=architecture),))
    option = judge(Variant(changed, changed.specs[0], "none"), "vLLM", EIGHT_H100)
    assert option.verdict == "no"


def test_transformers_spreads_layers_over_cards() -> None:
    option = judge(variant("gptq", 70, "Int4"), "Transformers", TWO_3090)
    assert option.verdict == "gpu"
    assert option.card_indices == (0, 1)
    assert option.gpu_layers is None


def test_a_mig_slice_is_alone() -> None:
    parent = card("NVIDIA A100 80GB", 80, capability="8.0")
    slices = [
        replace(card("NVIDIA A100 MIG 1g.10gb", 10, index=index), uuid=f"MIG-{index}", parent_uuid=parent.uuid)
        for index in range(1, 5)
    ]
    machine = linux(64, parent, *slices)
    small = judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", machine)
    assert small.verdict == "gpu"
    assert len(small.card_indices) == 1
    assert judge(variant("pytorch", 8, "none"), "vLLM", machine).verdict == "no"
    sliced = linux(64, *slices)
    split = judge(variant("ggufv2", 70, "Q4_K_M"), "llama.cpp", sliced)
    assert split.verdict == "split"
    assert split.reason is not None
    assert split.reason.endswith(" GiB too large for the A100 MIG 1g.10gb alone")


def test_a_mac_gives_its_working_set_only() -> None:
    assert judge(variant("ggufv2", 30, "Q4_K_M"), "llama.cpp", mac(32)).verdict == "gpu"
    large = judge(variant("ggufv2", 70, "Q4_K_M"), "llama.cpp", mac(48))
    assert large.verdict in {"split", "no"}
    assert judge(variant("mlx", 8, "4bit"), "MLX", mac(16)).verdict == "gpu"


def test_a_card_without_figures_is_not_counted_on() -> None:
    unknown = Accelerator(0, "amd", "Radeon", None, None, None)
    option = judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", linux(32, unknown))
    assert option.verdict == "cpu"
    assert "does not tell its memory" in (option.reason or "")


def test_no_says_by_how_much_and_what_would_cure_it() -> None:
    option = judge(variant("ggufv2", 70, "Q8_0"), "llama.cpp", RTX_4090)
    assert option.verdict in {"split", "no"}
    option = judge(variant("ggufv2", 70, "F16"), "llama.cpp", RTX_3060)
    assert option.verdict == "no"
    assert re.search(r"needs [\d.]+ GiB and .* [\d.]+ GiB short; (Q\w+|IQ\w+) \([\d.]+ GiB\) fits", option.reason or "")


@pytest.mark.parametrize(("format_", "engine"), [("ggufv2", "llama.cpp"), ("gptq", "Transformers"), ("mlx", "MLX")])
def test_a_smaller_size_is_offered_in_the_format_and_under_the_engine_that_were_asked_for(
    format_: str, engine: str
) -> None:
    # What has the most bytes and runs is none of gptq's nor of ggufv2's.
    family = next(one for one in load_catalog().families if one.name == "llama-3.1-instruct")
    one = next(v for v in family.variants() if (v.spec.format, v.spec.size_in_billions) == (format_, 70))
    option = judge(one, engine, linux(24))
    assert option.verdict == "no"
    assert re.search(rf"the 8B size fits \({format_} \S+ under {re.escape(engine)}\)", option.reason or "")


def cure_of(reason: str) -> tuple[str, str]:
    match = re.search(r"; (?:a context of ([\d,]+)|a KV cache of type (\w+)|(\S+) \([\d.]+ \w+\)) fits", reason)
    assert match is not None, reason
    if match[1]:
        return "context", match[1].replace(",", "")
    return ("cache", match[2]) if match[2] else ("quantization", match[3])


@pytest.mark.parametrize("machine", [SMALL, TINY, LAPTOP, RTX_3060])
@pytest.mark.parametrize("context", [2048, 8192, 65_536, 131_072])
def test_every_cure_cures(machine: Machine, context: int) -> None:
    wish = Wish(context)
    for one in FAMILY.variants():
        if one.spec.format != "ggufv2":
            continue
        option = judge(one, "llama.cpp", machine, wish)
        if option.verdict != "no" or " fits" not in (option.reason or "") or "under" in (option.reason or ""):
            continue
        kind, what = cure_of(option.reason or "")
        if kind == "context":
            again = judge(one, "llama.cpp", machine, Wish(int(what)))
        elif kind == "cache":
            again = judge(one, "llama.cpp", machine, Wish(context, what))
        else:
            again = judge(Variant(one.family, one.spec, what), "llama.cpp", machine, wish)
        assert again.verdict != "no", option.reason


@pytest.mark.parametrize("engine", ["llama.cpp", "Transformers", "vLLM", "MLX"])
def test_a_smaller_quantization_is_named_with_the_bytes_of_its_own_row(engine: str) -> None:
    catalog = {family.name: family for family in load_catalog().families}
    variants = [one for name in ("deepseek", "qwen2.5-instruct") for one in catalog[name].variants()]
    named = 0
    for machine in (TWO_3090, RTX_3060, LAPTOP, mac(48)):
        judged = [
            judge(one, engine, machine) for one in variants if engine in candidate_engines(one.spec, one.quantization)
        ]
        for option in judged:
            match = re.search(r"(\S+) \((\S+ \wiB)\) fits", option.reason or "")
            if match is None:
                continue
            spec = option.variant.spec
            rows = {
                amount(other.memory.total_bytes)
                for other in judged
                if other.verdict != "no"
                and other.variant.family is option.variant.family
                and other.variant.quantization == match[1]
                and (other.variant.spec.size_in_billions, other.variant.spec.format)
                == (spec.size_in_billions, spec.format)
            }
            assert match[2] in rows, option.reason
            named += 1
    assert named


def test_the_longest_context_keeps_the_verdict_and_one_step_more_does_not() -> None:
    for machine in (RTX_4090, RTX_3060, LAPTOP):
        option = judge(variant("ggufv2", 8, "Q8_0"), "llama.cpp", machine, Wish(4096))
        assert option.max_context is not None
        assert judge(option.variant, "llama.cpp", machine, Wish(option.max_context)).verdict == option.verdict
        if option.max_context < 131_072:
            longer = judge(option.variant, "llama.cpp", machine, Wish(option.max_context + 256))
            assert longer.verdict != option.verdict


def test_a_quantized_cache_reaches_further() -> None:
    plain = judge(variant("ggufv2", 8, "Q8_0"), "llama.cpp", RTX_3060, Wish(4096))
    packed = judge(variant("ggufv2", 8, "Q8_0"), "llama.cpp", RTX_3060, Wish(4096, "q8_0"))
    assert plain.max_context is not None
    assert packed.max_context is not None
    assert packed.max_context > 1.5 * plain.max_context


def test_unsupported_engines_say_why() -> None:
    option = judge(variant("pytorch", 8, "none"), "vLLM", mac(64))
    assert option.engine_status == "unsupported"
    assert option.verdict == "no"
    assert "Linux" in (option.reason or "")


def test_the_status_of_this_machine_says_nothing_of_another() -> None:
    here = EngineStatus("unsupported", "vLLM needs Linux and CUDA; this is macOS")
    other = replace(EIGHT_H100, label="8x H100")
    assert judge(variant("pytorch", 8, "none"), "vLLM", other, status=here).engine_status == "not-installed"
    assert judge(variant("pytorch", 8, "none"), "vLLM", EIGHT_H100, status=here).engine_status == "unsupported"


def test_what_is_not_installed_is_the_reason_and_comes_with_its_line() -> None:
    lack = Lack("pytorch", ("4-bit",), "Transformers needs bitsandbytes for pytorch", "pip install bitsandbytes")
    status = EngineStatus("ready", version="5.0", lacking=(lack,))
    runs = judge(variant("pytorch", 8, "4-bit"), "Transformers", RTX_4090, status=status)
    assert (runs.verdict, runs.engine_status) == ("gpu", "not-installed")
    assert (runs.reason, runs.install_line) == (lack.reason, lack.install_line)
    told = option_to_json(runs)
    assert (told["reason"], told["install_line"]) == (lack.reason, lack.install_line)
    # What does not fit would not run with it either: there the bytes are the reason.
    too_large = judge(variant("pytorch", 8, "4-bit"), "Transformers", TINY, status=status)
    assert too_large.verdict == "no"
    assert too_large.lack == lack.reason
    assert "short" in (too_large.reason or "")
    assert lack.reason not in (too_large.reason or "")
    ready = judge(variant("pytorch", 8, "none"), "Transformers", RTX_4090, status=status)
    assert (ready.reason, ready.lack, ready.install_line) == (None, None, None)


def test_an_engine_that_cannot_be_here_is_not_installed_for_another_machine() -> None:
    here = EngineStatus("unsupported", "vLLM needs CUDA; this machine has no NVIDIA driver")
    other = judge(variant("pytorch", 8, "none"), "vLLM", replace(RTX_4090, label="RTX 4090"), status=here)
    assert (other.verdict, other.engine_status) == ("gpu", "not-installed")
    assert other.reason == "vLLM is not installed here"
    assert other.install_line is None


def test_a_card_that_an_engine_does_not_use_is_the_reason_for_the_cpu() -> None:
    option = judge(variant("mlx", 8, "4-bit"), "MLX", RTX_4090, status=READY["MLX"])
    assert option.verdict == "cpu"
    assert option.reason == "MLX does not use the RTX 4090"


def test_a_split_over_cards_that_hold_the_sum_says_that_layers_do_not_divide() -> None:
    cards = preset("2x RTX 3090")
    found = [
        judge(one, "llama.cpp", cards)
        for family in load_catalog().families
        for one in family.variants()
        if one.spec.format == "ggufv2" and 60 < one.spec.size_in_billions < 130
    ]
    split = [one for one in found if one.verdict == "split"]
    assert len(split) > 20
    assert all(one.reason for one in split)
    assert any("do not divide into what the 2 x RTX 3090 have each" in (one.reason or "") for one in split)
    assert any(re.search(r"too large for the 2 x RTX 3090 alone", one.reason or "") for one in split)


def test_a_shortage_is_said_in_whole_english() -> None:
    one = judge(variant("ggufv2", 70, "Q8_0"), "llama.cpp", RTX_3060, Wish(1 << 30))
    assert re.match(r"needs \d+\.\d TiB and (RAM|the RTX 3060( with RAM)?) has [\d.]+ GiB to give: ", one.reason or "")


def test_the_ready_engine_stands_before_the_better_one() -> None:
    statuses = {"Transformers": READY["Transformers"], "vLLM": EngineStatus("not-installed")}
    found = options([variant("pytorch", 8, "none")], RTX_4090, statuses=statuses)
    assert {option.engine for option in found} >= {"Transformers", "vLLM"}
    assert best_option(found).engine == "Transformers"


def test_a_build_without_cuda_is_told_beside_what_the_card_could_do() -> None:
    build = EngineStatus("ready", "this build has no CUDA: models run on the CPU", accelerators=())
    option = judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", RTX_4090, status=build)
    assert option.verdict == "gpu"
    assert option.reason == "this build has no CUDA: models run on the CPU"
    statuses = {"llama.cpp": build}
    assert quick_verdicts([variant("ggufv2", 8, "Q4_K_M")], RTX_4090, None, statuses) == ["gpu"]


def test_a_load_with_a_build_without_cuda_is_judged_on_the_cpu() -> None:
    build = EngineStatus("ready", "this build has no CUDA: models run on the CPU", accelerators=())
    option = judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", RTX_4090, status=build, as_built=True)
    assert option.verdict == "cpu"
    assert option.reason == "this build has no CUDA: models run on the CPU"
    other = replace(RTX_4090, label="a preset")
    assert judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", other, status=build).verdict == "gpu"


def test_a_measured_speed_stands_above_a_prediction() -> None:
    one = variant("ggufv2", 8, "Q4_K_M")
    found = options([one], RTX_4090, speeds={(one.key, "llama.cpp"): Speed(77.0, "measured")})
    assert next(option for option in found if option.engine == "llama.cpp").tokens_per_second == Speed(77.0, "measured")


def test_a_header_makes_the_estimate_exact() -> None:
    one = variant("ggufv2", 13, "Q4_K_M")
    assert judge(one, "llama.cpp", RTX_4090).memory.basis == "size"
    assert one.spec.architecture is None
    known = Knowledge(
        weights_bytes=8_000_000_000,
        file_bytes=8_010_000_000,
        architecture=variant("ggufv2", 8, "F16").spec.architecture,
    )
    option = judge(one, "llama.cpp", RTX_4090, knowledge=known)
    assert option.memory.basis == "file"
    assert option.memory.weights_bytes == 8_000_000_000
    assert option.download_bytes == 8_010_000_000


def test_an_uploaders_own_mix_says_about() -> None:
    assert judge(variant("ggufv2", 13, "UD-Q4_K_XL"), "llama.cpp", RTX_4090).about
    assert not judge(variant("ggufv2", 13, "Q4_K_M"), "llama.cpp", RTX_4090).about


def test_measured_loads_correct_the_estimate_and_say_so() -> None:
    one = variant("ggufv2", 8, "Q4_K_M")
    plain = judge(one, "llama.cpp", RTX_4090)
    total = plain.memory.total_bytes
    option = judge(one, "llama.cpp", RTX_4090, correction=Correction(((total, total + GIB),) * 7))
    assert option.memory.basis == "measured"
    assert option.memory.total_bytes == total + GIB
    assert re.search(r"predicted [\d.]+ GiB, from 7 loads here", option.reason or "")


def test_what_a_small_load_took_beside_its_weights_is_no_share_of_a_large_one() -> None:
    small = Correction(((300_000_000, 360_000_000),))
    large = judge(variant("ggufv2", 70, "Q4_K_M"), "llama.cpp", EIGHT_H100)
    corrected = judge(variant("ggufv2", 70, "Q4_K_M"), "llama.cpp", EIGHT_H100, correction=small)
    assert corrected.memory.total_bytes - large.memory.total_bytes == 2 * 60_000_000
    assert small.extra_bytes(300_000_000) == 60_000_000
    assert small.extra_bytes(30_000_000) == 12_000_000


def test_a_load_that_took_less_than_its_tensors_does_not_shrink_them() -> None:
    one = variant("ggufv2", 8, "Q4_K_M")
    option = judge(one, "llama.cpp", RTX_4090, correction=Correction(((6 * GIB, 3 * GIB),)))
    memory = option.memory
    assert memory.overhead_bytes == 0
    assert memory.total_bytes == memory.weights_bytes + memory.kv_cache_bytes + memory.compute_bytes


def test_a_guess_from_the_parameter_count_stays_one_after_loads() -> None:
    option = judge(variant("ggufv2", 13, "Q4_K_M"), "llama.cpp", RTX_4090, correction=Correction(((6 * GIB, 7 * GIB),)))
    assert option.memory.basis == "size"


def test_a_context_beyond_the_training_is_said() -> None:
    option = judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", RTX_4090, Wish(140_000))
    assert "was trained for 131,072 tokens only" in (option.reason or "")


def test_nothing_known_still_gives_an_estimate_of_its_size() -> None:
    option = judge(variant("ggufv2", 13, "Q4_K_M"), "llama.cpp", RTX_4090)
    assert option.memory.basis == "size"
    assert 7 * 10**9 < option.memory.weights_bytes < 9 * 10**9
    assert option.memory.kv_cache_bytes


def test_json_has_the_contracts_keys() -> None:
    document = option_to_json(judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", RTX_4090))
    assert json.loads(json.dumps(document)) == document
    assert {
        "name", "size_in_billions", "format", "quantization", "model_id", "hubs", "engine", "engine_status", "reason",
        "verdict", "context", "max_context", "gpu_layers", "download_bytes", "tokens_per_second", "memory",
    } <= set(document)  # fmt: skip
    memory = document["memory"]
    parts = ("weights_bytes", "kv_cache_bytes", "compute_bytes", "overhead_bytes")
    assert memory["total_bytes"] == sum(memory[part] for part in parts)


def test_absurd_machines_are_judged_too() -> None:
    nothing = replace(LAPTOP, memory=replace(LAPTOP.memory, total_bytes=None, available_bytes=None))
    assert judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", nothing).verdict == "no"
    upside_down = linux(8, card("RTX", 1, free=500))
    assert judge(variant("ggufv2", 8, "Q4_K_M"), "llama.cpp", upside_down).verdict != "gpu"


machines_of_all_kinds = st.one_of(
    st.sampled_from([RTX_4090, RTX_3060, UNLIKE, TWO_3090, EIGHT_H100, LAPTOP, SMALL, TINY, mac(16), mac(64)]),
    st.builds(
        lambda ram, sizes: linux(ram, *(card(f"RTX {i}", gib, index=i) for i, gib in enumerate(sizes))),
        st.floats(0.5, 256),
        st.lists(st.floats(0.5, 96), max_size=4),
    ),
)


@settings(max_examples=100, deadline=None)
@given(
    machines_of_all_kinds,
    st.sampled_from([None, 1, 300, 4096, 32_768, 131_072, 1_000_000]),
    st.sampled_from(["f16", "q8_0", "q4_0"]),
    st.sampled_from([{}, READY, {"llama.cpp": READY["llama.cpp"]}]),
    st.sampled_from([{}, {("llama.cpp", "ggufv2"): Correction(((5 * GIB, 7 * GIB),) * 3)}]),
)
@example(linux(17.0, card("RTX 0", 2), card("RTX 1", 2, index=1)), None, "f16", {}, {})
def test_quick_verdicts_agree_with_judge(
    machine: Machine,
    context: int | None,
    cache_type: str,
    statuses: dict[str, EngineStatus],
    corrections: dict[tuple[str, str], Correction],
) -> None:
    variants = list(FAMILY.variants())
    wish = Wish(context, cache_type)
    quick = quick_verdicts(variants, machine, wish, statuses, corrections)
    slow = [
        best_option(options([one], machine, wish, statuses=statuses, corrections=corrections)).verdict
        for one in variants
    ]
    assert quick == slow


@settings(max_examples=40, deadline=None)
@given(machines_of_all_kinds, st.integers(1, 200_000))
def test_more_memory_is_never_worse(machine: Machine, context: int) -> None:
    more = replace(
        machine,
        memory=replace(machine.memory, total_bytes=512 * GIB, available_bytes=500 * GIB),
    )
    rank = ("gpu", "split", "cpu", "no")
    for one in (variant("ggufv2", 8, "Q4_K_M"), variant("ggufv2", 70, "Q4_K_M")):
        before = judge(one, "llama.cpp", machine, Wish(context)).verdict
        after = judge(one, "llama.cpp", more, Wish(context)).verdict
        assert rank.index(after) <= rank.index(before)


def test_a_refusal_says_who_runs_it_here_instead() -> None:
    option = judge(variant("ggufv2", 8, "Q4_K_M"), "vLLM", LAPTOP)
    assert option.engine_status == "unsupported"
    assert option.reason is not None
    assert option.reason.endswith("; llama.cpp runs it here")


def test_what_nothing_of_the_family_cures_names_the_smallest_machine_that_runs_it() -> None:
    spec = ModelSpec("pytorch", 405, ("none",))
    giant = Variant(ModelFamily("giant", 8192, ("en",), ("chat",), (spec,)), spec, "none")
    reason = judge(giant, "Transformers", RTX_4090).reason
    assert reason is not None
    assert "short; a machine such as " in reason
    named = reason.rpartition("a machine such as ")[2].removesuffix(" runs it")
    assert judge(giant, "Transformers", preset(named)).verdict == "gpu"


@pytest.mark.parametrize("name", ["RTX 4090", "2x RTX 3090", "8x H100"])
def test_a_no_names_the_sum_that_its_memory_gives(name: str) -> None:
    # Nearest to one card, to several, to RAM, or to all of them: one number in the sentence and beside it.
    machine = preset(name)
    asked = 0
    for family in load_catalog().families:
        for one in tuple(family.variants())[:6]:
            for engine in (LLAMA_CPP,) if one.spec.format == "ggufv2" else (TRANSFORMERS, VLLM):
                option = judge(one, engine, machine, Wish(131_072))
                if option.reason and option.reason.startswith("needs ") and " to give: " in option.reason:
                    asked += 1
                    assert option.reason.startswith(f"needs {amount(option.memory.total_bytes)} and "), option.reason
    assert asked > 25
