"""The whole journey with real weights and the real engine: browse, download, talk, quit."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from ttybench import TtySession
from waiting import screen_text, until

from backends.engines.engine import Sampling
from backends.history import History
from backends.measurements import corrections
from backends.plans import Job
from tui.app import Deck
from tui.screens.ask import Ask
from tui.screens.chat import ChatScreen
from tui.widgets.cell_detail import CellDetail

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"),
]

ROOT = Path(__file__).parents[2]
REPOSITORY = "stand-in/gemma-3-270m-GGUF"
FILE = "gemma-3-270m-Q4_K_M.gguf"
PROMPT = "The capital of France is"
SPEC = f"""\
name = "gemma-3-270m"
context_length = 32768
languages = ["en"]
abilities = ["generate"]

[[models]]
size_in_billions = 0.27

[[models.specs]]
format = "ggufv2"
quantizations = ["Q4_K_M"]

[models.specs.hubs.huggingface]
id = "{REPOSITORY}"
file = "gemma-3-270m-{{quantization}}.gguf"
"""


@pytest.fixture
def published(hub: Any, home: Path, gemma_gguf: Path) -> Any:
    """The weights on the loopback hub, and a spec file of the user's that lists them."""
    hub.add(REPOSITORY, {FILE: gemma_gguf}, downloads=1, tags=["gguf"])
    specs = home / "specs"
    specs.mkdir(parents=True)
    (specs / "gemma.toml").write_text(SPEC)
    return hub


async def test_a_new_user_finds_downloads_and_talks_to_a_model(published: Any) -> None:
    app = Deck()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "families" in screen_text(app) and app.catalog is not None)
        await pilot.press("slash", *"gemma-3-270", "enter")
        await until(pilot, lambda: app.statuses is not None and app.machine is not None and app.library is not None)
        assert "1 of " in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.query_one(CellDetail).option is not None)
        assert "llama.cpp" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        seen: list[Job] = []
        app.watch(app, "jobs", lambda jobs: seen.extend(jobs.values()))
        await pilot.press("enter", "f6")
        # The chat opens by itself when the weights are here and their sum is right.
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        assert {job.progress.state for job in seen} >= {"running", "done"}
        assert any(0 < job.progress.done_bytes < job.plan.total_bytes for job in seen)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        await until(pilot, lambda: screen.active_pane is not None and screen.active_pane.state == "ready")
        pane = screen.active_pane
        assert pane is not None
        pane.sampling = Sampling(max_tokens=8, temperature=0.0)
        await pilot.press(*("space" if letter == " " else letter for letter in PROMPT), "enter")
        await until(pilot, lambda: pane.conversation.nodes and pane.generation is None)
        said = "".join(node.text for node in pane.conversation.path())
        assert said.startswith(PROMPT)
        assert len(said.removeprefix(PROMPT).split()) >= 4
        assert screen.history.flush()
        await until(pilot, lambda: app.measured.corrections)
        await pilot.press("f5")
        await until(pilot, lambda: "from 1 load here" in screen_text(app))
    # The reason line tells from now on what the load took.
    machine = app.machine
    assert machine is not None
    (correction,) = corrections(machine).values()
    assert len(correction.loads) == 1
    history = History()
    (summary,) = history.conversations()
    history.close()
    assert summary.kind == "completion"
    assert "gemma-3-270m" in summary.model


def test_the_screen_stays_whole_while_llama_cpp_loads_and_quitting_is_quick(home: Path, gemma_gguf: Path) -> None:
    specs = home / "specs"
    specs.mkdir(parents=True)
    (specs / "gemma.toml").write_text(SPEC.partition("[models.specs.hubs")[0] + f'path = "{gemma_gguf}"\n')
    wanted = ("--model-engine", "llama.cpp", "--model-name", "gemma-3-270m", "--quantization", "Q4_K_M")
    environment = {"LANG": "C.UTF-8", "TEXTUAL_ANIMATIONS": "none", "PYTHONPATH": str(ROOT)}
    with TtySession([sys.executable, "-m", "tui", "launch", *wanted], 100, 30, env=environment) as session:
        assert session.wait_for("loading", timeout=60) is not None, session.dump_text()
        session.send(b"typed while it loads")
        assert session.wait_for("│ +ready|╰─ ready", timeout=120) is not None, session.dump_text()
        session.quiesce()
        lines = session.dump_text().splitlines()
        assert lines[0].startswith(" modeldeck")
        assert lines[1].startswith("╭─ gemma-3-270m 0.27B Q4_K_M · llama.cpp")
        assert any("typed while it loads" in line for line in lines)
        assert "ctrl+q quit" in lines[29]
        assert not any("llama_" in line or "ggml" in line or "load_tensors" in line for line in lines)
        took = session.close("ctrl+q")
        assert took is not None, "it did not end"
        print(f"quit with an engine loaded: {took:.0f} ms")
