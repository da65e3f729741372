"""What the tests of downloads share: a tiny variant, and patience that does not wait."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from backends.errors import Cancelled
from backends.plans import Patience
from specs.model import HubSource, ModelFamily, ModelSpec, Variant

REPO = "maker/Tiny-GGUF"


def make_variant(
    quantization: str = "Q4_K_M",
    *,
    model_format: str = "ggufv2",
    repo: str = REPO,
    file: str | None = "tiny-{quantization}.gguf",
    hubs: tuple[str, ...] = ("huggingface",),
    **more: Any,
) -> Variant:
    sources = tuple(HubSource(hub, repo, file, **more) for hub in hubs)
    spec = ModelSpec(model_format, 1, (quantization,), sources)
    return Variant(ModelFamily("tiny", 2048, ("en",), ("chat",), (spec,)), spec, quantization)


@pytest.fixture
def variant() -> Variant:
    """The one quantization that most tests download."""
    return make_variant()


class Clock:
    """Remembers the waits that were asked for, and waits for none."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def pause(self, seconds: float, cancel: threading.Event | None) -> None:
        self.waits.append(seconds)
        if cancel is not None and cancel.is_set():
            raise Cancelled("stopped")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(clock: Clock) -> Patience:
    return Patience(stall_seconds=0.3, pause=clock.pause)
