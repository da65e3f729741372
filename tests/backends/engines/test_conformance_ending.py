"""What ends an answer: the user, a limit, a stop string, the model, or the context."""

from __future__ import annotations

import json
import shutil
import struct
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import GREEDY, QUESTION, ask, stats, text

from backends.engines.engine import Chunk, Engine, LoadOptions, Sampling, Turn, Weights
from backends.errors import PromptTooLong


def test_a_stop_ends_the_answer_within_one_token(loaded: Engine) -> None:
    chunks: list[Chunk] = []
    for chunk in loaded.stream(QUESTION, Sampling(max_tokens=200, temperature=0)):
        chunks.append(chunk)
        if sum(one.tokens for one in chunks) >= 3 and not chunk.stats:
            loaded.stop()
    assert stats(chunks).stop_reason == "cancelled"
    assert sum(chunk.tokens for chunk in chunks) <= 4
    assert stats(chunks).decoded_tokens == sum(chunk.tokens for chunk in chunks)


def test_after_a_stop_the_next_answer_is_the_one_it_would_have_been(loaded: Engine) -> None:
    before = text(ask(loaded, QUESTION))
    stream = loaded.stream(QUESTION, Sampling(max_tokens=200, temperature=0))
    next(stream)
    loaded.stop()
    assert stats(list(stream)).stop_reason == "cancelled"
    assert text(ask(loaded, QUESTION)) == before


def test_a_stop_ends_the_prefill(subject: Any, loaded: Engine) -> None:
    if not subject.aborts_prefill:
        pytest.skip("this library cannot be interrupted there")
    long = [Turn("user", f"{list(range(subject.long_prompt_words // 3))}")]
    started = threading.Event()
    chunks: list[Chunk] = []

    def run() -> None:
        started.set()
        chunks.extend(ask(loaded, long, Sampling(max_tokens=50)))

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    while thread.is_alive() and not chunks:
        loaded.stop()
        thread.join(0.05)
    thread.join()
    assert stats(chunks).stop_reason == "cancelled"
    assert stats(chunks).decoded_tokens == 0


def test_an_iterator_that_is_given_up_leaves_the_engine_free(loaded: Engine) -> None:
    stream = loaded.stream(QUESTION, Sampling(max_tokens=500, temperature=0))
    next(stream)
    del stream
    assert text(ask(loaded, QUESTION)).strip()


def test_a_prompt_that_is_too_long_is_refused_with_how_much(loaded: Engine) -> None:
    with pytest.raises(PromptTooLong) as caught:
        ask(loaded, [Turn("user", "word " * (loaded.context + 200))])
    assert caught.value.prompt_tokens > loaded.context
    over = caught.value.prompt_tokens - loaded.context + 1
    assert f"{over:,} too many" in str(caught.value)
    assert text(ask(loaded, QUESTION)).strip()


def test_the_limit_and_a_stop_string_end_an_answer(loaded: Engine) -> None:
    whole = text(ask(loaded, QUESTION, Sampling(max_tokens=12, temperature=0)))
    mark = whole.strip()[2:5]
    halted = ask(loaded, QUESTION, Sampling(max_tokens=12, temperature=0, stop=(mark,)))
    assert text(halted) == whole[: whole.index(mark)]
    assert stats(halted).stop_reason == "stop"
    begun = ask(loaded, QUESTION, Sampling(max_tokens=12, temperature=0, stop=(whole[-3:] + "and what never comes",)))
    assert text(begun) == whole, "what only began like a stop string is text"
    short = ask(loaded, QUESTION, Sampling(max_tokens=3, temperature=0))
    assert (stats(short).decoded_tokens, stats(short).stop_reason) == (3, "length")


def test_one_token_is_one_token(loaded: Engine) -> None:
    chunks = ask(loaded, QUESTION, Sampling(max_tokens=1, temperature=0))
    found = stats(chunks)
    assert (found.decoded_tokens, sum(chunk.tokens for chunk in chunks)) == (1, 1)
    assert found.stop_reason == "length"
    assert text(ask(loaded, QUESTION)).startswith(text(chunks).removesuffix("\N{REPLACEMENT CHARACTER}"))


def test_a_stop_string_of_many_bytes_ends_an_answer_whose_tokens_hold_parts_of_it(subject: Any, loaded: Engine) -> None:
    """Nothing before it is lost, and nothing of it comes out, not half of its first character."""
    settings = Sampling(max_tokens=24, temperature=0)
    whole = text(loaded.complete(subject.many_bytes, settings)).removesuffix("\N{REPLACEMENT CHARACTER}")
    at = next(place for place in range(1, len(whole) - 1) if not whole[place : place + 2].isascii())
    mark = whole[at : at + 2]
    chunks = list(loaded.complete(subject.many_bytes, replace(settings, stop=(mark, "never said"))))
    assert text(chunks) == whole[: whole.index(mark)]
    assert stats(chunks).stop_reason == "stop"
    assert stats(chunks).decoded_tokens < 24


def ended_by(weights: Weights, token: int, folder: Path) -> Weights:
    """The same weights with one more token that ends an answer, or another one."""
    copy = folder / weights.path.name
    if weights.path.is_dir():
        shutil.copytree(weights.path, copy)
        (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, token]}))
    else:
        shutil.copy(weights.path, copy)
        key = b"tokenizer.ggml.eos_token_id"
        with copy.open("r+b") as file:
            at = file.read(32 << 20).index(key) + len(key)
            file.seek(at)
            assert struct.unpack("<I", file.read(4)) == (4,), "an unsigned number of 32 bits"
            file.write(struct.pack("<I", token))
    return replace(weights, path=copy)


def test_the_model_s_own_end_token_ends_an_answer_and_is_no_part_of_it(subject: Any, tmp_path: Path) -> None:
    prompt = "One, two, three, four, five,"
    engine = subject.load(context=512)
    chunks = list(engine.complete(prompt, replace(GREEDY, logprobs=1)))
    engine.close()
    tokens = [token[0].token for chunk in chunks for token in chunk.alternatives]
    at = next(place for place in (*range(3, 12), 2) if tokens[place] not in tokens[:place])
    engine = subject.adapter.load(ended_by(subject.weights, tokens[at], tmp_path), LoadOptions(context=512))
    try:
        ended = list(engine.complete(prompt, GREEDY))
    finally:
        engine.close()
    assert (stats(ended).stop_reason, stats(ended).decoded_tokens) == ("end", at)
    assert text(chunks).startswith(text(ended).removesuffix("\N{REPLACEMENT CHARACTER}"))


def test_the_context_s_end_ends_an_answer(subject: Any) -> None:
    engine = subject.load(context=64)
    try:
        chunks = list(engine.complete("one two three four", Sampling(temperature=0, repetition_penalty=1.3)))
        found = stats(chunks)
        if found.stop_reason != "end":
            assert found.stop_reason == "length"
            assert found.prompt_tokens + found.decoded_tokens == engine.context
    finally:
        engine.close()
