"""`make demo`, as a script: the journey by command on real weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).with_name("demo.py")


@pytest.mark.weights
@pytest.mark.xdist_group("weights")
def test_the_demo_downloads_real_weights_and_they_answer(tmp_path: Path) -> None:
    environment_folder = tmp_path / "temporary"
    environment_folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(DEMO), "script"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=os.environ | {"TMPDIR": str(environment_folder)},
    )
    assert done.returncode == 0, done.stderr
    assert "253 MB whole, 253 MB transferred" in done.stderr
    path, answer = done.stdout.partition("/snapshots/")[2].split("\n", 1)
    assert path.endswith("gemma-3-270m-Q4_K_M.gguf")
    assert len(answer.split()) > 5
    assert not list(environment_folder.iterdir())
