"""The remote adapter against a real server of OpenAI's protocol: llama-cpp-python's own, with real weights."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.engines.engine import Chunk, Engine, LoadOptions, Sampling, Stats, Turn, Weights
from backends.engines.registry import adapter
from backends.engines.remote import RemoteAdapter
from backends.errors import EngineError
from specs.model import LLAMA_CPP

NEEDED = ("llama_cpp", "openai", "fastapi", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings")
pytestmark = [
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in NEEDED), reason="llama-cpp-python's server is not installed"
    ),
]
GREEDY = Sampling(max_tokens=12, temperature=0)
COUNT = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,"
STARTS_WITHIN_SECONDS = 90


@pytest.fixture(scope="module")
def url(gemma_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server answers once the model is loaded."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = tmp_path_factory.mktemp("server") / "said"
    arguments = {"model": gemma_gguf, "model_alias": "gemma", "n_ctx": 1024, "n_batch": 64, "chat_format": "gemma"}
    arguments |= {"host": "127.0.0.1", "port": port}
    command = [sys.executable, "-m", "llama_cpp.server"]
    command += [str(part) for name, value in arguments.items() for part in (f"--{name}", value)]
    with said.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        found = f"http://127.0.0.1:{port}/v1"
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not _answers(found):
            assert server.poll() is None and time.monotonic() < deadline, said.read_text(errors="replace")[-2000:]
            time.sleep(0.2)
        yield found
    finally:
        server.terminate()
        server.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=2):
            return True
    except OSError:
        return False


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    connected = RemoteAdapter(url).load(Weights(Path(), "gemma", "remote", "none"), LoadOptions(context=1024))
    yield connected
    connected.close()


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def stats(chunks: list[Chunk]) -> Stats:
    assert chunks[-1].stats is not None
    return chunks[-1].stats


def test_a_real_server_s_model_is_listed(url: str) -> None:
    assert [model.name for model in RemoteAdapter(url).models()] == ["gemma"]


def test_the_text_is_the_one_that_the_engine_gives_in_this_process(engine: Engine, gemma_gguf: Path) -> None:
    local = adapter(LLAMA_CPP).load(Weights(gemma_gguf, "gemma", "ggufv2", "Q4_K_M"), LoadOptions(context=1024))
    expected = text(list(local.complete(COUNT, replace(GREEDY, max_tokens=6))))
    local.close()
    chunks = list(engine.complete(COUNT, replace(GREEDY, max_tokens=6)))
    assert text(chunks) == expected
    assert "12" in expected
    assert stats(chunks).stop_reason == "length"


def test_a_chat_streams_and_every_setting_is_taken(engine: Engine) -> None:
    turns = [Turn("user", "Name three colours, please.")]
    whole = Sampling(max_tokens=8, temperature=0.7, top_k=0, top_p=0.9, min_p=0.1, repetition_penalty=1.2, seed=3)
    chunks = list(engine.stream(turns, whole))
    assert len([chunk for chunk in chunks if chunk.text]) > 1, "it comes in pieces"
    assert 0 < stats(chunks).decoded_tokens <= 8
    assert text(list(engine.stream(turns, whole))) == text(chunks), "the seed reaches the server"


def test_characters_of_many_bytes_come_out_whole(engine: Engine) -> None:
    chunks = list(engine.complete("日本語、한국어, 🎉🎉🎉, naïve. " * 4, Sampling(max_tokens=24, temperature=0)))
    assert text(chunks)
    assert "\N{REPLACEMENT CHARACTER}" not in text(chunks[:-2])


def test_a_stop_ends_the_answer_and_the_server_goes_on(engine: Engine) -> None:
    chunks: list[Chunk] = []
    for chunk in engine.complete(COUNT, Sampling(max_tokens=400, temperature=0)):
        chunks.append(chunk)
        if sum(one.tokens for one in chunks) == 3:
            engine.stop()
    assert stats(chunks).stop_reason == "cancelled"
    assert sum(chunk.tokens for chunk in chunks) <= 4
    assert "12" in text(list(engine.complete(COUNT, GREEDY)))


def test_a_stop_string_ends_it(engine: Engine) -> None:
    assert text(list(engine.complete(COUNT, replace(GREEDY, stop=("13",))))).strip() == "12,"


def test_a_prompt_beyond_the_server_s_context_is_an_error_and_no_empty_answer(engine: Engine) -> None:
    """This server says nothing of it: it breaks the connection off, before or after it has said 200."""
    with pytest.raises(EngineError, match=r"did not say why.*longer than its context \(1,024 tokens|connection broke"):
        list(engine.complete("word " * 1500, GREEDY))
