"""What a user gets wrong: one clear line, the right exit code, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tui.cli import main

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lst",), "did you mean list?"),
        (("help",), "did you mean --help?"),
        (("run", "gemma"), "did you mean launch?"),
        (("rm", "gemma"), "did you mean library remove?"),
        (("list", "--formatt", "mlx"), "did you mean --format?"),
        (("list", "--format", "gguf"), "did you mean ggufv2?"),
        (("list", "--engine", "ollama"), "the engines are llama.cpp"),
        (("fit", "--context", "many"), "no whole number above 0"),
        (("fit", "--kv-cache-type", "q8"), "did you mean q8_0?"),
        (("download", "x", "--size-in-billions", "big"), "no size in billions"),
        (
            ("download", "x", "--size", "8"),
            "modeldeck download: unrecognized arguments: --size 8; did you mean --size-in",
        ),
        (("launch", "--model-name", "x", "--promt", "hi"), "did you mean --prompt?"),
        (("launch", "--prompt", "hi"), "--model-name"),
        (("launch", "--model-name", "x", "--temperature", "hot"), "no temperature"),
        (("launch", "small", "--model-name", "big"), "two models are named, small and big"),
        (("fit", "--format", "mlx"), "did you mean --model-format?"),
        (("launch", "small", "--engine", "vllm"), "did you mean --model-engine?"),
        (("list", "--columns"), "--columns needs a value: these columns in this order: name, sizes,"),
        (("list", "--sort"), "--sort needs a value: the order: name, size,"),
        (("bench", "small", "--runs"), "--runs needs a value: take the median of so many runs (3)"),
        (("show",), "NAME"),
        (("specs", "check"), "FILE"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_names_what_is_right(
    modeldeck: Any, arguments: tuple[str, ...], said: str
) -> None:
    ran = modeldeck(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert said in ran.err.splitlines()[0]
    assert ran.err.splitlines()[1].endswith("--help shows how")


def test_a_flag_of_another_command_is_not_offered(modeldeck: Any) -> None:
    ran = modeldeck("download", "x", "--yes")
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "modeldeck download: unrecognized arguments: --yes",
        "modeldeck download --help shows how",
    ]


def test_an_unknown_family_names_near_ones(modeldeck: Any) -> None:
    ran = modeldeck("show", "lama-3-instruct")
    assert ran.code == 1
    assert "llama-3-instruct" in ran.error_line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--size-in-billions", "7"), "the sizes 1B, 70B"),
        (("--size-in-billions", "1", "--model-format", "mlx"), "the formats ggufv2, pytorch"),
        (("--size-in-billions", "1", "--model-format", "ggufv2", "--quantization", "Q2_K"), "Q4_K_M, Q8_0"),
    ],
)
def test_an_unknown_variant_says_what_there_is(
    modeldeck: Any, spec_file: Path, flags: tuple[str, ...], said: str
) -> None:
    ran = modeldeck("download", "small-talk", "--specs", spec_file, *flags)
    assert ran.code == 1
    assert said in ran.error_line


def test_the_only_size_that_there_is_is_named_as_one(modeldeck: Any) -> None:
    ran = modeldeck("download", "QwQ-32B", "--size-in-billions", 7, "--model-format", "mlx", "--quantization", "4bit")
    assert "the size 32B" in ran.error_line


def test_a_choice_that_is_left_open_is_named(modeldeck: Any, spec_file: Path) -> None:
    ran = modeldeck("download", "small-talk", "--specs", spec_file, "--size-in-billions", 1, "--model-format", "ggufv2")
    assert ran.code == 2
    assert "add --quantization" in ran.err
    assert "1B ggufv2 Q4_K_M, 1B ggufv2 Q8_0" in ran.err


def test_a_spec_file_that_is_not_there_is_one_line(modeldeck: Any, tmp_path: Path) -> None:
    ran = modeldeck("list", "--specs", tmp_path / "nowhere.toml")
    assert ran.code == 1
    assert "there is no such file" in ran.error_line


def test_a_bad_spec_file_is_a_line_and_the_rest_of_the_catalog_stays(modeldeck: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("name = ")
    ran = modeldeck("list", "llama-3-instruct", "--specs", bad)
    assert ran.code == 0
    assert "llama-3-instruct" in ran.out
    assert any(line.startswith(f"{bad}:") for line in ran.err.splitlines())


@pytest.mark.parametrize("content", ["{", "[]", '{"os": 7}', "\x00"])
def test_a_bad_machine_file_is_one_line(modeldeck: Any, spec_file: Path, tmp_path: Path, content: str) -> None:
    machine = tmp_path / "machine.json"
    machine.write_text(content)
    ran = modeldeck("fit", "small-talk", "--specs", spec_file, "--machine", machine)
    assert ran.code == 1
    assert "machine" in ran.error_line


def test_an_unknown_machine_is_one_line(modeldeck: Any) -> None:
    ran = modeldeck("hardware", "--machine", "abacus")
    assert ran.code == 1
    assert "abacus" in ran.error_line


def test_an_empty_prompt_is_wrong_usage(modeldeck: Any, spec_file: Path) -> None:
    ran = modeldeck("launch", "--model-name", "small-talk", "--specs", spec_file, "--prompt", "-", input=" \n")
    assert ran.code == 2
    assert "the prompt is empty" in ran.err


def test_a_hub_that_is_not_there_is_one_line(modeldeck: Any, spec_file: Path) -> None:
    flags = ("--size-in-billions", 1, "--model-format", "ggufv2", "--quantization", "q4_k_m")
    ran = modeldeck("download", "small-talk", "--specs", spec_file, *flags)
    assert ran.code == 1
    assert "127.0.0.1:9" in ran.error_line


def test_a_reader_that_leaves_is_no_failure() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tui", "list", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("command", ["list", "list qwen", "--version", "--help", "list --help", "hardware --json"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_named(command: str, unbuffered: str) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    line = f"{sys.executable} -m tui {command} >/dev/full"
    ran = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert ran.returncode == 1
    (said,) = ran.stderr.splitlines()
    assert said.endswith("standard output: No space left on device")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_mistake(closed: str) -> None:
    ran = subprocess.run(f"{sys.executable} -m tui list qwen {closed}", shell=True, capture_output=True, cwd=ROOT)
    assert ran.returncode == 0
    assert ran.stderr == b""


def test_a_mistake_of_our_own_is_one_line_and_its_traceback_is_in_the_log(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tui.cli import catalog, main

    def broken(_: object) -> int:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr(catalog, "list_families", broken)
    assert main.run(["list"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: a slip" in line
    assert str(home / "modeldeck.log") in line
    assert "Traceback" in (home / "modeldeck.log").read_text()


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tui.cli import catalog, main

    def interrupted(_: object) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr(catalog, "list_families", interrupted)
    assert main.run(["list"]) == 130
    assert capsys.readouterr().err == "modeldeck list: interrupted\n"


def test_a_refusal_says_what_it_is_where_its_page_is_and_how_to_give_a_token(
    spec_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from backends import downloads
    from backends.errors import AccessDenied

    def refuse(*_: object) -> None:
        raise AccessDenied("the hub refuses tests/small-talk-GGUF (403)", "private", "https://hub.test/page")

    monkeypatch.setattr(downloads, "plan", refuse)
    variant = ("--size-in-billions", "1", "--model-format", "ggufv2", "--quantization", "Q4_K_M")
    assert main.run(["download", "small-talk", *variant, "--specs", str(spec_file)]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "it may be private" in line
    assert "its page is https://hub.test/page" in line
    assert "a token is given by HF_TOKEN or `hf auth login`" in line
