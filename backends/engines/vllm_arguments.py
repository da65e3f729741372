"""What vLLM is told: its environment before the import, its arguments for a load, its parameters for an answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backends.engines.engine import LoadOptions, Sampling, Weights
from backends.engines.sampling import seed_bits
from backends.engines.threads import compute_threads
from backends.errors import BadWeights, EngineError

ENVIRONMENT: Final[dict[str, str]] = {
    # The engine's core in this process and on the model's thread: nothing is forked.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Its own handler prints on standard output, which belongs to the answer.
    "VLLM_CONFIGURE_LOGGING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # Else it binds this whole process to some cores and its memory to one node.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Workers of tensor parallelism: a forked one would inherit the locks of every thread that runs here.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}
"""HF_HUB_OFFLINE is left alone: it would put modeldeck's own downloads off line too, and a local folder asks no hub."""
CPU_ENVIRONMENT: Final[dict[str, str]] = {
    # The first answer with a temperature compiled the sampler for 13 to 32 s, and eager it takes a millisecond.
    "TORCH_COMPILE_DISABLE": "1",
    "TORCHDYNAMO_DISABLE": "1",
}

GIB: Final = 1 << 30
MIB: Final = 1 << 20
CPU_BLOCK_TOKENS: Final = 32
"""Tokens of one block of the KV cache on the CPU, which is also what a cached prefix is counted in. The build's kernels
want a multiple of 32; its own 128 would compute up to 127 tokens of a second turn again."""
CPU_CACHE_BYTES: Final = 256 * MIB
"""The least that the KV cache gets on the CPU, so that a few conversations keep their prefixes."""
CPU_PREFILL_TOKENS: Final = 256
"""Prompt tokens of one step, which cannot be interrupted: a quarter of a second at 1,050 tokens a second."""
GPU_PREFILL_TOKENS: Final = 2048
GPU_SHARE: Final = 0.9
"""vLLM's own gpu_memory_utilization."""
MOST_LOGPROBS: Final = 100
CACHE_TYPES: Final[Mapping[str, str]] = {"f16": "auto", "bf16": "bfloat16", "q8_0": "fp8"}
"""vLLM's name for a KV cache type of ours: "auto" is the weights' own 16 bits, and its 8 bits are fp8."""


def prepare_environment(options: LoadOptions, *, cpu: bool) -> None:
    """Set what vLLM and torch read while they are imported; what the user has set himself stands."""
    for name, value in (ENVIRONMENT | CPU_ENVIRONMENT if cpu else ENVIRONMENT).items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("OMP_NUM_THREADS", str(compute_threads(options.threads)))


def kv_bytes(folder: Path, context: int) -> int | None:
    """Bytes of KV cache that vLLM must find room for to take one conversation of this length; None: not known.

    Every layer is counted at the whole context, in 16 bits and whole blocks, as vLLM's own check does for full
    attention; sliding windows need less.
    """
    from backends.memory import hf_config
    from backends.memory.kv_cache import cell_bytes, kv_cache

    try:
        architecture = hf_config.read_config((folder / "config.json").read_bytes()).architecture
        cache = kv_cache(architecture)
    except (OSError, ValueError, BadWeights):
        return None
    if cache is None:
        return None
    blocks = -(-context // CPU_BLOCK_TOKENS) + 1
    cells = blocks * CPU_BLOCK_TOKENS
    return sum(int(cells * cell_bytes(layer, 2.0)) + 4 * layer.state_elements for layer in cache.layers)


def engine_arguments(
    weights: Weights, options: LoadOptions, *, context: int, cpu: bool, known: frozenset[str]
) -> dict[str, Any]:
    """EngineArgs for one model and one conversation at a time.

    Args:
        context: Tokens that a conversation may hold, not more than the model was trained for.
        cpu: Whether the installed vLLM is the CPU build.
        known: Names that the installed EngineArgs has: further arguments are left out.

    Raises:
        EngineError: vLLM cannot do what the options ask for.
    """
    if options.kv_cache_type not in CACHE_TYPES or (cpu and options.kv_cache_type == "q8_0"):
        offered = "f16" if cpu else ", ".join(CACHE_TYPES)
        raise EngineError(f"vLLM has no KV cache of type {options.kv_cache_type!r} here; it has {offered}")
    cards = options.tensor_parallel * options.pipeline_parallel
    if cpu and options.ray_address is not None:
        raise EngineError("vLLM's CPU build refuses Ray; a cluster needs its CUDA build on every machine")
    arguments: dict[str, Any] = {
        "model": str(weights.path),
        "served_model_name": weights.name,
        "load_format": _load_format(weights),
        "trust_remote_code": options.trust_remote_code,
        "dtype": "bfloat16" if cpu else "auto",
        "max_model_len": context,
        "max_num_seqs": 1,
        "max_num_batched_tokens": CPU_PREFILL_TOKENS if cpu else GPU_PREFILL_TOKENS,
        "enable_chunked_prefill": True,
        "enable_prefix_caching": True,
        "max_logprobs": MOST_LOGPROBS,
        "kv_cache_dtype": CACHE_TYPES[options.kv_cache_type],
        "gpu_memory_utilization": options.memory_share or GPU_SHARE,
        "tensor_parallel_size": options.tensor_parallel,
        "pipeline_parallel_size": options.pipeline_parallel,
        "disable_log_stats": True,
        "seed": 0,
    }
    if options.ray_address is not None:
        arguments["distributed_executor_backend"] = "ray"
    elif cards > 1:
        arguments["distributed_executor_backend"] = "mp"
    optional: dict[str, Any] = {
        "use_tqdm_on_load": False,
        # One step ahead of itself it would compute a token after a stop, and hold it back before.
        "async_scheduling": False,
        # Pictures are not sent by this contract, and their encoder's profile run takes memory and time.
        "limit_mm_per_prompt": {"image": 0, "video": 0, "audio": 0},
    }
    if cpu:
        arguments["enforce_eager"] = True
        arguments["block_size"] = CPU_BLOCK_TOKENS
        needed = max(CPU_CACHE_BYTES, kv_bytes(weights.path, context) or CPU_CACHE_BYTES)
        if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
            optional["kv_cache_memory_bytes"] = needed
    elif options.device and ":" in options.device:
        optional["device_ids"] = [int(options.device.rpartition(":")[2])]
    taken = {name: value for name, value in optional.items() if name in known}
    if cpu and "kv_cache_memory_bytes" in optional and "kv_cache_memory_bytes" not in taken:
        # Older builds know the variable alone: whole GiB, and not fewer than one.
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, -(-needed // GIB)))
    if "device_ids" in optional and "device_ids" not in taken:
        raise EngineError("this vLLM cannot be told which card to use; set CUDA_VISIBLE_DEVICES before starting")
    return arguments | taken


def _load_format(weights: Weights) -> str:
    """Never a pickled file: "auto" would fall back to those."""
    if weights.path.is_file():
        return "gguf"
    return "bitsandbytes" if weights.format == "bnb" else "safetensors"


def sampling_parameters(sampling: Sampling, limit: int, end_tokens: frozenset[int]) -> dict[str, Any]:
    """SamplingParams but output_kind; token numbers come back as they are and ours makes them text.

    Args:
        sampling: Within bounds.
        limit: Tokens that the answer may have.
        end_tokens: Tokens that end it.
    """
    return {
        "max_tokens": limit,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        # vLLM asks for 64 bits with a sign.
        "seed": seed_bits(sampling, 63),
        "stop_token_ids": sorted(end_tokens),
        "logprobs": min(sampling.logprobs, MOST_LOGPROBS) or None,
        "detokenize": False,
        # A prefix from the cache was computed in other batches and differs in its last bits.
        "skip_reading_prefix_cache": True if sampling.seed is not None else None,
    }
