"""What a tokenizer's control tokens are to us, where its repository names only some of them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from backends.engines.answer import Answer
from backends.engines.engine import Chunk, Weights
from backends.engines.tokenizer import Tokenizer

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed"),
]

HARMONY = ("<|startoftext|>", "<|return|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>", "<|call|>")


def with_tokens(folder: Path, copy: Path, marks: tuple[str, ...], eos: str) -> Tokenizer:
    """The tiny model's vocabulary with more control tokens, of which the settings name the last one of a text alone."""
    from transformers import AutoTokenizer

    shutil.copytree(folder, copy)
    told = json.loads((copy / "tokenizer.json").read_text())
    first = 1 + max(*told["model"]["vocab"].values(), *(token["id"] for token in told["added_tokens"]))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    told["added_tokens"] += [{"id": first + place, "content": mark, **flags} for place, mark in enumerate(marks)]
    (copy / "tokenizer.json").write_text(json.dumps(told))
    settings = {"eos_token": eos, "tokenizer_class": "PreTrainedTokenizerFast"}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    (copy / "generation_config.json").unlink(missing_ok=True)
    found = AutoTokenizer.from_pretrained(copy)
    assert found.all_special_tokens == [eos], "the others are known as control tokens only by the vocabulary"
    return Tokenizer(found, Weights(copy, "m", "pytorch", "none"))


def said(words: Tokenizer, text: str) -> list[Chunk]:
    """The chunks of an answer that is made of a text's tokens."""
    pieces, answer = words.pieces(), Answer(words.stop)
    chunks = [chunk for token in words.inside(text, special=True) for chunk in answer.token(pieces.token(token))]
    return [*chunks, *answer.text(pieces.finish()), *answer.finish()]


def test_gpt_oss_s_channels_are_told_apart_by_the_vocabulary_alone(tiny_folder: Path, tmp_path: Path) -> None:
    """Its repository names the first, last and padding token; the marks of channels are no text without ours."""
    words = with_tokens(tiny_folder, tmp_path / "m", HARMONY, "<|return|>")
    chunks = said(
        words,
        "<|channel|>analysis<|message|>hm, who is it?<|end|><|start|>assistant<|channel|>commentary<|message|>I look."
        "<|end|><|start|>assistant<|channel|>final<|message|>Hello!",
    )
    assert "".join(chunk.text for chunk in chunks if chunk.reasoning) == "hm, who is it?I look."
    assert "".join(chunk.text for chunk in chunks if not chunk.reasoning) == "Hello!"
    last, between = (words.inside(mark, special=True)[0] for mark in ("<|return|>", "<|end|>"))
    assert words.ends(last)
    assert not words.ends(between)
    assert words.has_channels


def test_a_turn_s_end_that_only_the_vocabulary_knows_ends_an_answer(tiny_folder: Path, tmp_path: Path) -> None:
    """As with Gemma's in a repository without generation_config.json."""
    words = with_tokens(tiny_folder, tmp_path / "m", ("<end_of_turn>", "<eos>"), "<eos>")
    (end,) = words.inside("<end_of_turn>", special=True)
    assert words.ends(end)
    assert "".join(chunk.text for chunk in said(words, "Hello<end_of_turn>")) == "Hello"


def test_thinking_between_control_tokens_is_told_apart(tiny_folder: Path, tmp_path: Path) -> None:
    """Magistral's [THINK] and [/THINK] are such."""
    words = with_tokens(tiny_folder, tmp_path / "m", ("[THINK]", "[/THINK]", "</s>"), "</s>")
    chunks = said(words, "[THINK]hm[/THINK]Yes.")
    assert "".join(chunk.text for chunk in chunks if chunk.reasoning) == "hm"
    assert "".join(chunk.text for chunk in chunks if not chunk.reasoning) == "Yes."
