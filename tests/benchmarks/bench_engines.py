"""Decode speed of Transformers and MLX through our adapters beside the libraries' own loops, as ratios in one run.

On the tiny model, where a token costs a millisecond: what an adapter adds shows there at its worst. Both sides answer
in turn in this process, so the library has the waiting policy that our adapter sets; a ratio is the median of the
rounds' ratios.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]
PROMPT = "The lighthouse keeper counts seven ships at dawn, and"


def speed(pieces: Iterable[Any], tokens: int) -> float:
    """Tokens a second from the first piece to the last, for an answer of so many tokens."""
    times = [time.perf_counter() for _ in pieces]
    return (tokens - 1) / (times[-1] - times[0])


def rows(name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> None:
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(one / two for one, two in pairs)
    print(f"{name + ' decode':<34} {mine:9.1f} {other:9.1f} {'tok/s':<6} {ratio:6.2f}  (at least 0.97)")


def our_side(engine: Any, tokens: int) -> Callable[[], float]:
    from backends.engines.engine import Sampling

    def run() -> float:
        sampling = Sampling(max_tokens=tokens, temperature=0)
        chunks = list_with_times(engine.complete(PROMPT, sampling))
        decoded = chunks[-1][1].stats.decoded_tokens
        spoken = [at for at, chunk in chunks if chunk.tokens]
        return (decoded - 1) / (spoken[-1] - spoken[0])

    return run


def list_with_times(chunks: Iterable[Any]) -> list[tuple[float, Any]]:
    return [(time.perf_counter(), chunk) for chunk in chunks]


def bench_transformers(folder: Path, tokens: int, rounds: int) -> None:
    import transformers

    from backends.engines.engine import LoadOptions, Weights
    from backends.engines.registry import adapter

    engine = adapter("Transformers").load(Weights(folder, "tiny", "pytorch", "none"), LoadOptions(context=2048))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    dtype = next(engine._model.parameters()).dtype
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    asked = tokenizer(PROMPT, return_tensors="pt")

    def theirs() -> float:
        streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True)
        settings = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "streamer": streamer}
        thread = threading.Thread(target=lambda: model.generate(**asked, **settings))
        thread.start()
        found = speed(streamer, tokens)
        thread.join()
        return found

    rows("Transformers", our_side(engine, tokens), theirs, rounds)
    engine.close()


def bench_mlx(folder: Path, tokens: int, rounds: int) -> None:
    from mlx_lm import load, stream_generate

    from backends.engines.engine import LoadOptions, Weights
    from backends.engines.registry import adapter

    engine = adapter("MLX").load(Weights(folder, "tiny", "mlx", "none"), LoadOptions(context=2048))
    model, tokenizer = load(str(folder))
    prompt = tokenizer.encode(PROMPT)

    def theirs() -> float:
        times = []
        for answer in stream_generate(model, tokenizer, prompt, max_tokens=tokens):
            times.append((time.perf_counter(), answer.generation_tokens))
        return (times[-1][1] - 1) / (times[-1][0] - times[0][0])

    rows("MLX", our_side(engine, tokens), theirs, rounds)
    engine.close()


def main(arguments: list[str] | None = None) -> int:
    """Print a row for each engine that is installed: ours, the library's, the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    asked = parser.parse_args(arguments)
    from tests.backends.engines import make_weights
    from tests.conftest import weights_cache

    print(f"{'tiny model':<34} {'ours':>9} {'alone':>9} {'':6} {'ratio':>6}")
    if importlib.util.find_spec("transformers"):
        bench_transformers(make_weights.tiny_folder(weights_cache()), asked.tokens, asked.rounds)
    if importlib.util.find_spec("mlx_lm"):
        bench_mlx(make_weights.tiny_mlx_folder(weights_cache()), asked.tokens, asked.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
