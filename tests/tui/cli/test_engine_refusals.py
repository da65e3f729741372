"""Weights for which an engine lacks a library or the hardware: told in one line, before anything is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backends.engines import installed
from tui.cli import main

SPEC = """
name = "packed"
description = "published quantized"
context_length = 2048
languages = ["en"]
abilities = ["chat"]

[[models]]
size_in_billions = 1
"""


def spec_of(form: str, quantization: str) -> str:
    return f"""
[[models.specs]]
format = "{form}"
quantizations = ["{quantization}"]

[models.specs.hubs.huggingface]
id = "tests/packed-{form}"
"""


KINDS = {"gptq": "Int4", "awq": "Int4", "bnb": "4-bit", "fp8": "fp8"}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "packed.toml"
    path.write_text(SPEC + "".join(spec_of(*kind) for kind in KINDS.items()))
    return path


def launch(packed: Path, form: str) -> int:
    variant = ("--size-in-billions", "1", "--model-format", form, "--quantization", KINDS[form])
    return main.run([
        "launch", "--model-engine", "Transformers", "--model-name", "packed", *variant,
        "--specs", str(packed), "--prompt", "Why?", "--yes",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("form", "absent", "said"),
    [
        ("gptq", {"gptqmodel", "optimum"}, "Transformers needs gptqmodel and optimum for gptq; install it with: "),
        ("awq", {"gptqmodel"}, "Transformers needs gptqmodel for awq; install it with: "),
        ("bnb", {"bitsandbytes"}, "Transformers needs bitsandbytes for bnb; install it with: "),
    ],
)
def test_a_missing_library_is_told_with_its_line_before_the_download(
    hub: Any,
    packed: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    absent: set[str],
    said: str,
) -> None:
    hub.add(f"tests/packed-{form}", {"model.safetensors": b"x" * 100, "config.json": b"{}"})
    monkeypatch.setattr(installed, "is_importable", lambda module: module not in absent)
    assert launch(packed, form) == 1
    written = capfd.readouterr()
    assert written.out == ""
    line = written.err.strip().splitlines()[-1]
    assert said in line
    assert "modeldeck[" in line
    assert not hub.log("resolve"), "no weights were fetched"


def test_fp8_without_a_card_is_refused_with_the_reason(
    hub: Any, packed: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.machine import detect
    from backends.machine.model import Cpu, Machine, Memory

    bare = Machine("linux", "x86_64", Cpu("small", 8, 8), Memory(1 << 36, 1 << 36))
    monkeypatch.setattr(detect, "detect", lambda **_: bare)
    monkeypatch.setattr(installed, "is_importable", lambda module: True)
    hub.add("tests/packed-fp8", {"model.safetensors": b"x" * 100, "config.json": b"{}"})
    assert launch(packed, "fp8") == 1
    assert "Transformers needs a CUDA card for fp8" in capfd.readouterr().err
    assert not hub.log("resolve")


def test_fit_says_not_installed_of_the_formats_that_lack_a_library(
    packed: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "is_importable", lambda module: module not in {"gptqmodel", "optimum"})
    assert main.run(["fit", "packed", "--model-engine", "Transformers", "--specs", str(packed), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    statuses = {one["format"]: one["engine_status"] for one in told["options"]}
    assert (statuses["gptq"], statuses["awq"], statuses["bnb"]) == ("not-installed", "not-installed", "ready")
    missing = {one["format"]: one for one in told["options"] if one["engine_status"] == "not-installed"}
    for form, needed in (("gptq", "gptqmodel and optimum"), ("awq", "gptqmodel")):
        assert f"Transformers needs {needed} for {form}" in missing[form]["reason"]
        assert f"modeldeck[{form}]" in missing[form]["install_line"]
    # The lines for people tell the same, each with its command, and name no row that is ready.
    assert main.run(["fit", "packed", "--model-engine", "Transformers", "--specs", str(packed)]) == 0
    printed = capfd.readouterr()
    rows = {line.split()[1]: line for line in printed.out.splitlines()[1:]}
    assert all(("Transformers*" in line) == (statuses[form] != "ready") for form, line in rows.items())
    assert all(missing[form]["reason"] in rows[form] for form in missing)
    stars = [line for line in printed.err.splitlines() if line.startswith("* ") and " needs " in line]
    lacks = [f"{one['reason'].split(';')[0]}: {one['install_line']}" for one in missing.values()]
    assert sorted(stars) == sorted(f"* {lack}" for lack in lacks)
