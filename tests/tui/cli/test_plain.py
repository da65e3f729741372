"""Plain mode: lines in, lines out, on a pipe and on a terminal, and nothing that moves a cursor."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from backends.engines import registry
from backends.engines.engine import EngineStatus
from backends.engines.scripted import ScriptedAdapter
from backends.errors import EngineError
from backends.history import History
from tui.cli import main

ROOT = Path(__file__).resolve().parents[3]
VARIANT = ("--size-in-billions", "1", "--model-format", "ggufv2", "--quantization", "Q4_K_M")
PATCHED = """\
import sys
from backends.engines import registry
from backends.engines.engine import EngineStatus
from backends.engines.scripted import ScriptedAdapter
made = ScriptedAdapter(ANSWER)
registry.adapter = lambda name: made
registry.statuses = lambda: {"llama.cpp": EngineStatus("ready", version="1.0")}
from tui.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch, hub: Any) -> ScriptedAdapter:
    """The scripted engine in llama.cpp's place, and a hub that has the weights."""
    made = ScriptedAdapter("It goes on.")
    monkeypatch.setattr(registry, "adapter", lambda name: made)
    monkeypatch.setattr(registry, "statuses", lambda: {"llama.cpp": EngineStatus("ready", version="1.0")})
    hub.add("tests/small-talk-GGUF", {"small-talk-Q4_K_M.gguf": b"GGUF" * 1000})
    return made


@pytest.fixture
def piped(
    adapter: ScriptedAdapter, spec_file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Talk through a pipe; gives the exit code, standard output and standard error."""
    monkeypatch.setenv("TERM", "xterm")  # so that what the flag sets is taken back
    monkeypatch.setenv("NO_COLOR", "")

    def run(text: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        launch = ("launch", "--plain", "--model-name", "small-talk", *VARIANT, "--yes", "--specs", str(spec_file))
        code = main.run([*launch, *arguments])
        written = capfd.readouterr()
        return code, written.out, written.err

    return run


def test_every_line_of_a_pipe_is_a_turn_and_its_end_ends(piped: Any, adapter: ScriptedAdapter) -> None:
    code, out, _ = piped("Who are you?\n\nAnd then?\n", "--system", "Be short.")
    assert (code, out) == (0, "It goes on.\nIt goes on.\n")
    assert [(turn.role, turn.text) for turn in adapter.engines[0].calls[1].turns] == [
        ("system", "Be short."), ("user", "Who are you?"), ("assistant", "It goes on."), ("user", "And then?"),
    ]  # fmt: skip


def test_a_plain_conversation_is_kept_as_the_apps_are(piped: Any) -> None:
    piped("Who are you?\n/again\n")
    history = History()
    (summary,) = history.conversations()
    loaded = history.load(summary.id)
    history.close()
    assert [one.text for one in loaded.path()] == ["Who are you?", "It goes on."]
    assert len(loaded.siblings(str(loaded.leaf))) == 2  # again: a branch, not a turn more


def test_a_slash_is_a_command_and_two_are_a_slash(piped: Any, adapter: ScriptedAdapter) -> None:
    code, out, err = piped("/nonsense\n//etc/hosts\n/quit\nnever\n")
    assert "there is no command /nonsense" in err
    assert [call.turns[-1].text for call in adapter.engines[0].calls] == ["/etc/hosts"]
    assert (code, out) == (1, "It goes on.\n")  # the mistake is told to the script


def test_the_commands_do_what_help_says(piped: Any, adapter: ScriptedAdapter, tmp_path: Path) -> None:
    target = tmp_path / "said.md"
    code, _, err = piped(f"/help\n/system Be kind.\nHello\n/save {target}\n/new\nAgain\n/save {target}\n")
    assert "/again" in err and "/save FILE" in err
    assert "Hello" in target.read_text() and "It goes on." in target.read_text()
    assert [(turn.role, turn.text) for turn in adapter.engines[0].calls[1].turns] == [
        ("system", "Be kind."), ("user", "Again"),
    ]  # fmt: skip
    assert code == 1 and "File exists" in err  # nothing is written over


def test_a_turn_that_fails_is_one_line_and_the_next_one_goes_on(piped: Any, adapter: ScriptedAdapter) -> None:
    answers: list[Any] = [[EngineError("the engine hiccuped")], "Better."]
    adapter.script = lambda turns: answers.pop(0)
    code, out, err = piped("one\ntwo\n")
    assert (code, out) == (1, "\nBetter.\n")
    assert "modeldeck: the engine hiccuped" in err
    assert [turn.text for turn in adapter.engines[0].calls[1].turns] == ["two"]


def test_a_base_model_writes_on(piped: Any, adapter: ScriptedAdapter, spec_file: Path) -> None:
    spec_file.write_text(spec_file.read_text().replace('abilities = ["chat"]', 'abilities = ["generate"]'))
    code, out, _ = piped("Once upon a time\n")
    assert (code, out) == (0, "It goes on.\n")
    assert [turn.text for turn in adapter.engines[0].calls[0].turns] == ["Once upon a time"]


def test_without_a_model_it_lists_what_is_here_and_says_what_to_type(modeldeck: Any, spec_file: Path) -> None:
    ran = modeldeck("--plain", "--specs", spec_file)
    assert ran.code == 0
    assert "No weights of the catalog are on this disk yet." in ran.out
    assert "modeldeck download NAME" in ran.out


def test_what_is_on_the_disk_is_told_with_the_line_that_starts_it(piped: Any, spec_file: Path, modeldeck: Any) -> None:
    piped("hello\n")
    ran = modeldeck("--specs", spec_file)
    line = (
        "modeldeck launch --plain --model-name small-talk --size-in-billions 1 --model-format ggufv2 "
        "--quantization Q4_K_M"
    )
    assert line in ran.out


@pytest.fixture
def typed(adapter: ScriptedAdapter, spec_file: Path, tmp_path: Path) -> Callable[..., pexpect.spawn]:
    """Plain mode on a pseudo-terminal, with an answer of a hundred words at five a second."""
    script = tmp_path / "talk.py"

    def start(*flags: str, answer: str = "It goes on.", rate: float = 0, **environment: str) -> pexpect.spawn:
        made = f"ScriptedAdapter({answer!r}, tokens_per_second={rate})" if rate else f"ScriptedAdapter({answer!r})"
        script.write_text(PATCHED.replace("ScriptedAdapter(ANSWER)", made))
        return pexpect.spawn(
            sys.executable,
            [str(script), "launch", *flags, "--model-name", "small-talk", *VARIANT, "--yes", "--specs", str(spec_file)],
            cwd=str(ROOT),
            encoding="utf-8",
            timeout=60,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment},
        )

    return start


@pytest.mark.parametrize(("flags", "environment"), [(("--plain",), {}), ((), {"TERM": "dumb"})])
def test_on_a_terminal_nothing_moves_the_cursor_or_colours(typed: Any, flags: Any, environment: Any) -> None:
    ran = typed(*flags, **environment)
    ran.expect("> ")
    everything = ran.before
    ran.sendline("Who are you?")
    ran.expect("It goes on.")
    everything += ran.before
    ran.expect("> ")
    ran.sendeof()
    ran.expect(pexpect.EOF)
    everything += ran.before
    ran.close()
    assert "\x1b" not in everything
    assert ran.exitstatus == 0


def test_ctrl_c_stops_the_answer_and_not_the_chat(typed: Any) -> None:
    ran = typed("--plain", answer="word. " * 200, rate=20)
    ran.expect("> ")
    ran.sendline("Talk")
    ran.expect(r"word\. word\.")
    ran.sendintr()
    ran.expect("stopped")
    ran.expect("> ")
    ran.sendline("/quit")
    ran.expect(pexpect.EOF)
    ran.close()
    assert ran.exitstatus == 0
