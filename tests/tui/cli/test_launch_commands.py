"""`launch` and `bench`: one answer on standard output, with an engine that answers from a script."""

from __future__ import annotations

import _thread
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf_writer
import pytest

from backends.engines import registry
from backends.engines.engine import Chunk, EngineStatus
from backends.engines.scripted import ScriptedAdapter
from backends.errors import EngineError
from tui.cli import main

VARIANT = ("--size-in-billions", "1", "--model-format", "ggufv2", "--quantization", "Q4_K_M")


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> ScriptedAdapter:
    """The scripted engine in llama.cpp's place."""
    made = ScriptedAdapter("Because air scatters blue light.")
    monkeypatch.setattr(registry, "adapter", lambda name: made)
    monkeypatch.setattr(registry, "statuses", lambda: {"llama.cpp": EngineStatus("ready", version="1.0")})
    return made


@pytest.fixture
def downloaded(hub: Any) -> Any:
    """The hub that has the weights."""
    hub.add("tests/small-talk-GGUF", {"small-talk-Q4_K_M.gguf": b"GGUF" * 1000})
    return hub


@pytest.fixture
def launch(
    adapter: ScriptedAdapter, downloaded: Any, spec_file: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Launch in this process; gives the exit code, standard output and standard error."""

    def run(
        *arguments: str, command: tuple[str, ...] = ("launch", "--model-name", "small-talk")
    ) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main.run([*command, *VARIANT, "--specs", str(spec_file), *arguments])
        written = capfd.readouterr()
        return code, written.out, written.err

    return run


def test_an_answer_is_streamed_to_standard_output(launch: Any) -> None:
    code, out, err = launch("--prompt", "Why is the sky blue?", "--yes")
    assert code == 0, err
    assert out == "Because air scatters blue light.\n"


def test_the_model_may_be_named_without_a_flag(launch: Any) -> None:
    code, out, err = launch("--prompt", "Why is the sky blue?", "--yes", command=("launch", "small-talk"))
    assert (code, out) == (0, "Because air scatters blue light.\n"), err


def test_the_prompt_is_a_user_s_turn_and_the_flags_reach_the_engine(launch: Any, adapter: ScriptedAdapter) -> None:
    flags = ("--system", "Be short.", "--max-tokens", "3", "--temperature", "0", "--seed", "7", "--context", "1024")
    code, out, _ = launch("--prompt", "Why?", "--yes", *flags)
    (call,) = adapter.engines[0].calls
    assert (code, out) == (0, "Because air scatters\n")
    assert [(turn.role, turn.text) for turn in call.turns] == [("system", "Be short."), ("user", "Why?")]
    assert (call.sampling.max_tokens, call.sampling.temperature, call.sampling.seed) == (3, 0.0, 7)
    assert adapter.engines[0].context == 1024
    assert adapter.engines[0].closed


def test_a_base_model_gets_the_prompt_as_it_stands(launch: Any, adapter: ScriptedAdapter, spec_file: Path) -> None:
    spec_file.write_text(spec_file.read_text().replace('["chat"]', '["generate"]'))
    assert launch("--prompt", "The sky is", "--yes")[0] == 0
    assert adapter.engines[0].calls[0].prompt == "The sky is"


def test_a_repository_s_code_runs_only_where_its_name_is_given(launch: Any, adapter: ScriptedAdapter) -> None:
    assert launch("--prompt", "Why?", "--yes")[0] == 0
    code, _, err = launch("--prompt", "Why?", "--yes", "--trust-remote-code", "someone/else")
    assert code == 1
    assert "names someone/else, and what would be loaded is tests/small-talk-GGUF" in err
    assert launch("--prompt", "Why?", "--yes", "--trust-remote-code", "tests/small-talk-GGUF")[0] == 0
    assert [options.trust_remote_code for _, options in adapter.asked] == [False, True]


def test_another_repository_s_name_is_refused_before_anything_is_downloaded(
    launch: Any, adapter: ScriptedAdapter, downloaded: Any
) -> None:
    assert launch("--prompt", "Why?", "--yes", "--trust-remote-code", "someone/else")[0] == 1
    assert not downloaded.log("small-talk-Q4_K_M.gguf")
    assert not adapter.asked


def test_json_is_the_contract_s_document(launch: Any, adapter: ScriptedAdapter) -> None:
    adapter.script = [Chunk("hm", reasoning=True, tokens=1), " Because."]
    code, out, _ = launch("--prompt", "Why?", "--yes", "--json")
    answer = json.loads(out)
    assert code == 0
    assert set(answer) == {"text", "reasoning", "engine", "load_seconds", "memory", "stats"}
    assert (answer["text"].strip(), answer["reasoning"], answer["engine"]) == ("Because.", "hm", "llama.cpp")
    assert answer["memory"]["predicted_bytes"] > 0
    assert answer["memory"]["measured_bytes"] == 1_000_000
    assert set(answer["stats"]) == {
        "prompt_tokens", "cached_tokens", "prefill_seconds", "decoded_tokens", "decode_seconds", "stop_reason",
    }  # fmt: skip
    assert answer["stats"]["stop_reason"] == "end"


@pytest.mark.parametrize(("answer", "said"), [("Because", "1 token, "), ("Because air", "2 tokens, ")])
def test_what_an_answer_took_is_said_to_a_terminal(
    launch: Any, adapter: ScriptedAdapter, monkeypatch: pytest.MonkeyPatch, answer: str, said: str
) -> None:
    adapter.script = answer
    monkeypatch.setattr(os, "isatty", lambda _: True)
    code, _, err = launch("--prompt", "Why?", "--yes")
    assert code == 0
    assert err.splitlines()[-1].removeprefix("\x1b[K").startswith(said)


@pytest.mark.parametrize("flags", [(), ("--prompt", "-")])
def test_standard_input_is_the_prompt(
    launch: Any, adapter: ScriptedAdapter, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Warum – ?".encode())))
    assert launch(*flags, "--yes")[0] == 0
    assert adapter.engines[0].calls[0].turns[0].text == "Warum – ?"


def test_what_native_code_prints_lands_in_the_log(launch: Any, adapter: ScriptedAdapter, home: Path) -> None:
    def chatty(_: object) -> str:
        os.write(1, b"native output\n")
        os.write(2, b"native error\n")
        print("python output")
        print("python error", file=sys.stderr)
        return "Because."

    adapter.script = chatty
    code, out, err = launch("--prompt", "Why?", "--yes")
    assert (code, out) == (0, "Because.\n")
    assert "native" not in err
    assert "python" not in err
    log = (home / "modeldeck.log").read_text()
    assert all(line in log for line in ("native output", "native error", "python output", "python error"))


def test_escape_sequences_in_an_answer_are_shown_as_text(launch: Any, adapter: ScriptedAdapter) -> None:
    adapter.script = ["a\n", "\x1b]0;owned\x07", "b\tc"]
    _, out, _ = launch("--prompt", "Why?", "--yes")
    assert out == "a\n␛]0;owned␇b\tc\n"


def test_missing_weights_are_not_downloaded_unasked(launch: Any, adapter: ScriptedAdapter) -> None:
    code, out, err = launch("--prompt", "Why?")
    assert (code, out) == (1, "")
    assert "--yes fetches 4.00 kB from Hugging Face (tests/small-talk-GGUF)" in err
    assert adapter.engines == []


def test_what_does_not_fit_is_refused_with_3_and_forced_with_a_flag(
    launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.machine import detect
    from backends.machine.model import Cpu, Machine, Memory

    tiny = Machine("linux", "x86_64", Cpu("small", 1, 1), Memory(1 << 28, 1 << 27))
    monkeypatch.setattr(detect, "detect", lambda **_: tiny)
    code, out, err = launch("--prompt", "Why?", "--yes")
    assert (code, out) == (3, "")
    assert err.rstrip().endswith("--force loads it all the same")
    assert launch("--prompt", "Why?", "--yes", "--force")[0] == 0


def test_an_engine_that_is_not_installed_comes_with_the_line_that_installs_it(
    launch: Any, adapter: ScriptedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = EngineStatus("not-installed", "not installed", "uv tool install 'modeldeck[llama]'")
    monkeypatch.setattr(registry, "statuses", lambda: {"llama.cpp": missing})
    code, _, err = launch("--prompt", "Why?", "--yes", "--model-engine", "llama.cpp")
    assert code == 1
    assert "uv tool install 'modeldeck[llama]'" in err


def test_an_engine_that_does_not_take_the_format_names_one_that_does(launch: Any) -> None:
    code, _, err = launch("--prompt", "Why?", "--yes", "--model-engine", "mlx")
    assert code == 1
    assert "llama.cpp" in err


def test_an_engine_that_fails_is_one_line(
    launch: Any, downloaded: Any, adapter: ScriptedAdapter, tmp_path: Path
) -> None:
    tensors = [("token_embd.weight", (256, 32), 12, 256 * 32 // 256 * 144)]
    whole = gguf_writer.write(tmp_path / "whole.gguf", {"general.architecture": "llama"}, tensors)
    downloaded.add("tests/small-talk-GGUF", {"small-talk-Q4_K_M.gguf": whole.read_bytes()})
    adapter.fails = EngineError("llama.cpp cannot load small-talk", "the file is cut off")
    code, out, err = launch("--prompt", "Why?", "--yes")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "modeldeck launch: llama.cpp cannot load small-talk: the file is cut off"


def test_weights_whose_header_is_wrong_are_named_with_the_cure(launch: Any, adapter: ScriptedAdapter) -> None:
    adapter.fails = EngineError("llama.cpp cannot load small-talk", "something went wrong")
    code, out, err = launch("--prompt", "Why?", "--yes")
    assert (code, out) == (1, "")
    line = err.splitlines()[-1]
    assert "big-endian" in line
    assert "modeldeck library verify small-talk/1B/ggufv2/Q4_K_M/tests/small-talk-GGUF" in line


@pytest.fixture
def interrupted(adapter: ScriptedAdapter) -> Iterator[threading.Event]:
    """A script that presses ctrl+c after its first word and would go on for ever."""
    never = threading.Event()

    def script(_: object) -> Any:
        def steps() -> Iterator[Any]:
            yield "Because"
            _thread.interrupt_main(signal.SIGINT)
            yield never
            yield " never said"

        return steps()

    adapter.script = script
    # Whatever earlier tests of this process left there; a real ctrl+c in a process of its own is in test_terminal.py.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield never
    signal.signal(signal.SIGINT, before)
    never.set()


def test_ctrl_c_stops_the_engine_and_is_exit_code_130(
    launch: Any, adapter: ScriptedAdapter, interrupted: threading.Event
) -> None:
    code, out, err = launch("--prompt", "Why?", "--yes")
    assert (code, out.strip()) == (130, "Because")
    assert err.splitlines()[-1] == "modeldeck launch: interrupted"
    assert adapter.engines[0].closed


def test_json_goes_with_one_answer(launch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    code, _, err = launch("--yes", "--json")
    assert code == 2
    assert "--prompt" in err


def test_on_a_terminal_a_launch_opens_the_app_on_the_model(launch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import tui.start
    from tui.cli import launch as command

    opened: dict[str, Any] = {}
    monkeypatch.setattr(command, "_prompt", lambda arguments: None)
    monkeypatch.setattr(tui.start, "run_app", lambda **arguments: opened.update(arguments) or 0)
    assert launch()[0] == 0
    assert opened["launch"].variant.quantization == "Q4_K_M"
    assert opened["launch"].engine == "llama.cpp"


def test_the_app_is_opened_on_the_one_load_that_may_run_a_repository_s_code(
    launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tui.start
    from tui.cli import launch as command

    opened: dict[str, Any] = {}
    monkeypatch.setattr(command, "_prompt", lambda arguments: None)
    monkeypatch.setattr(tui.start, "run_app", lambda **arguments: opened.update(arguments) or 0)
    assert launch("--yes", "--trust-remote-code", "someone/else")[0] == 1
    assert not opened
    code, _, err = launch("--yes", "--trust-remote-code", "tests/small-talk-GGUF")
    assert code == 0, err
    assert "launch" not in opened
    request = opened["request"]
    assert request.options.trust_remote_code is True
    assert request.weights.path.name == "small-talk-Q4_K_M.gguf"
    opened.clear()
    assert launch()[0] == 0
    assert "request" not in opened, "the next time it is asked for again or not at all"


def test_bench_measures_the_median_of_some_runs(launch: Any, adapter: ScriptedAdapter) -> None:
    adapter.tokens_per_second = 1000.0
    bench = ("bench", "small-talk")
    assert launch(command=bench)[0] == 1  # the weights are not here yet
    launch("--prompt", "Why?", "--yes")
    code, out, err = launch("--runs", "2", "--max-tokens", "4", "--json", command=bench)
    assert code == 0, err
    measured = json.loads(out)
    assert len(measured["runs"]) == 2
    assert measured["decode_tokens_per_second"] > 0
    # no more than the turn's own marker may be taken from the run before
    assert all(one["cached_tokens"] <= 1 for one in measured["runs"])


def test_what_bench_measured_is_what_fit_says(launch: Any, adapter: ScriptedAdapter) -> None:
    adapter.tokens_per_second = 1000.0
    launch("--prompt", "Why?", "--yes")
    _, out, _ = launch("--runs", "1", "--max-tokens", "4", "--json", command=("bench", "small-talk"))
    measured = json.loads(out)["decode_tokens_per_second"]
    _, out, _ = launch("--json", "--model-engine", "llama.cpp", command=("fit", "small-talk"))
    (option,) = json.loads(out)["options"]
    assert option["tokens_per_second"] == {"value": pytest.approx(measured, rel=0.01), "basis": "measured"}


def test_what_a_load_took_corrects_later_fits_until_it_is_forgotten(launch: Any, adapter: ScriptedAdapter) -> None:
    fit = ("fit", "small-talk")
    _, out, _ = launch("--json", "--model-engine", "llama.cpp", command=fit)
    (before,) = json.loads(out)["options"]
    assert before["memory"]["basis"] != "measured"
    memory = before["memory"]
    buffers = memory["total_bytes"] - memory["overhead_bytes"]
    adapter.memory_bytes = round(1.5 * buffers)
    code, _, err = launch("--prompt", "Why?", "--yes")
    assert code == 0, err
    _, out, _ = launch("--json", "--model-engine", "llama.cpp", command=fit)
    (after,) = json.loads(out)["options"]
    assert after["memory"]["basis"] == "measured"
    assert "from 1 load here" in after["reason"]
    code = main.run(["fit", "--forget", "--json"])
    assert code == 0
    _, out, _ = launch("--json", "--model-engine", "llama.cpp", command=fit)
    assert json.loads(out)["options"][0]["memory"]["basis"] != "measured"


def test_the_kv_cache_type_reaches_the_engine(launch: Any, adapter: ScriptedAdapter) -> None:
    assert launch("--prompt", "Why?", "--yes", "--kv-cache-type", "q8_0")[0] == 0
    assert adapter.asked[0][1].kv_cache_type == "q8_0"
