"""What was in memory when a process died is known to the next one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from backends.at_work import AtWork, Crashed, crashed
from backends.engines.engine import LoadOptions, Weights
from backends.engines.isolated import IsolatedAdapter
from backends.engines.scripted import ScriptedAdapter, ScriptedEngine
from backends.loaded import LoadedModel, LoadedModels, LoadRequest

MODEL = Crashed("m/1B/ggufv2/Q4_K_M", "llama.cpp", "m 1B Q4_K_M")
REQUEST = LoadRequest(
    "llama.cpp", Weights(Path(), "m 1B", "ggufv2", "Q4_K_M"), LoadOptions(context=64), "m/1B/ggufv2/Q4_K_M"
)
ABORTS = """
import os, sys
from pathlib import Path
from backends.engines.engine import LoadOptions, Weights
from backends.engines.scripted import ScriptedAdapter, ScriptedEngine
from backends.at_work import AtWork
from backends.loaded import LoadedModels, LoadRequest
class Aborting(ScriptedAdapter):
    def load(self, *told):
        os.abort()
request = LoadRequest(
    "llama.cpp", Weights(Path(), "m 1B", "ggufv2", "Q4_K_M"), LoadOptions(context=64), "m/1B/ggufv2/Q4_K_M"
)
LoadedModels(lambda name: Aborting(), None, AtWork(Path(sys.argv[1]))).open(request, print).wait_closed(30)
"""


def opened(models: LoadedModels, request: LoadRequest = REQUEST) -> LoadedModel:
    ready = threading.Event()
    model = models.open(request, lambda told: ready.set() if told.state != "loading" else None)
    assert ready.wait(10) or model.state != "loading"
    return model


def test_a_native_abort_is_known_to_the_next_start_and_told_once(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", ABORTS, str(tmp_path)], capture_output=True, check=False)
    assert ended.returncode == -6
    assert crashed(tmp_path) == (MODEL,)
    assert crashed(tmp_path) == ()


def test_a_model_that_was_given_back_and_a_process_that_ends_well_leave_nothing(tmp_path: Path) -> None:
    models = LoadedModels(lambda name: ScriptedAdapter(), None, AtWork(tmp_path))
    model = opened(models)
    assert list(tmp_path.glob("*.json"))
    assert crashed(tmp_path) == (), "this process is alive"
    model.close()
    assert model.wait_closed(10)
    assert not list(tmp_path.glob("*.json"))
    opened(models)
    models.close()
    assert not list(tmp_path.glob("*.json"))


def test_a_load_that_fails_is_no_crash(tmp_path: Path) -> None:
    class Failing(ScriptedAdapter):
        def load(self, *told: object) -> object:  # type: ignore[override]
            raise ValueError("bad magic")

    models = LoadedModels(lambda name: Failing(), None, AtWork(tmp_path))
    model = opened(models)
    model.close()
    model.wait_closed(10)
    assert model.state == "failed"
    assert not list(tmp_path.glob("*.json"))


def test_what_took_a_process_down_is_loaded_apart(tmp_path: Path) -> None:
    models = LoadedModels(lambda name: IsolatedAdapter(ScriptedAdapter()), None, AtWork(tmp_path), lambda: (MODEL,))
    model = models.open(REQUEST, lambda told: None)
    assert model.request.isolated
    assert not list(tmp_path.glob("*.json")), "its process is not this one"
    model.close()
    model.wait_closed(10)


def test_a_note_that_nobody_can_read_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "999999999.json").write_text("{")
    (tmp_path / "notes.json").write_text("[]")
    assert crashed(tmp_path) == ()


def test_a_process_that_ends_before_its_model_was_freed_did_not_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    monkeypatch.setattr(ScriptedEngine, "close", lambda _: held.wait())
    monkeypatch.setattr("backends.loaded.CLOSE_SECONDS", 600.0)
    models = LoadedModels(lambda name: ScriptedAdapter(), None, AtWork(tmp_path))
    model = opened(models)
    assert list(tmp_path.glob("*.json"))
    ending = threading.Thread(target=models.close, daemon=True)
    ending.start()
    try:
        deadline = time.monotonic() + 30
        while list(tmp_path.glob("*.json")):
            assert time.monotonic() < deadline, "the note stays for as long as the model takes to be freed"
        assert not model.wait_closed(0)
    finally:
        held.set()
    ending.join(30)


def test_nothing_is_noted_once_the_process_ends(tmp_path: Path) -> None:
    at_work = AtWork(tmp_path)
    at_work.end()
    at_work.add(MODEL)
    assert not list(tmp_path.glob("*.json"))
