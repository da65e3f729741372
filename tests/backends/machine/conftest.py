"""Machines that are not there: programs run under the stand-in drivers, and folders that look like /proc and /sys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import build_fake_nvml
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 60.0
"""A deadline that only a hang reaches, however busy the machine is."""

_ASK = """
import json, sys
from pathlib import Path
from backends.machine.detect import detect
from backends.machine.document import machine_to_json
found = detect(deadline_seconds=float(sys.argv[1]), root=Path(sys.argv[2]))
print(json.dumps(machine_to_json(found)))
"""


@pytest.fixture(scope="session")
def nvml_folder() -> Path:
    """Where the stand-in libnvidia-ml.so.1 is compiled to, once."""
    base = os.environ.get("MODELDECK_TEST_CACHE") or Path.home() / ".cache" / "modeldeck-tests"
    folder = Path(base) / "fake-nvml"
    build_fake_nvml.build(folder)
    return folder


@pytest.fixture
def under_nvml(nvml_folder: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs Python code in a process that finds this scenario's driver; gives what it printed."""

    def run(scenario: str | Path, code: str, *arguments: str, **variables: str) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "HIP_", "ROCR_"))}
        environment |= build_fake_nvml.scenario_env(scenario, nvml_folder) | variables
        environment["PYTHONPATH"] = str(REPOSITORY)
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    return run


@pytest.fixture
def detected(under_nvml: Callable[..., str], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The machine's document as a program under this scenario's driver finds it."""

    def run(scenario: str | Path, *, seconds: float = PATIENCE_SECONDS, **variables: str) -> dict[str, Any]:
        empty = tmp_path / "root"
        empty.mkdir(exist_ok=True)
        document: dict[str, Any] = json.loads(under_nvml(scenario, _ASK, str(seconds), str(empty), **variables))
        return document

    return run


@pytest.fixture
def root(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Makes a folder to stand for /, from paths and texts."""

    def make(files: dict[str, str]) -> Path:
        folder = tmp_path / "slash"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        folder.mkdir(exist_ok=True)
        return folder

    return make
