"""How many tokens a library is given to compute, counted where our adapters call it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from specs.model import LLAMA_CPP, MLX, TRANSFORMERS


@dataclass
class Computed:
    """Counted since the counter was laid on."""

    tokens: int = 0


@contextmanager
def counting(engine: Any) -> Iterator[Computed | None]:
    """Count what this engine has computed meanwhile; None: this library cannot be looked at there."""
    lay_on = {LLAMA_CPP: _llama_cpp, TRANSFORMERS: _transformers, MLX: _mlx}.get(engine.name)
    if lay_on is None:
        yield None
        return
    with lay_on(engine._runner) as computed:
        yield computed


@contextmanager
def _transformers(runner: Any) -> Iterator[Computed]:
    computed = Computed()

    def count(_module: Any, _args: Any, told: dict[str, Any]) -> None:
        computed.tokens += told["input_ids"].numel()

    hook = runner._model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield computed
    finally:
        hook.remove()


class _Watched:
    """A model of MLX, which has no hooks: a call is counted, the rest is the model's own."""

    def __init__(self, model: Any, computed: Computed) -> None:
        self._model = model
        self._computed = computed

    def __call__(self, tokens: Any, **told: Any) -> Any:
        self._computed.tokens += tokens.size
        return self._model(tokens, **told)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@contextmanager
def _mlx(runner: Any) -> Iterator[Computed]:
    computed = Computed()
    model = runner._model
    runner._model = _Watched(model, computed)
    try:
        yield computed
    finally:
        runner._model = model


@contextmanager
def _llama_cpp(runner: Any) -> Iterator[Computed]:
    computed = Computed()
    library = runner._library
    decode = library.llama_decode

    def call(context: Any, batch: Any) -> Any:
        computed.tokens += batch.n_tokens
        return decode(context, batch)

    library.llama_decode = call
    try:
        yield computed
    finally:
        library.llama_decode = decode
