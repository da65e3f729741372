"""A model on its thread: what it was given is done, or it is known that it will not be."""

from __future__ import annotations

import threading
from pathlib import Path

from backends.engines.engine import Engine, LoadOptions, Weights
from backends.engines.scripted import ScriptedAdapter
from backends.loaded import LoadedModel, LoadedModels, LoadRequest

REQUEST = LoadRequest(
    "llama.cpp", Weights(Path(), "m 1B", "ggufv2", "Q4_K_M"), LoadOptions(context=64), "m/1B/ggufv2/Q4_K_M"
)


def test_a_model_with_something_to_do_is_not_idle_though_its_thread_has_not_begun() -> None:
    ready, go, done = threading.Event(), threading.Event(), threading.Event()

    def loaded(_: LoadedModel) -> None:
        # Holds the model's thread between "ready" and its first job.
        ready.set()
        go.wait(30)

    models = LoadedModels(lambda name: ScriptedAdapter(), loaded)
    model = models.open(REQUEST, lambda _: None)
    assert ready.wait(30)
    try:
        assert not model.busy

        def job(_: Engine) -> None:
            done.set()

        model.submit(job)
        assert model.busy
        assert models.unload_idle(0.0) == ()
    finally:
        go.set()
    assert done.wait(30)
    models.close()


def test_a_model_without_anything_to_do_is_unloaded_once() -> None:
    ready = threading.Event()
    models = LoadedModels(lambda name: ScriptedAdapter(), lambda _: ready.set())
    model = models.open(REQUEST, lambda _: None)
    assert ready.wait(30)
    assert models.unload_idle(3600.0) == ()
    assert models.unload_idle(0.0) == (model,)
    assert model.wait_closed(30)
    assert models.unload_idle(0.0) == ()
