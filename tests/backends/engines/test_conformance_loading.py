"""Weights are loaded, or refused with what is wrong with them, and their memory comes back."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from asking import QUESTION, ask, stats, text

from backends.engines.engine import Engine, LoadOptions, Sampling
from backends.errors import Cancelled, DamagedWeights, EngineError


def test_wrong_weights_give_our_error_with_the_library_s_line(subject: Any, tmp_path: Path) -> None:
    wrong = tmp_path / subject.weights.path.name
    if subject.weights.path.is_dir():
        wrong.mkdir()
        (wrong / "config.json").write_text("{}")
    else:
        wrong.write_bytes(b"<html>Not found</html>" * 50)
    with pytest.raises(EngineError) as caught:
        subject.adapter.load(replace(subject.weights, path=wrong), LoadOptions(context=256))
    assert caught.value.detail
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_damaged_weights_are_told_with_the_command_that_checks_them(subject: Any, tmp_path: Path, damage: str) -> None:
    """Less context would not help; that is offered where memory ran out."""
    source = subject.weights.path
    broken = tmp_path / source.name
    if source.is_dir():
        shutil.copytree(source, broken)
        (file,) = broken.glob("*.safetensors")
    else:
        file = broken
        with source.open("rb") as whole:
            file.write_bytes(whole.read(20_000_000))
    if damage == "cut off":
        os.truncate(file, file.stat().st_size // 2)
    else:
        with file.open("r+b") as weights:
            weights.write(b"\xff" * 64)
    with pytest.raises(DamagedWeights) as caught:
        subject.adapter.load(replace(subject.weights, path=broken, key="m:1:f:q"), LoadOptions(context=256))
    assert caught.value.cure == "verify"
    assert caught.value.detail
    assert str(caught.value).endswith("modeldeck library verify 'm:1:f:q'")


def test_progress_rises_to_one(subject: Any) -> None:
    told: list[float] = []
    engine = subject.adapter.load(subject.weights, LoadOptions(context=256), lambda share, note: told.append(share))
    engine.close()
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) >= 2


def test_a_load_is_stopped_by_its_progress(subject: Any) -> None:
    def stop(share: float, note: str) -> None:
        raise Cancelled("stopped by the user")

    with pytest.raises(Cancelled, match="by the user"):
        subject.adapter.load(subject.weights, LoadOptions(context=256), stop)


def test_closing_ends_a_stream_and_refuses_the_next_and_may_be_done_twice(subject: Any) -> None:
    engine = subject.load(context=512)
    stream = engine.stream(QUESTION, Sampling(max_tokens=400, temperature=0))
    next(stream)
    engine.close()
    assert stats(list(stream)).stop_reason == "cancelled"
    engine.close()
    engine.stop()
    with pytest.raises(EngineError, match="closed"):
        ask(engine, QUESTION)
    with pytest.raises(EngineError, match="closed"):
        engine.count_tokens("x")


def test_closing_lets_the_model_go(subject: Any) -> None:
    """A tiny model's bytes are lost in the noise of a process: the library's own object must be gone."""
    engine = subject.load(context=512)
    ask(engine, QUESTION)
    runner = engine._runner
    model = getattr(runner, "_engine", None) or runner._model
    try:
        held = weakref.ref(model)
    except TypeError:  # llama.cpp's is a pointer
        held = None
    del model
    engine.close()
    gc.collect()
    assert held is None or held() is None
    assert getattr(runner, "_engine", None) is None
    assert getattr(runner, "_model", None) is None
    assert not any(thread.name == f"model {subject.weights.name}" for thread in new_threads(engine))


def new_threads(engine: Any) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread is engine._thread._thread]


def test_closing_gives_the_memory_back(subject: Any) -> None:
    process = psutil.Process()
    subject.load(context=512).close()
    before = process.memory_info().rss
    engine = subject.load(context=512)
    ask(engine, QUESTION)
    grown = process.memory_info().rss - before
    engine.close()
    left = process.memory_info().rss - before
    assert left < max(0.25 * grown, 32 << 20)


def test_two_models_answer_at_once(subject: Any, loaded: Engine) -> None:
    other = subject.load(context=512)
    try:
        alone = text(ask(other, QUESTION))
        answers: dict[str, str] = {}
        threads = [
            threading.Thread(target=lambda name, engine: answers.update({name: text(ask(engine, QUESTION))}), args=pair)
            for pair in (("one", loaded), ("two", other))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers["two"] == alone
        assert answers["one"].strip()
    finally:
        other.close()
