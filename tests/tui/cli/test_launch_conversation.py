"""`launch --conversation`: a conversation of the history goes on at the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.conversation import conversation, node
from backends.engines import registry
from backends.engines.engine import EngineStatus
from backends.engines.scripted import ScriptedAdapter
from backends.history import History
from tui.cli import main

VARIANT = ("--size-in-billions", "1", "--model-format", "ggufv2", "--quantization", "Q4_K_M")
LAUNCH = ("launch", "--model-name", "small-talk", *VARIANT, "--yes")


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch, hub: Any) -> ScriptedAdapter:
    """The scripted engine in llama.cpp's place, and a hub that has the weights."""
    made = ScriptedAdapter("It goes on.")
    monkeypatch.setattr(registry, "adapter", lambda name: made)
    monkeypatch.setattr(registry, "statuses", lambda: {"llama.cpp": EngineStatus("ready", version="1.0")})
    hub.add("tests/small-talk-GGUF", {"small-talk-Q4_K_M.gguf": b"GGUF" * 1000})
    return made


def kept() -> str:
    """A conversation of two turns in the history."""
    asked = node("user", "Who are you?")
    said = node("assistant", "A model.", asked.id)
    made = conversation(system="Be short.").append(asked).append(said)
    history = History()
    history.save_all(made)
    assert history.flush()
    history.close()
    return made.id


def test_the_turns_before_are_sent_along_and_the_new_ones_are_kept(adapter: ScriptedAdapter, spec_file: Path) -> None:
    name = kept()
    assert main.run([*LAUNCH, "--specs", str(spec_file), "--prompt", "And then?", "--conversation", name[:10]]) == 0
    (call,) = adapter.engines[0].calls
    assert [(turn.role, turn.text) for turn in call.turns] == [
        ("system", "Be short."), ("user", "Who are you?"), ("assistant", "A model."), ("user", "And then?"),
    ]  # fmt: skip
    history = History()
    assert [n.text for n in history.load(name).path()] == ["Who are you?", "A model.", "And then?", "It goes on."]
    history.close()


def test_a_conversation_that_is_not_there_is_one_line(
    adapter: ScriptedAdapter, spec_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run([*LAUNCH, "--specs", str(spec_file), "--prompt", "x", "--conversation", "nowhere"]) == 1
    assert "there is no conversation 'nowhere'" in capfd.readouterr().err
    assert not adapter.engines
