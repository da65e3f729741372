"""What a library says when it fails decides what is offered."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backends.engines.engine import Weights
from backends.engines.failures import failure
from backends.engines.wire import error_from, error_to
from backends.errors import DamagedWeights, EngineCrashed, EngineError, OutOfMemory

WEIGHTS = Weights(Path("/models/m"), "m", "pytorch", "none")


@pytest.mark.parametrize(
    "line",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB",  # torch 2
        "alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory",
        "failed to allocate CPU buffer of size 137438953472",  # ggml-alloc
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
        "[metal::malloc] Attempting to allocate 60 bytes: [malloc] Unable to allocate",  # mlx
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",  # vllm v1/core
        "To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed",
        "Not enough memory. Please try to increase --mem-fraction-static.",  # sglang model_runner
        "std::bad_alloc",
    ],
)
def test_where_memory_ran_out_less_is_offered(line: str) -> None:
    error = failure("vLLM cannot load m", WEIGHTS, line)
    assert isinstance(error, OutOfMemory)
    assert (error.cure, error.detail) == ("smaller", line)
    assert "verify" not in str(error)


@pytest.mark.parametrize(
    "line",
    [
        "tensor 'blk.3.ffn_up.weight' data is not within the file bounds, model is corrupted or incomplete",  # ggml
        "Error while deserializing header: MetadataIncompleteBuffer",  # safetensors
        "Error while deserializing header: incomplete metadata, file not fully covered",
        "Error while deserializing header: header too large",
        "[load_safetensors] Invalid json header length /models/m/model.safetensors",  # mlx
    ],
)
def test_where_the_file_is_damaged_checking_it_is_offered(line: str) -> None:
    error = failure("MLX cannot load m", WEIGHTS, line)
    assert isinstance(error, DamagedWeights)
    assert error.cure == "verify"
    assert str(error) == (
        f"MLX cannot load m: {line}; its files can be checked with: modeldeck library verify '/models/m'"
    )


@pytest.mark.parametrize("line", [None, "unknown model architecture: 'new'", "Model architectures ['X'] not supported"])
def test_for_all_else_nothing_is_promised(line: str | None) -> None:
    error = failure("llama.cpp cannot load m", WEIGHTS, line)
    assert type(error) is EngineError
    assert error.cure is None


@pytest.mark.parametrize("line", ["std::bad_alloc", "Error while deserializing header: HeaderTooLarge"])
def test_the_offer_crosses_the_process_boundary(line: str) -> None:
    error = failure("x", WEIGHTS, line)
    again = error_from(error_to(error))
    assert isinstance(again, type(error))
    assert (str(again), again.detail, again.cure) == (str(error), error.detail, error.cure)
    assert EngineCrashed("ended").cure == "apart"


STARVED = """
import resource, sys
from pathlib import Path
import llama_cpp, numpy
from backends.engines.engine import LoadOptions, Weights
from backends.engines.registry import adapter
from backends.errors import OutOfMemory
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (600 << 20),) * 2)
try:
    options = LoadOptions(32768, kv_cache_type="f32")
    adapter("llama.cpp").load(Weights(Path(sys.argv[1]), "m", "ggufv2", "Q4_K_M"), options)
except OutOfMemory as error:
    print(error.cure, error)
"""


@pytest.mark.weights
@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not hold a process to its address space")
def test_a_context_that_the_memory_does_not_hold_is_told_as_such(gemma_gguf: Path) -> None:
    """In a process that may take 600 MB more: the weights (241 MB, mapped) fit, and its cache does not."""
    pytest.importorskip("llama_cpp")
    ended = subprocess.run(
        [sys.executable, "-c", STARVED, str(gemma_gguf)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode != -signal.SIGSEGV, ended.stderr
    assert ended.stdout.startswith("smaller llama.cpp has no room for 32,768 tokens of context with m"), ended.stderr
