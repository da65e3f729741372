"""What servers, and what stands before them, do to a stream: it is read all the same, or the error is one line."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_standin import RESET, OpenAiStandin

from backends.engines.engine import Chunk, Engine, LoadOptions, Sampling, Stats, Turn, Weights
from backends.engines.remote import RemoteAdapter
from backends.errors import EngineError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("openai") is None, reason="openai is not installed")
HELLO = [Turn("user", "Hello")]
KEY = "sk-a-key-of-mine"
PAGE = f"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>{'<p>nginx</p>' * 200}</body></html>"


@pytest.fixture
def server() -> Iterator[OpenAiStandin]:
    standin = OpenAiStandin()
    yield standin
    standin.close()


@pytest.fixture
def engine(server: OpenAiStandin) -> Iterator[Engine]:
    connected = RemoteAdapter(server.url, KEY).load(Weights(Path(), "tiny", "remote", ""), LoadOptions(context=1024))
    yield connected
    connected.close()


def delta(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny",
        "choices": [{"index": 0, "delta": {"content": content} | more, "finish_reason": finish}],
    }  # fmt: skip


def events(*said: Any, end: str = "\n\n", done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(one)}" for one in said] + (["data: [DONE]"] if done else [])
    return "".join(f"{line}{end}" for line in lines).encode()


def answer(engine: Engine) -> tuple[str, str, Stats]:
    chunks: list[Chunk] = list(engine.stream(HELLO, Sampling()))
    assert chunks[-1].stats is not None
    said = ["".join(chunk.text for chunk in chunks if chunk.reasoning == thought) for thought in (False, True)]
    return said[0], said[1], chunks[-1].stats


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
WORDS = (delta("", role="assistant"), delta("Hel"), delta("lo."), delta(None, "stop"))


COMMENTS = b": OPENROUTER PROCESSING\n\n: ping\n\n" + events(*WORDS[:2], done=False) + b":\n\n" + events(*WORDS[2:])
BARE = {"index": 0, "finish_reason": None}
AROUND = {
    "nothing": events(*WORDS),
    "no [DONE]": events(*WORDS, done=False),
    "lines that end in CRLF": events(*WORDS, end="\r\n\r\n"),
    "comments": COMMENTS,
    "fields that nobody needs": b"event: message\nid: 7\nretry: 100\n" + events(*WORDS),
    "usage that is null": events(*(one | {"usage": None} for one in WORDS)),
    "a last event without choices": events(*WORDS, {"id": "1", "usage": USAGE}),
    "choices that are null": events(*WORDS, {"id": "1", "choices": None, "usage": USAGE}),
    "a first event with no choice": events({"id": "1", "choices": [], "prompt_filter_results": []}, *WORDS),
    "content that is null": events(delta(None), *WORDS),
    "a delta that is null": events({"id": "1", "choices": [BARE | {"delta": None}]}, *WORDS),
    "a choice without a delta": events({"id": "1", "choices": [BARE]}, *WORDS),
    "no space behind data:": events(*WORDS).replace(b"data: ", b"data:"),
}


@pytest.mark.parametrize("raw", AROUND.values(), ids=AROUND)
def test_an_answer_is_read_whatever_is_sent_around_it(server: OpenAiStandin, engine: Engine, raw: bytes) -> None:
    server.raw = raw
    said, thought, stats = answer(engine)
    assert (said, thought, stats.stop_reason) == ("Hello.", "", "end")
    assert stats.decoded_tokens == 2


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_that_a_server_tells_apart_is_thinking(server: OpenAiStandin, engine: Engine, field: str) -> None:
    server.raw = events(
        delta(**{field: "H"}), delta(**{field: "m."}), delta("Yes.", **{field: None}), delta(None, "stop")
    )
    assert answer(engine)[:2] == ("Yes.", "Hm.")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}."}}, "does not take this key"),
        (403, {"detail": "Forbidden"}, "does not take this key"),
        (
            404,
            {"error": {"message": "The model `tiny` does not exist.", "code": 404}},
            "The model `tiny` does not exist",
        ),
        (404, {"detail": "Not Found"}, "Not Found"),
        (429, {"error": {"message": "Rate limit reached"}}, "Rate limit reached"),
        (500, {"error": "model runner has unexpectedly stopped"}, "model runner has unexpectedly stopped"),
        (502, PAGE, "502 Bad Gateway"),
        (503, "", "503"),
        (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens"}, "4096 tokens"),
        (422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]}, "Field required"),
    ],
)
def test_a_server_s_refusal_is_one_line_with_its_own_words(
    server: OpenAiStandin, engine: Engine, status: int, body: Any, told: str
) -> None:
    server.fault = (status, body)
    with pytest.raises(EngineError) as caught:
        answer(engine)
    line = str(caught.value)
    assert told in line
    assert server.url in line
    assert "\n" not in line and "<" not in line
    assert len(line) < 300
    assert KEY not in line
    with pytest.raises(EngineError) as listed:
        RemoteAdapter(server.url, KEY).models()
    assert told in str(listed.value)
    server.fault = None
    assert answer(engine)[0] == "Hello there."


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (events(delta("Hel"), {"error": {"message": "CUDA out of memory"}}), "CUDA out of memory"),
        (events(delta("Hel"), {"error": "no slot is free"}), "no slot is free"),
        (events(delta("Hel"), done=False) + b"data: {\"id\": \"1\", \"choi", "in the middle of its answer"),
        (events(delta("Hel"), done=False) + b"data: <html>\n\n" + events(delta(None, "stop")), "no JSON"),
        (b"<html><body>Please log in</body></html>", "before it began"),
        (b"", "before it began"),
    ],
)  # fmt: skip
def test_an_answer_that_breaks_is_an_error_of_one_line(
    server: OpenAiStandin, engine: Engine, raw: bytes, told: str
) -> None:
    server.raw = raw
    with pytest.raises(EngineError) as caught:
        answer(engine)
    assert told in str(caught.value)
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    server.raw = None
    assert answer(engine)[0] == "Hello there."


def test_a_connection_that_is_reset_is_told_as_such(server: OpenAiStandin, engine: Engine) -> None:
    for pieces in (["Hel", RESET], [RESET]):
        server.pieces = pieces
        with pytest.raises(EngineError, match=r"in the middle|no answer from|before it began") as caught:
            answer(engine)
        assert server.url in str(caught.value)


@pytest.mark.parametrize("body", [PAGE, {"models": []}, {"data": None}, {"data": [{"object": "model"}]}])
def test_what_is_no_server_of_the_protocol_is_told_as_such(server: OpenAiStandin, body: Any) -> None:
    server.fault = (200, body)
    with pytest.raises(EngineError, match="does not list its models as OpenAI's protocol has it") as caught:
        RemoteAdapter(server.url, KEY).models()
    assert server.url in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY} "])
def test_white_space_around_a_key_is_no_part_of_it(server: OpenAiStandin, key: str) -> None:
    RemoteAdapter(server.url, key).models()
    assert server.keys == [f"Bearer {KEY}"]


def test_a_key_that_cannot_be_sent_is_told_without_it(server: OpenAiStandin) -> None:
    for key in (f"{KEY}\nX-Other: 1", f"{KEY}é"):
        with pytest.raises(EngineError, match="key") as caught:
            RemoteAdapter(server.url, key).models()
        assert KEY not in str(caught.value)
        assert KEY not in str(caught.value.detail)


def test_a_key_is_in_no_log(
    server: OpenAiStandin, engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "openai._base_client", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio"):
        caplog.set_level(logging.DEBUG, name)
    assert answer(engine)[0] == "Hello there."
    server.fault = (401, {"error": {"message": f"Incorrect API key provided: {KEY}."}})
    with pytest.raises(EngineError):
        answer(engine)
    assert caplog.records, "something was logged, or nothing is shown here"
    assert KEY not in caplog.text
    assert not any(KEY in str(record.args) for record in caplog.records)


def test_all_stop_strings_end_an_answer_though_the_protocol_has_room_for_four(
    server: OpenAiStandin, engine: Engine
) -> None:
    server.pieces = ["One", " two", " th", "ree", " four"]
    chunks = list(engine.stream(HELLO, Sampling(stop=("a", "b", "c", "d", "three"))))
    assert "".join(chunk.text for chunk in chunks) == "One two "
    assert chunks[-1].stats is not None
    assert chunks[-1].stats.stop_reason == "stop"
    assert server.requests[0]["stop"] == ["a", "b", "c", "d"]


def test_settings_are_within_what_servers_take(server: OpenAiStandin, engine: Engine) -> None:
    list(engine.stream(HELLO, Sampling(temperature=5.0, top_p=0.0, min_p=3.0, logprobs=40)))
    asked = server.requests[0]
    assert asked["temperature"] == 2.0
    assert 0 < asked["top_p"] <= 0.01
    assert asked["min_p"] == 1.0
    assert asked["top_logprobs"] == 20, "OpenAI's own most"


def test_an_emoji_in_two_events_comes_out_whole(server: OpenAiStandin, engine: Engine) -> None:
    """Some servers cut between the halves of a surrogate pair, as JSON writes it."""
    server.raw = (
        events(delta("Hi "), done=False)
        + (
            b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}\n\n'
            b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"\\ude00!"},"finish_reason":null}]}\n\n'
        )
        + events(delta(None, "stop"))
    )
    said = answer(engine)[0]
    said.encode("utf-8")
    assert said == "Hi 😀!"
