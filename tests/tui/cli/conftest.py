"""modeldeck as a subprocess, on a catalog and a machine of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
GIB = 1 << 30

SPEC = """\
name = "small-talk"
description = "A family of the tests."
context_length = 4096
languages = ["en", "de"]
abilities = ["chat"]

[[models]]
size_in_billions = 1

[models.architecture]
architecture = "llama"
block_count = 16
embedding_length = 2048
feed_forward_length = 8192
head_count = 32
head_count_kv = 8
key_length = 64
value_length = 64
vocab_size = 128256
tied_embeddings = true

[[models.specs]]
format = "ggufv2"
quantizations = ["Q4_K_M", "Q8_0"]

[models.specs.hubs.huggingface]
id = "tests/small-talk-GGUF"
file = "small-talk-{quantization}.gguf"

[[models.specs]]
format = "pytorch"
quantizations = ["none"]

[models.specs.hubs.huggingface]
id = "tests/small-talk"

[[models]]
size_in_billions = 70

[[models.specs]]
format = "ggufv2"
quantizations = ["Q4_K_M"]

[models.specs.hubs.huggingface]
id = "tests/big-talk-GGUF"
file = "big-talk-{quantization}.gguf"
"""


@dataclass(frozen=True)
class Ran:
    """What one call came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error_line(self) -> str:
        """The only line on standard error, with no traceback and nothing on standard output."""
        lines = self.err.splitlines()
        assert "Traceback" not in self.err
        assert self.out == ""
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def modeldeck() -> Callable[..., Ran]:
    """Run `python -m tui` with these arguments; input is standard input's text, the rest goes to the environment."""

    def run(*arguments: object, input: str = "", **environment: str) -> Ran:  # noqa: A002 - subprocess's own word
        done = subprocess.run(
            [sys.executable, "-m", "tui", *map(str, arguments)],
            input=input,
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=ROOT,
            env=os.environ | environment,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def spec_text() -> str:
    """What stands in spec_file."""
    return SPEC


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    """A family of one small chat model in two formats, and a big one."""
    path = tmp_path / "small-talk.toml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def machine_of(tmp_path: Path) -> Callable[..., Path]:
    """Write a machine document of Linux with one CUDA card of so much memory."""

    def write(*, card_bytes: int, memory_bytes: int = 64 * GIB) -> Path:
        card = {
            "index": 0,
            "kind": "cuda",
            "name": "NVIDIA GeForce RTX 4090",
            "uuid": "GPU-1",
            "total_bytes": card_bytes,
            "free_bytes": card_bytes,
            "compute_capability": "8.9",
            "unified": False,
        }
        machine = {
            "os": "linux",
            "arch": "x86_64",
            "cpu": {"name": "a processor", "physical_cores": 8, "logical_cores": 16},
            "memory": {"total_bytes": memory_bytes, "available_bytes": memory_bytes},
            "accelerators": [card],
            "warnings": [],
        }
        path = tmp_path / "machine.json"
        path.write_text(json.dumps(machine))
        return path

    return write


@pytest.fixture
def workstation(machine_of: Callable[..., Path]) -> Path:
    """A machine document: Linux with one card of 24 GiB."""
    return machine_of(card_bytes=24 * GIB)
