"""The engine without a model behaves as a real one would, at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from backends.engines.engine import Chunk, LoadOptions, Sampling, Stats, Turn, Weights
from backends.engines.scripted import ManualClock, ScriptedAdapter, ScriptedEngine
from backends.errors import EngineError, PromptTooLong

HELLO = [Turn("user", "Hello there")]


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if not chunk.reasoning)


def stats(chunks: list[Chunk]) -> Stats:
    assert chunks[-1].stats is not None
    return chunks[-1].stats


def test_it_streams_its_script_word_by_word_and_ends_with_stats() -> None:
    chunks = list(ScriptedEngine("One two three.").stream(HELLO, Sampling()))
    assert [chunk.text for chunk in chunks[:-1]] == ["One", " two", " three."]
    assert (stats(chunks).decoded_tokens, stats(chunks).stop_reason) == (3, "end")


def test_a_function_answers_by_the_turns() -> None:
    engine = ScriptedEngine(lambda turns: turns[-1].text.upper())
    assert text(list(engine.stream(HELLO, Sampling()))) == "HELLO THERE"


def test_thinking_comes_apart_from_the_answer() -> None:
    chunks = list(ScriptedEngine("<think>Hm hm.</think> Yes.").stream(HELLO, Sampling()))
    assert "".join(chunk.text for chunk in chunks if chunk.reasoning) == "Hm hm."
    assert text(chunks) == "Yes."


def test_a_stop_ends_the_stream_after_the_token_and_still_tells_stats() -> None:
    engine = ScriptedEngine("a b c d e f")
    stream = engine.stream(HELLO, Sampling())
    next(stream)
    engine.stop()
    rest = list(stream)
    assert text(rest) == ""
    assert stats(rest).stop_reason == "cancelled"


def test_a_stop_is_forgotten_by_the_next_stream() -> None:
    engine = ScriptedEngine("a b c")
    engine.stop()
    assert text(list(engine.stream(HELLO, Sampling()))) == "a b c"


def test_the_limit_the_stop_string_and_the_context_end_it() -> None:
    engine = ScriptedEngine("a b c d", context=100)
    limited = list(engine.stream(HELLO, Sampling(max_tokens=2)))
    assert (text(limited), stats(limited).stop_reason) == ("a b", "length")
    halted = list(engine.stream(HELLO, Sampling(stop=(" c",))))
    assert (text(halted), stats(halted).stop_reason) == ("a b", "stop")
    with pytest.raises(PromptTooLong, match="too many"):
        list(engine.stream([Turn("user", "word " * 200)], Sampling()))


def test_its_rate_is_kept_on_an_injected_clock() -> None:
    clock = ManualClock()
    engine = ScriptedEngine("a b c d e", tokens_per_second=10, clock=clock, prefill_seconds=2)
    found = stats(list(engine.stream(HELLO, Sampling())))
    assert found.prefill_seconds == pytest.approx(2)
    assert found.tokens_per_second == pytest.approx(10)


def test_it_fails_in_the_middle_when_the_script_says_so() -> None:
    engine = ScriptedEngine(["One", EngineError("the engine failed", "out of memory")])
    stream = engine.stream(HELLO, Sampling())
    assert next(stream).text == "One"
    with pytest.raises(EngineError, match="out of memory"):
        next(stream)
    assert text(list(ScriptedEngine("fine").stream(HELLO, Sampling()))) == "fine"


def test_the_second_turn_finds_the_first_in_its_cache() -> None:
    engine = ScriptedEngine("Good day.")
    list(engine.stream(HELLO, Sampling()))
    turns = [*HELLO, Turn("assistant", "Good day."), Turn("user", "And now?")]
    assert stats(list(engine.stream(turns, Sampling()))).cached_tokens == 6


def test_an_event_in_the_script_holds_the_answer_until_the_test_lets_go() -> None:
    gate = threading.Event()
    engine = ScriptedEngine(["One", gate, " two"])
    stream = engine.stream(HELLO, Sampling())
    assert next(stream).text == "One"
    gate.set()
    assert text(list(stream)) == " two"


def test_its_adapter_tells_progress_and_loads_or_fails() -> None:
    seen: list[float] = []
    adapter = ScriptedAdapter("Hi.")
    weights = Weights(path=Path("x.gguf"), name="x", format="ggufv2", quantization="Q4_K_M")
    engine = adapter.load(weights, LoadOptions(context=64), lambda share, note: seen.append(share))
    assert seen == [0.25, 0.5, 0.75, 1.0]
    assert engine.context == 64
    with pytest.raises(EngineError):
        ScriptedAdapter(fails=EngineError("no")).load(weights, LoadOptions(context=64))
