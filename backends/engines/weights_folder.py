"""What a folder of safetensors says before any library has read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from backends.engines.engine import Weights
from backends.errors import EngineError

LARGE_VOCABULARY_BYTES: Final = 512 << 10
"""Reading so much of a vocabulary takes about 30 ms, in which nothing else of this process moves; Gemma's 33 MB took
1.8 s, and nearly every published model has more than this."""


def require_safetensors(engine: str, weights: Weights) -> None:
    """Refuse a folder that an engine could load from pickled files only, or not at all."""
    if not (weights.path / "config.json").is_file():
        raise EngineError(f"{engine} cannot load {weights.name}", f"{weights.path} has no config.json")
    if not any(weights.path.glob("*.safetensors")):
        raise EngineError(
            f"{engine} cannot load {weights.name}",
            "its folder holds no safetensors, and pickled weights may run programs: modeldeck reads none",
        )


def has_large_vocabulary(weights: Weights) -> bool:
    """Whether reading the tokenizer holds the interpreter for longer than a user does not notice.

    The tokenizers library reads a vocabulary in one call and keeps Python's lock meanwhile.
    """
    sizes = []
    for pattern in ("tokenizer*", "vocab*", "merges*"):
        for file in weights.path.glob(pattern):
            try:
                sizes.append(file.stat().st_size)
            except OSError:  # a link to nowhere
                continue
    return max(sizes, default=0) > LARGE_VOCABULARY_BYTES


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json; {} where it cannot be read."""
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def trained_context(folder: Path) -> int | None:
    """Tokens that the model was trained for, by its config.json; None: it does not say.

    Rotary scaling of the "linear" and "dynamic" kinds stretches the published length, as vLLM counts it.
    """
    told = read_config(folder)
    inner = told.get("text_config")
    text = inner if isinstance(inner, dict) else told
    length = text.get("max_position_embeddings") or text.get("n_positions") or text.get("max_seq_len")
    if not isinstance(length, int) or length <= 0:
        return None
    scaling = text.get("rope_scaling")
    if isinstance(scaling, dict) and (scaling.get("rope_type") or scaling.get("type")) in ("linear", "dynamic"):
        factor = scaling.get("factor")
        if isinstance(factor, int | float) and factor > 1 and "gemma3" not in str(told.get("model_type")):
            return int(length * factor)
    return length
