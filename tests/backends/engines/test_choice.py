"""The order in which engines are offered, and the line that says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.engines.choice import choices
from backends.engines.engine import EngineStatus
from backends.fit import Option, Speed
from backends.judge import best_option
from backends.memory.estimate import MemoryEstimate
from specs.model import ModelFamily, ModelSpec, Variant

SPEC = ModelSpec("pytorch", 8, ("none",))
VARIANT = Variant(ModelFamily("m", 8192, ("en",), ("chat",), (SPEC,)), SPEC, "none")
BASE = Option(
    VARIANT, "Transformers", "ready", "cpu", None, "CPU", 8192, None, None, None, None, None,
    MemoryEstimate(1, 1, 1, 1, "size"), None,
)  # fmt: skip
LINE = "uv tool install 'modeldeck[vllm]'"


def option(engine: str, status: str, verdict: str, reason: str | None = None) -> Option:
    return replace(BASE, engine=engine, engine_status=status, verdict=verdict, reason=reason)  # type: ignore[arg-type]


def test_what_runs_now_stands_before_what_would_have_to_be_installed() -> None:
    found = choices(
        [option("vLLM", "not-installed", "gpu"), option("Transformers", "ready", "cpu")],
        {"vLLM": EngineStatus("not-installed", "vLLM is not installed", LINE)},
    )
    assert [one.option.engine for one in found] == ["Transformers", "vLLM"]
    assert found[0].can_run
    assert found[0].why == "is installed and runs it on the CPU"
    assert (found[1].why, found[1].install_line) == ("runs all of it on the GPU once it is installed", LINE)


def test_of_two_that_are_ready_the_one_on_the_gpu_comes_first() -> None:
    found = choices([option("llama.cpp", "ready", "split"), option("vLLM", "ready", "gpu")])
    assert [one.option.engine for one in found] == ["vLLM", "llama.cpp"]


def at(speed: float | None, engine: str) -> Option:
    known = Speed(speed, "predicted") if speed is not None else None
    return replace(option(engine, "ready", "gpu"), tokens_per_second=known)


def test_of_two_in_the_same_place_the_faster_comes_first_and_the_line_says_so() -> None:
    options = [at(21.9, "Transformers"), at(48.6, "vLLM"), at(48.6, "SGLang"), at(None, "another")]
    found = choices(options)
    does = "is installed and runs all of it on the GPU"
    assert [(one.option.engine, one.why) for one in found] == [
        ("vLLM", does),
        ("SGLang", f"{does}; as fast as vLLM"),
        ("Transformers", f"{does}; vLLM is about 2.2 times as fast"),
        ("another", f"{does}; its speed is not known"),
    ]
    assert found[0].option == best_option(options)


def test_a_faster_engine_that_would_have_to_be_installed_waits_behind_a_slower_one() -> None:
    missing = replace(at(48.6, "vLLM"), engine_status="not-installed")
    found = choices([missing, at(21.9, "Transformers")])
    assert [one.option.engine for one in found] == ["Transformers", "vLLM"]
    assert "times as fast" not in found[0].why + found[1].why


def test_an_engine_that_cannot_is_last_with_its_reason() -> None:
    found = choices(
        [
            option("SGLang", "unsupported", "no", "SGLang needs Linux and CUDA; this is macOS"),
            option("MLX", "ready", "gpu"),
        ]
    )
    assert found[-1].why == "SGLang needs Linux and CUDA; this is macOS"
    assert not found[-1].can_run
    assert found[-1].install_line is None


def test_a_build_that_can_less_than_the_machine_says_so() -> None:
    status = EngineStatus("ready", "this build has no CUDA: models run on the CPU")
    found = choices([option("llama.cpp", "ready", "cpu")], {"llama.cpp": status})
    assert found[0].why == "runs it on the CPU; this build has no CUDA: models run on the CPU"


@pytest.mark.parametrize("first", ["cpu", "split", "no"])
def test_the_first_choice_is_the_best_option(first: str) -> None:
    options = [option("a", "ready", first), option("b", "not-installed", "gpu"), option("c", "ready", "split")]
    assert choices(options)[0].option == best_option(options)
