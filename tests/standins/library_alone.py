"""What a library says by itself, past all of our adapters: the most probable continuation of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends.engines.engine import Weights
from specs.model import LLAMA_CPP, MLX, TRANSFORMERS


@dataclass(frozen=True)
class Alone:
    """One greedy continuation."""

    prompt_tokens: list[int]
    tokens: list[int]
    text: str
    halves: int
    """Tokens whose bytes alone are no whole characters."""


def continued(engine: Any, weights: Weights, prompt: str, count: int) -> Alone | None:
    """The library's own continuation; None: there is no second way to ask this one.

    Args:
        engine: Ours, loaded: its model is borrowed where a second one would cost time or be quantized otherwise.
    """
    ask = {LLAMA_CPP: _llama_cpp, TRANSFORMERS: _transformers, MLX: _mlx}.get(engine.name)
    return ask(engine, weights, prompt, count) if ask is not None else None


def _llama_cpp(engine: Any, weights: Weights, prompt: str, count: int) -> Alone:
    import itertools

    import llama_cpp

    llama = llama_cpp.Llama(str(weights.path), n_ctx=1024, n_threads=2, flash_attn=True, verbose=False)
    try:
        asked = llama.tokenize(prompt.encode(), add_bos=True, special=True)
        drawn = llama.generate(asked, top_k=1, temp=0.0, repeat_penalty=1.0, reset=True)
        tokens = list(itertools.islice(itertools.takewhile(lambda one: one != llama.token_eos(), drawn), count))
        said = [llama.detokenize([token], prev_tokens=[asked[-1]]) for token in tokens]
        return Alone(asked, tokens, b"".join(said).decode("utf-8", "replace"), sum(map(_is_half, said)))
    finally:
        llama.close()


def _is_half(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return True
    return False


def _tokenized(weights: Weights, prompt: str) -> tuple[Any, list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights.path)
    return tokenizer, tokenizer.encode(prompt)


def _decoded(tokenizer: Any, asked: list[int], tokens: list[int]) -> Alone:
    while tokens and tokens[-1] == tokenizer.eos_token_id:
        tokens = tokens[:-1]
    halves = sum("\N{REPLACEMENT CHARACTER}" in tokenizer.decode([token]) for token in tokens)
    return Alone(asked, tokens, tokenizer.decode(tokens, skip_special_tokens=True), halves)


def _transformers(engine: Any, weights: Weights, prompt: str, count: int) -> Alone:
    import torch

    tokenizer, asked = _tokenized(weights, prompt)
    model = engine._runner._model
    with torch.inference_mode():
        found = model.generate(torch.tensor([asked]), max_new_tokens=count, do_sample=False)
    return _decoded(tokenizer, asked, found[0, len(asked) :].tolist())


def _mlx(engine: Any, weights: Weights, prompt: str, count: int) -> Alone:
    tokenizer, asked = _tokenized(weights, prompt)

    def draw(_: Any) -> list[int]:
        import itertools

        import mlx.core as mx
        from mlx_lm.generate import generate_step

        drawn = generate_step(mx.array(asked), engine._runner._model, max_tokens=count)
        ends = itertools.takewhile(lambda pair: pair[0] != tokenizer.eos_token_id, drawn)
        return [int(token) for token, _ in ends]

    return _decoded(tokenizer, asked, engine._thread.call(draw))
