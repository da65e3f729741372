"""No engine computes a token twice: what each library is given is counted, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import computed
import pytest

from backends.engines.engine import Chunk, Engine, Sampling, Stats, Turn
from backends.engines.prefix_cache import common_prefix

QUESTION = [Turn("user", "Name three colours of a rainbow, please, and the order in which they stand there.")]
ELSEWHERE = [Turn("user", "1 2 3 4 5 6 7 8 9")]
SAMPLING = Sampling(max_tokens=9, temperature=0, logprobs=1)


def asked(engine: Engine, turns: list[Turn], sampling: Sampling = SAMPLING) -> tuple[list[Chunk], Stats, int]:
    """An answer that its limit ends, its stats, and how many tokens the library computed for it."""
    with computed.counting(engine) as count:
        if count is None:
            pytest.skip("what this library computes cannot be counted from here")
        chunks = list(engine.stream(turns, sampling))
        found = chunks[-1].stats
        assert found is not None
        assert (found.stop_reason, found.decoded_tokens) == ("length", sampling.max_tokens)
        return chunks, found, count.tokens


def tokens(chunks: Sequence[Chunk]) -> list[int]:
    return [token[0].token for chunk in chunks for token in chunk.alternatives]


def text(chunks: Sequence[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def test_each_token_of_a_turn_and_of_the_next_one_is_computed_once(loaded: Any) -> None:
    """But the last one drawn, which nothing follows. The second turn computes what the first one had not, no more."""
    asked(loaded, ELSEWHERE)
    chunks, found, count = asked(loaded, QUESTION)
    prompt = loaded._runner.vocabulary.chat(QUESTION)[0]
    assert found.prompt_tokens == len(prompt)
    assert count == len(prompt) - found.cached_tokens + found.decoded_tokens - 1

    turns = [*QUESTION, Turn("assistant", text(chunks)), Turn("user", "And two more?")]
    second = loaded._runner.vocabulary.chat(turns)[0]
    known = common_prefix([*prompt, *tokens(chunks)[:-1]], second)
    assert known > len(prompt) - 3, "the answer's beginning at least is the same"
    _, found, count = asked(loaded, turns)
    assert found.cached_tokens == known
    assert count == len(second) - known + found.decoded_tokens - 1


def test_the_same_question_again_computes_its_last_token_and_the_answer(loaded: Any) -> None:
    asked(loaded, QUESTION)
    _, found, count = asked(loaded, QUESTION)
    assert found.cached_tokens == found.prompt_tokens - 1
    assert count == 1 + found.decoded_tokens - 1


def test_an_answer_longer_than_a_block_has_none_of_its_tokens_computed_twice(loaded: Any) -> None:
    sampling = Sampling(max_tokens=150, temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.3)
    for _ in range(6):
        with computed.counting(loaded) as count:
            if count is None:
                pytest.skip("what this library computes cannot be counted from here")
            *_, last = loaded.complete("One, two, three, four, five,", sampling)
        assert last.stats is not None
        if last.stats.stop_reason == "length":
            break
    assert last.stats.decoded_tokens == 150
    assert count.tokens == last.stats.prompt_tokens - last.stats.cached_tokens + 149


def test_after_an_earlier_turn_was_edited_what_stands_before_it_is_kept(loaded: Any) -> None:
    asked(loaded, ELSEWHERE)
    vocabulary = loaded._runner.vocabulary
    chunks, _, _ = asked(loaded, QUESTION)
    said = Turn("assistant", text(chunks))
    asked(loaded, [*QUESTION, said, Turn("user", "And two more, in a sentence of their own?")])
    edited = [*QUESTION, said, Turn("user", "Or rather the darkest of them, please.")]
    _, found, count = asked(loaded, edited)
    shared = common_prefix(
        vocabulary.chat(edited)[0],
        vocabulary.chat([*QUESTION, said, Turn("user", "And two more, in a sentence of their own?")])[0],
    )
    assert shared > len(vocabulary.chat(QUESTION)[0])
    assert found.cached_tokens == shared
    assert count == found.prompt_tokens - shared + found.decoded_tokens - 1


def test_conversations_that_alternate_compute_their_new_turns_alone(loaded: Any) -> None:
    """Three turns of each, by turns: whichever waits, nothing of it is computed again."""
    vocabulary = loaded._runner.vocabulary
    one = [Turn("user", f"First of all: {' '.join(map(str, range(90)))}. What comes next?")]
    two = [Turn("user", f"Another matter: {' '.join('abcdefghij' * 8)}. What comes next?")]
    known: dict[int, list[int]] = {0: [], 1: []}
    for number in range(3):
        for which, turns in enumerate((one, two)):
            prompt = vocabulary.chat(turns)[0]
            chunks, found, count = asked(loaded, turns)
            shared = min(common_prefix(known[which], prompt), len(prompt) - 1)
            if number:
                assert shared > 60
                assert found.cached_tokens == shared
                assert count == len(prompt) - shared + found.decoded_tokens - 1
            known[which] = [*prompt, *tokens(chunks)[:-1]]
            turns += [Turn("assistant", text(chunks)), Turn("user", f"And after that, number {number}?")]
