"""What a model's failure is about, so that the user is offered what can help."""

from __future__ import annotations

from typing import Final, Literal

from backends.errors import BackendError, BadWeights, DamagedWeights, EngineCrashed, OutOfMemory

About = Literal["memory", "weights", "other"]

MEMORY: Final = (
    "memory",
    "allocat",
    "kv cache",
    "oom",
    "failed to create context",
    "failed to create llama_context",
)
"""Words of failures that a smaller context may help against."""
WEIGHTS: Final = (
    "corrupt",
    "incomplete",
    "truncated",
    "file bounds",
    "magic",
    "string length",
    "failed to read",
    "unexpected end",
    "unexpected eof",
    "header",
    "checksum",
    "duplicated tensor",
    "missing tensor",
)
"""Words of failures over files that are not what was published; llama.cpp's and safetensors' own."""


def about(text: str) -> About:
    """What a failure's line is about."""
    line = text.lower()
    if any(word in line for word in WEIGHTS):
        return "weights"
    return "memory" if any(word in line for word in MEMORY) else "other"


def failure_about(error: BackendError) -> About:
    """The same of an error; a process that aborted has mostly run out of memory."""
    if isinstance(error, BadWeights | DamagedWeights):
        return "weights"
    if isinstance(error, OutOfMemory):
        return "memory"
    found = about(str(error))
    return "memory" if found == "other" and isinstance(error, EngineCrashed) else found
