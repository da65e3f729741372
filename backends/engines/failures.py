"""Why a load or an answer failed, by the library's own line: damaged weights, too little memory, or neither."""

from __future__ import annotations

import re
from typing import Final

from backends.engines.engine import Weights
from backends.errors import DamagedWeights, EngineError, OutOfMemory
from backends.failures import about

OWN_CODE: Final = re.compile(r"trust_remote_code|custom code|remote code", re.IGNORECASE)
"""Of transformers, vLLM and mlx-lm where a repository brings Python code of its own."""


def failure(what: str, weights: Weights, line: str | None) -> EngineError:
    """The error to raise.

    Args:
        what: What was tried, as "llama.cpp cannot load m"; the library's line follows it.
        line: The library's own inner line; None: it said nothing.
    """
    kind = about(line or "")
    if kind == "memory":
        return OutOfMemory(what, line)
    if line is not None and OWN_CODE.search(line):
        name = "/".join((weights.key or "").split("/")[4:]) or "OWNER/NAME"
        error = EngineError(what, "its repository brings Python code of its own, which is not run unasked")
        error.args = (f"{error}; modeldeck launch --trust-remote-code {name} … runs it, for one load",)
        return error
    if kind == "weights":
        damaged = DamagedWeights(what, line)
        name = weights.key or str(weights.path)
        damaged.args = (f"{damaged}; its files can be checked with: modeldeck library verify '{name}'",)
        return damaged
    return EngineError(what, line)
