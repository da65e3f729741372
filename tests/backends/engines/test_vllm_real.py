"""What the conformance suite cannot see of vLLM: its processes, its output, its true signatures."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_vllm
import psutil
import pytest

from backends.engines.engine import LoadOptions, Sampling, Turn, Weights
from backends.engines.registry import adapter
from tests.backends.engines import make_weights
from tests.conftest import weights_cache

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm runs these"
)
ROOT = Path(__file__).resolve().parents[3]
RUN = """
import json, sys, threading, time
from pathlib import Path
import psutil
from backends.engines.engine import LoadOptions, Sampling, Turn, Weights
from backends.engines.registry import adapter

if __name__ == "__main__":
    question = [Turn("user", "What is the colour of the sea?")]
    options = LoadOptions(512, tensor_parallel=int(sys.argv[2]))
    engine = adapter("vLLM").load(Weights(Path(sys.argv[1]), "tiny", "pytorch", "none"), options)
    children = len(psutil.Process().children(recursive=True))
    chunks = list(engine.stream(question, Sampling(max_tokens=8, temperature=0)))
    sampled = list(engine.stream(question, Sampling(max_tokens=8, temperature=1.0)))
    loaded = psutil.Process().memory_info().rss
    engine.close()
    Path(sys.argv[3]).write_text(json.dumps({
        "text": "".join(chunk.text for chunk in chunks),
        "tokens": chunks[-1].stats.decoded_tokens,
        "sampled": sampled[-1].stats.decoded_tokens,
        "children": children,
        "left": len(psutil.Process().children(recursive=True)),
        "where": engine.where,
        "loaded_bytes": loaded,
    }))
"""


def run(
    folder: Path, tmp_path: Path, *, tensor_parallel: int
) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """Load, answer twice and close in a process of its own."""
    script = tmp_path / "run.py"
    script.write_text(RUN)
    told = tmp_path / "told.json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VLLM_CACHE_ROOT": str(weights_cache() / "vllm")}
    ended = subprocess.run(
        [sys.executable, str(script), str(folder), str(tensor_parallel), str(told)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(told.read_text()), ended


def test_it_runs_in_one_process_and_prints_nothing_on_standard_output(tmp_path: Path) -> None:
    told, ended = run(make_weights.tiny_folder(weights_cache()), tmp_path, tensor_parallel=1)
    assert told["text"].strip()
    assert (told["tokens"], told["children"], told["where"]) == (8, 0, "CPU")
    assert ended.stdout == ""


def test_in_a_child_process_it_answers_and_leaves_nothing_here() -> None:
    folder = make_weights.tiny_folder(weights_cache())
    engine = adapter("vLLM", isolated=True).load(Weights(folder, "tiny", "pytorch", "none"), LoadOptions(512))
    chunks = list(
        engine.stream([Turn("user", "What is the colour of the sea?")], Sampling(max_tokens=8, temperature=0))
    )
    child = psutil.Process(engine.process_id)  # type: ignore[attr-defined]
    engine.close()
    assert chunks[-1].stats is not None
    assert chunks[-1].stats.decoded_tokens == sum(chunk.tokens for chunk in chunks) <= 8
    assert engine.where == "CPU"
    assert not child.is_running()


@pytest.mark.slow
def test_tensor_parallel_2_answers_from_workers_that_end_with_it(tmp_path: Path) -> None:
    folder = make_weights.tiny_folder(weights_cache())
    told, ended = run(folder, tmp_path, tensor_parallel=2)
    assert told["text"].strip()
    assert told["tokens"] <= 8
    assert told["children"] >= 2
    assert told["left"] <= 1, "multiprocessing's resource tracker may stay"
    assert ended.stdout == ""


def test_the_stand_in_knows_only_what_vllm_knows() -> None:
    from dataclasses import fields

    from vllm import EngineArgs, LLMEngine, SamplingParams

    assert set(fake_vllm.ENGINE_ARGUMENTS) <= {field.name for field in fields(EngineArgs)}
    assert set(fake_vllm.SAMPLING_PARAMETERS) <= set(SamplingParams.__struct_fields__)
    assert all(callable(getattr(LLMEngine, name)) for name in fake_vllm.ENGINE_METHODS)
