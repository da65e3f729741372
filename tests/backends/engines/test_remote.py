"""A laptop talks to the model on the box."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai_standin import GONE, OpenAiStandin

from backends.engines.engine import Chunk, Engine, LoadOptions, Sampling, Turn, Weights
from backends.engines.remote import RemoteAdapter, RemoteModel
from backends.errors import EngineError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("openai") is None, reason="openai is not installed")
HELLO = [Turn("system", "Be brief."), Turn("user", "Hello")]


@pytest.fixture
def server() -> Iterator[OpenAiStandin]:
    standin = OpenAiStandin()
    yield standin
    standin.close()


def connect(server: OpenAiStandin) -> Engine:
    weights = Weights(Path(), "tiny", "remote", "none")
    return RemoteAdapter(server.url, "secret").load(weights, LoadOptions(context=1024))


@pytest.fixture
def engine(server: OpenAiStandin) -> Iterator[Engine]:
    connected = connect(server)
    yield connected
    connected.close()


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if not chunk.reasoning)


def test_a_server_s_models_are_listed_with_their_context(server: OpenAiStandin) -> None:
    server.models = [{"id": "a", "max_model_len": 32768}, {"id": "b", "meta": {"n_ctx": 4096}}, {"id": "c"}]
    found = RemoteAdapter(server.url).models()
    assert found == (RemoteModel("a", 32768), RemoteModel("b", 4096), RemoteModel("c", None))


def test_an_answer_streams_and_the_server_s_counts_are_told(server: OpenAiStandin, engine: Engine) -> None:
    chunks = list(engine.stream(HELLO, Sampling()))
    assert text(chunks) == "Hello there."
    stats = chunks[-1].stats
    assert stats is not None
    assert (stats.prompt_tokens, stats.cached_tokens, stats.decoded_tokens, stats.stop_reason) == (11, 8, 3, "end")
    assert engine.context == 4096
    assert server.requests[0]["messages"][1] == {"role": "user", "content": "Hello"}
    assert set(server.keys) == {"Bearer secret"}


def test_settings_reach_the_server(server: OpenAiStandin, engine: Engine) -> None:
    sampling = Sampling(
        max_tokens=2, temperature=0.5, top_k=7, min_p=0.1, repetition_penalty=1.2, seed=3, stop=("X",), thinking=False
    )
    chunks = list(engine.stream(HELLO, sampling))
    asked = server.requests[0]
    assert chunks[-1].stats is not None
    assert chunks[-1].stats.stop_reason == "length"
    assert {name: asked[name] for name in ("max_tokens", "temperature", "top_k", "min_p", "seed", "stop")} == {
        "max_tokens": 2, "temperature": 0.5, "top_k": 7, "min_p": 0.1, "seed": 3, "stop": ["X"],
    }  # fmt: skip
    assert asked["repetition_penalty"] == asked["repeat_penalty"] == 1.2
    assert asked["chat_template_kwargs"]["enable_thinking"] is False


def test_a_strict_server_is_asked_again_without_what_it_refuses(server: OpenAiStandin, engine: Engine) -> None:
    server.refuse = ("top_k",)
    assert text(list(engine.stream(HELLO, Sampling()))) == "Hello there."
    assert "top_k" in server.requests[0]
    assert "top_k" not in server.requests[1]


def test_a_stopped_answer_goes_on_where_the_server_can(server: OpenAiStandin, engine: Engine) -> None:
    begun = [*HELLO, Turn("assistant", "Well,")]
    list(engine.stream(begun, Sampling()))
    assert server.requests[0]["messages"][-1] == {"role": "assistant", "content": "Well,"}
    assert server.requests[0]["continue_final_message"] is True
    assert server.requests[0]["add_generation_prompt"] is False
    list(engine.stream(HELLO, Sampling()))
    assert "continue_final_message" not in server.requests[1]
    server.refuse = ("continue_final_message",)
    with pytest.raises(EngineError, match="cannot go on inside an answer"):
        list(engine.stream(begun, Sampling()))


def test_what_the_server_does_not_count_is_unknown(server: OpenAiStandin, engine: Engine) -> None:
    server.counts = False
    stats = list(engine.stream(HELLO, Sampling()))[-1].stats
    assert stats is not None
    assert (stats.prompt_tokens, stats.cached_tokens) == (None, None)


def test_thinking_comes_apart_whether_the_server_splits_it_or_not(server: OpenAiStandin, engine: Engine) -> None:
    for pieces in ([{"reasoning_content": "Hm."}, "Yes."], ["<thi", "nk>Hm.</th", "ink>\n\nYes."]):
        server.pieces = pieces
        chunks = list(engine.stream(HELLO, Sampling()))
        assert "".join(chunk.text for chunk in chunks if chunk.reasoning) == "Hm."
        assert text(chunks) == "Yes."


def test_a_prompt_is_completed_as_it_stands(server: OpenAiStandin, engine: Engine) -> None:
    assert text(list(engine.complete("Once", Sampling()))) == "Hello there."
    assert server.requests[0]["prompt"] == "Once"


def test_alternatives_are_the_server_s(engine: Engine) -> None:
    chunks = list(engine.stream(HELLO, Sampling(logprobs=2)))
    assert [one.text for one in chunks[0].alternatives[0]] == ["t0", "t1"]


def test_a_stop_does_not_wait_for_the_server(server: OpenAiStandin, engine: Engine) -> None:
    server.pieces = ["One", threading.Event(), " two"]
    stream = engine.stream(HELLO, Sampling())
    assert next(stream).text == "One"
    engine.stop()
    rest = list(stream)
    assert rest[-1].stats is not None
    assert rest[-1].stats.stop_reason == "cancelled"
    assert server.left.wait(10), "the server is told by the connection's end"
    server.pieces = ["again"]
    assert text(list(engine.stream(HELLO, Sampling()))) == "again"


def test_a_stop_before_the_first_word_ends_it_too(server: OpenAiStandin, engine: Engine) -> None:
    server.pieces = [threading.Event()]
    chunks: list[Chunk] = []
    thread = threading.Thread(target=lambda: chunks.extend(engine.stream(HELLO, Sampling())))
    thread.start()
    while thread.is_alive():
        engine.stop()
        thread.join(0.05)
    assert chunks[-1].stats is not None
    assert chunks[-1].stats.stop_reason == "cancelled"


def test_closing_ends_a_stream_that_waits(server: OpenAiStandin) -> None:
    engine = connect(server)
    server.pieces = ["One", threading.Event()]
    stream = engine.stream(HELLO, Sampling())
    next(stream)
    engine.close()
    assert list(stream)[-1].stats is not None
    with pytest.raises(EngineError, match="closed"):
        list(engine.stream(HELLO, Sampling()))


def test_the_server_s_own_error_is_shown(server: OpenAiStandin, engine: Engine) -> None:
    server.fault = (400, {"error": {"message": "maximum context length is 4096 tokens", "type": "BadRequestError"}})
    with pytest.raises(EngineError, match="maximum context length is 4096 tokens"):
        list(engine.stream(HELLO, Sampling()))
    server.fault = (401, {"error": {"message": "bad key"}})
    with pytest.raises(EngineError, match="does not take this key"):
        RemoteAdapter(server.url).models()


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("pieces", [["Hel", GONE], [GONE]])
def test_a_server_that_goes_away_in_an_answer_is_an_error_and_the_answer_not_whole(
    server: OpenAiStandin, engine: Engine, chunked: bool, pieces: list[object]
) -> None:
    server.chunked = chunked
    server.pieces = pieces
    heard: list[Chunk] = []
    with pytest.raises(EngineError) as caught:
        heard.extend(engine.stream(HELLO, Sampling()))
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    server.pieces = ["whole"]
    assert text(list(engine.stream(HELLO, Sampling()))) == "whole"


def test_an_answer_in_chunks_of_http_is_whole(server: OpenAiStandin, engine: Engine) -> None:
    server.chunked = True
    chunks = list(engine.stream(HELLO, Sampling()))
    assert (text(chunks), chunks[-1].stats and chunks[-1].stats.stop_reason) == ("Hello there.", "end")


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineError, match=r"no answer from http://127\.0\.0\.1:9/v1"):
        RemoteAdapter("http://127.0.0.1:9/v1").models()


def test_a_model_that_is_not_served_is_named_with_those_that_are(server: OpenAiStandin) -> None:
    with pytest.raises(EngineError, match="serves tiny"):
        RemoteAdapter(server.url).load(Weights(Path(), "big", "remote", "none"), LoadOptions(context=1024))


def test_without_a_server_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(EngineError, match="give its URL"):
        RemoteAdapter().models()
