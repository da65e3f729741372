"""Why a load or an answer failed, by the library's own line: damaged weights, too little memory, or neither."""

from __future__ import annotations

import re
from typing import Final

from backends.engines.engine import Weights
from backends.errors import DamagedWeights, EngineError, OutOfMemory

DAMAGED: Final = re.compile(
    r"""
    not\ within\ the\ file\ bounds | corrupted\ or\ incomplete | invalid\ magic | bad\ magic
    | failed\ to\ read\ (key|tensor|header|magic)
    | (deserializing|deserialize|invalid|incomplete)\ (\w+\ )?(header|metadata) | HeaderTooLarge | HeaderTooSmall
    | InvalidHeader | MetadataIncompleteBuffer | not\ fully\ covered | unexpected\ end\ of | unexpected\ EOF
    | \[load_safetensors\] | checksum | index-sized\ integer | file\ is\ truncated | gguf_init_from_\w+
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Of ggml's GGUF reader, the safetensors crate (SafetensorError), MLX, PyTorch and vLLM's own reading of a header."""
NO_MEMORY: Final = re.compile(
    r"""
    out\ of\ memory | OutOfMemory | bad_alloc | MemoryError
    | (failed|unable|not\ able|could\ not|cannot)\ (to\ )?(allocate|map\ memory)
    | cannot\ allocate\ memory | can't\ allocate\ memory | alloc\w*\ failed | cudaMalloc\ failed | \[malloc\]
    | insufficient\ memory | not\ enough\ memory | no\ available\ memory | mem-?fraction-?static
    | larger\ than\ the\ (maximum\ number\ of\ tokens|available\ KV\ cache) | KV\ cache\ is\ needed
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Of ggml, PyTorch (on the CPU too), MLX, vLLM's and SGLang's checks of the KV cache, C++ and the system."""


OWN_CODE: Final = re.compile(r"trust_remote_code|custom code|remote code", re.IGNORECASE)
"""Of transformers, vLLM and mlx-lm where a repository brings Python code of its own."""


def failure(what: str, weights: Weights, line: str | None) -> EngineError:
    """The error to raise.

    Args:
        what: What was tried, as "llama.cpp cannot load m"; the library's line follows it.
        line: The library's own inner line; None: it said nothing.
    """
    if line is not None and NO_MEMORY.search(line):
        return OutOfMemory(what, line)
    if line is not None and OWN_CODE.search(line):
        name = "/".join((weights.key or "").split("/")[4:]) or "OWNER/NAME"
        error = EngineError(what, "its repository brings Python code of its own, which is not run unasked")
        error.args = (f"{error}; modeldeck launch --trust-remote-code {name} --prompt … runs it, this once",)
        return error
    if line is not None and DAMAGED.search(line):
        damaged = DamagedWeights(what, line)
        name = weights.key or str(weights.path)
        damaged.args = (f"{damaged}; its files can be checked with: modeldeck library verify '{name}'",)
        return damaged
    return EngineError(what, line)
