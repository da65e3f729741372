"""What a failure is about."""

from __future__ import annotations

import pytest

from backends.errors import BackendError, BadWeights, EngineCrashed, EngineError
from backends.failures import About, about, failure_about


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EngineError("llama.cpp cannot load it", "invalid magic characters: '??R#', expected 'GGUF'"), "weights"),
        (EngineError("llama.cpp cannot load it", "tensor data is not within the file bounds"), "weights"),
        (EngineError("llama.cpp cannot load it", "string length 6365838073288196114 exceeds maximum"), "weights"),
        (BadWeights("model.safetensors is cut off"), "weights"),
        (EngineError("llama.cpp cannot load it", "failed to allocate buffer for kv cache"), "memory"),
        (EngineError("Transformers cannot load it", "CUDA out of memory. Tried to allocate 2.00 GiB"), "memory"),
        (EngineCrashed("the engine's process ended by SIGABRT", "GGML_ASSERT(ctx) failed"), "memory"),
        (EngineError("llama.cpp cannot load it", "unknown model architecture: 'nope'"), "other"),
    ],
)
def test_a_failure_says_what_may_help(error: BackendError, kind: About) -> None:
    assert failure_about(error) == kind


def test_a_turn_that_keeps_only_the_line_of_a_kill_still_offers_the_model_smaller() -> None:
    """The words of backends.engines.isolated, as they stand in the history."""
    assert (
        about("the engine's process ended by SIGKILL, as the system does when memory runs out; load it again")
        == "memory"
    )
