"""Whatever a library has to say, the screen's descriptors stay untouched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from pathlib import Path
from backends.engines.registry import adapter
from backends.engines.engine import LoadOptions, Sampling, Turn, Weights
from backends.errors import EngineError
name, path, format_, quantization, bad = sys.argv[1:]
engine = adapter(name).load(Weights(Path(path), "m", format_, quantization), LoadOptions(context=256))
list(engine.stream([Turn("user", "Hello")], Sampling(max_tokens=4)))
engine.close()
try:
    adapter(name).load(Weights(Path(bad), "m", format_, quantization), LoadOptions(context=256))
except EngineError:
    print("refused", file=sys.stderr)
"""


def test_nothing_is_written_to_descriptors_1_and_2(subject: Any, tmp_path: Any) -> None:
    if not subject.quiet:
        pytest.skip("its libraries print there; the app's log takes it")
    weights = subject.weights
    bad = tmp_path / weights.path.name
    if weights.path.is_dir():
        bad.mkdir()
        (bad / "config.json").write_text("{}")
        (bad / "model.safetensors").write_bytes(b"not safetensors")
    else:
        bad.write_bytes(b"not a model")
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, subject.adapter.name, weights.path, weights.format, weights.quantization, bad],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"refused\n")
