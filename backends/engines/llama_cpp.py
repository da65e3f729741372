"""llama.cpp in this process, through llama-cpp-python."""

from __future__ import annotations

from backends.engines import installed
from backends.engines.engine import Engine, EngineStatus, LoadOptions, Progress, Weights
from backends.errors import EngineError
from specs.model import LLAMA_CPP


class LlamaCppAdapter:
    """Takes GGUF files, whole or in parts, on every platform."""

    name = LLAMA_CPP

    def status(self) -> EngineStatus:
        return installed.status(self.name)

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> Engine:
        raise EngineError(f"{self.name} cannot load {weights.name} yet", f"{options} {on_progress}")
