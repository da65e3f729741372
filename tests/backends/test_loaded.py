"""A model on its thread: what it was given is done, or it is known that it will not be."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from backends.at_work import AtWork
from backends.engines.engine import Adapter, Engine, LoadOptions, Progress, Weights
from backends.engines.isolated import IsolatedAdapter
from backends.engines.scripted import ScriptedAdapter, ScriptedEngine
from backends.errors import EngineError
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


def test_weights_whose_load_would_hold_the_screen_up_are_loaded_in_a_process_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class ByWeights(ScriptedAdapter):
        def prefers_isolation(self, weights: Weights) -> bool:
            return weights.name == "large"

    apart: list[str] = []

    def load(self: IsolatedAdapter, weights: Weights, options: LoadOptions, on_progress: Progress | None) -> Engine:
        apart.append(weights.name)
        return ScriptedAdapter().load(weights, options, on_progress)

    monkeypatch.setattr(IsolatedAdapter, "load", load)
    ready = threading.Semaphore(0)
    models = LoadedModels(lambda name: ByWeights(), lambda _: ready.release())
    for name in ("large", "small"):
        models.open(replace(REQUEST, key=name, weights=replace(REQUEST.weights, name=name)), lambda _: None)
        assert ready.acquire(timeout=30)
    assert apart == ["large"]
    models.close()


def opened(adapter: Adapter, **more: object) -> tuple[LoadedModels, LoadedModel, list[str], threading.Event]:
    """A model with a listener that keeps the states it was told, and an event for the last of them."""
    told: list[str] = []
    over = threading.Event()

    def listen(model: LoadedModel) -> None:
        told.append(model.state)
        if model.state in ("closed", "failed"):
            over.set()

    models = LoadedModels(lambda name: adapter, **more)  # type: ignore[arg-type]
    return models, models.open(REQUEST, listen), told, over


def test_a_job_that_raises_takes_no_other_panes_answer_along() -> None:
    models, model, told, over = opened(ScriptedAdapter())
    done = threading.Event()

    def broken(_: Engine) -> None:
        raise RuntimeError("the event loop is closed")

    model.submit(broken)
    model.submit(lambda _: done.set())
    assert done.wait(30)
    model.close()
    assert over.wait(30)
    assert not model.busy
    assert told[-1] == "closed"
    models.close()


def test_a_listener_that_raises_keeps_no_other_from_hearing_and_the_model_from_being_freed() -> None:
    adapter = ScriptedAdapter()
    models = LoadedModels(lambda name: adapter)
    closed = threading.Event()

    def gone(_: LoadedModel) -> None:
        raise RuntimeError("no active app")

    model = models.open(REQUEST, gone)
    models.open(REQUEST, lambda model: closed.set() if model.state == "closed" else None)
    model.close()
    assert closed.wait(30)
    assert adapter.engines[0].closed


def test_a_full_disk_that_cannot_keep_what_a_load_took_leaves_the_model_at_work() -> None:
    def full(_: LoadedModel) -> None:
        raise OSError(28, "No space left on device")

    models, model, _, _ = opened(ScriptedAdapter(), on_loaded=full)
    done = threading.Event()
    model.submit(lambda _: done.set())
    assert done.wait(30)
    models.close()


def test_a_model_that_was_unloaded_while_it_loaded_is_never_called_ready() -> None:
    goes = threading.Event()

    class Slow(ScriptedAdapter):
        def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> ScriptedEngine:
            goes.wait(30)
            return super().load(weights, options, on_progress)

    adapter = Slow()
    models, model, told, over = opened(adapter)
    model.close()
    goes.set()
    assert over.wait(30)
    assert "ready" not in told
    assert adapter.engines[0].closed
    assert models.models() == ()


def test_a_load_that_failed_is_no_longer_noted_as_being_in_memory(tmp_path: Path) -> None:
    class Refusing(ScriptedAdapter):
        def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> ScriptedEngine:
            raise EngineError("not enough memory")

    at_work = AtWork(tmp_path)
    models, model, told, over = opened(Refusing(), at_work=at_work)
    assert over.wait(30)
    done = threading.Event()
    model._jobs.put(done.set)
    assert done.wait(30)
    assert list(tmp_path.iterdir()) == []
    # The same model again, smaller: what the first one's end takes away is not its note.
    at_work.add(model._note)
    model.close()
    assert model.wait_closed(30)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    assert told[-1] == "failed"
    models.close()
