"""`--ray-address`: a model is judged and loaded on the cards of a Ray cluster, by vLLM and nobody else."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from machines import EIGHT_H100

from backends.engines import cluster, registry
from backends.engines.cluster import Node
from backends.engines.engine import EngineStatus
from backends.engines.scripted import ScriptedAdapter
from backends.errors import EngineError
from backends.machine import detect
from tui.cli import main

ROW = ("--size-in-billions", "405", "--model-format", "pytorch", "--quantization", "none")
LAUNCH = ("launch", "--model-name", "llama-3.1-instruct", *ROW)
ADDRESS = ("--ray-address", "box:6379")
READY = {"vLLM": EngineStatus("ready"), "Transformers": EngineStatus("ready")}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Eight H100 here, two such machines in the cluster; the addresses that it was asked for at."""
    addresses: list[str] = []

    def cards(address: str) -> tuple[Node, ...]:
        addresses.append(address)
        return tuple(Node(f"10.0.0.{number}", 8, 80 * 10**9) for number in range(2))

    monkeypatch.setattr(cluster, "cluster_cards", cards)
    monkeypatch.setattr(detect, "detect", lambda **_: EIGHT_H100)
    monkeypatch.setattr(registry, "statuses", lambda: READY)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return addresses


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the app was opened with; somebody sits at a terminal."""
    import tui.start

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    told: dict[str, Any] = {}
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("tui.cli.launch._talks_plainly", lambda arguments: False)
    monkeypatch.setattr(tui.start, "run_app", lambda **arguments: told.update(arguments) or 0)
    return told


def test_what_one_machine_does_not_hold_names_the_flag_and_the_setting(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([*LAUNCH, "--model-engine", "vLLM", "--prompt", "Why?"]) == 3
    said = capsys.readouterr().err
    assert "or a Ray cluster under vLLM, 812 GB at 16 bits: 16 cards of 80 GB, two machines of eight" in said
    assert ": --ray-address HOST:PORT names it, in the app ray_address of config.toml" in said
    assert len(said.splitlines()) == 1
    assert not asked


def test_fit_judges_vllm_on_the_cluster(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["fit", "llama-3.1-instruct", *ROW, *ADDRESS, "--json"]) == 0
    found = {one["engine"]: one for one in json.loads(capsys.readouterr().out)["options"]}
    assert asked == ["box:6379"]
    assert (found["vLLM"]["verdict"], found["Transformers"]["verdict"]) == ("gpu", "no")


def test_without_a_prompt_the_app_opens_on_the_model_on_the_cluster(asked: list[str], opened: dict[str, Any]) -> None:
    assert main.run([*LAUNCH, *ADDRESS]) == 0
    option = opened["launch"]
    assert asked == ["box:6379"]
    assert (option.engine, option.ray_address, option.tensor_parallel, option.pipeline_parallel) == (
        "vLLM", "box:6379", 8, 2,
    )  # fmt: skip


def test_with_a_prompt_the_engine_is_told_how_the_cluster_is_laid_out(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    adapter = ScriptedAdapter("Because.")
    monkeypatch.setattr(registry, "adapter", lambda name: adapter)
    monkeypatch.setattr("tui.cli.launch.weights_here", lambda *_, **__: tmp_path)
    assert main.run([*LAUNCH, *ADDRESS, "--prompt", "Why?"]) == 0
    assert capfd.readouterr().out == "Because.\n"
    ((_, options),) = adapter.asked
    assert (options.ray_address, options.tensor_parallel, options.pipeline_parallel) == ("box:6379", 8, 2)


@pytest.mark.parametrize(
    "command",
    [
        (*LAUNCH, "--model-engine", "Transformers", "--prompt", "Why?"),
        (*LAUNCH, "--url", "http://box:8000/v1", "--prompt", "Why?"),
        ("fit", "llama-3.1-instruct", "--model-engine", "SGLang"),
    ],
)
def test_a_cluster_for_another_engine_is_wrong_usage(
    asked: list[str], command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([*command, *ADDRESS]) == 2
    assert "only vLLM takes a cluster" in capsys.readouterr().err
    assert not asked


def test_where_vllm_is_not_installed_that_is_said_and_no_cluster_is_asked(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = EngineStatus("not-installed", "vLLM is not installed", "uv tool install 'modeldeck[vllm]'")
    monkeypatch.setattr(registry, "statuses", lambda: READY | {"vLLM": missing})
    assert main.run([*LAUNCH, *ADDRESS, "--prompt", "Why?"]) == 1
    assert "vLLM is not installed; install it with: uv tool install 'modeldeck[vllm]'" in capsys.readouterr().err
    assert not asked


def test_a_cluster_that_does_not_answer_is_one_line(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cards(address: str) -> tuple[Node, ...]:
        raise EngineError(f"no Ray cluster answers at {address}", "Connection refused")

    monkeypatch.setattr(cluster, "cluster_cards", cards)
    for command in ((*LAUNCH, "--prompt", "Why?"), ("fit", "llama-3.1-instruct", *ROW)):
        assert main.run([*command, *ADDRESS]) == 1
        said = capsys.readouterr().err
        assert said.endswith(": no Ray cluster answers at box:6379: Connection refused\n")
        assert len(said.splitlines()) == 1
