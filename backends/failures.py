"""What a model's failure is about, so that the user is offered what can help."""

from __future__ import annotations

import re
from typing import Final, Literal

from backends.errors import BackendError, BadWeights, DamagedWeights, EngineCrashed, OutOfMemory

About = Literal["memory", "weights", "other"]

DAMAGED: Final = re.compile(
    r"""
    not\ within\ the\ file\ bounds | corrupted\ or\ incomplete | invalid\ magic | bad\ magic
    | failed\ to\ read\ (key|tensor|header|magic)
    | (deserializing|deserialize|invalid|incomplete)\ (\w+\ )?(header|metadata) | HeaderTooLarge | HeaderTooSmall
    | InvalidHeader | MetadataIncompleteBuffer | not\ fully\ covered | unexpected\ end\ of | unexpected\ EOF
    | \[load_safetensors\] | checksum | index-sized\ integer | file\ is\ truncated | string\ length\ \d+\ exceeds
    | (duplicated|missing)\ tensor | gguf_init_from_\w+
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Of ggml's GGUF reader, the safetensors crate (SafetensorError), MLX, PyTorch and vLLM's own reading of a header."""
NO_MEMORY: Final = re.compile(
    r"""
    out\ of\ memory | OutOfMemory | bad_alloc | MemoryError
    | (failed|unable|not\ able|could\ not|cannot)\ (to\ )?(allocate|map\ memory)
    | cannot\ allocate\ memory | can't\ allocate\ memory | alloc\w*\ failed | cudaMalloc\ failed | \[malloc\]
    | failed\ to\ create\ (llama_)?context | insufficient\ memory | not\ enough\ memory | no\ available\ memory
    | memory\ runs\ out
    | mem-?fraction-?static
    | larger\ than\ the\ (maximum\ number\ of\ tokens|available\ KV\ cache) | KV\ cache\ is\ needed
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Of ggml, PyTorch (on the CPU too), MLX, vLLM's and SGLang's checks of the KV cache, C++ and the system."""


def about(text: str) -> About:
    """What a failure's line is about."""
    if NO_MEMORY.search(text):
        return "memory"
    return "weights" if DAMAGED.search(text) else "other"


def failure_about(error: BackendError) -> About:
    """The same of an error; a process that aborted has mostly run out of memory."""
    if isinstance(error, BadWeights | DamagedWeights):
        return "weights"
    if isinstance(error, OutOfMemory):
        return "memory"
    found = about(str(error))
    return "memory" if found == "other" and isinstance(error, EngineCrashed) else found
