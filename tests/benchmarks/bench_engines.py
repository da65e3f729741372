"""Transformers, MLX and vLLM through our adapters beside the libraries' own loops, as ratios in one run.

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
sys.path[:0] = [str(ROOT), str(ROOT / "tests/standins")]

import benchrow  # noqa: E402 - found on the path above

LONG = "The lighthouse keeper counts seven ships at dawn. " * 24
FURTHER = "One, two, three, four"
PROMPT = "The lighthouse keeper counts seven ships at dawn, and"


def speed(pieces: Iterable[Any], tokens: int) -> float:
    """Tokens a second from the first piece to the last, for an answer of so many tokens."""
    times = [time.perf_counter() for _ in pieces]
    return (tokens - 1) / (times[-1] - times[0])


def rows(name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int, **bound: Any) -> bool:
    """Both sides in turn, the other one first in every second round; the median of the rounds' ratios."""
    ours(), theirs()
    pairs = []
    for number in range(rounds):
        if number % 2:
            other = theirs()
            pairs.append((ours(), other))
        else:
            pairs.append((ours(), theirs()))
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(one / two for one, two in pairs)
    return benchrow.row(name, mine, other, baseline_name="the library alone", ratio=ratio, **bound)


def decode(name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> bool:
    return rows(f"{name}: decode", ours, theirs, rounds, unit="tok/s", at_least=0.97)


def second_turn(name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> bool:
    return rows(f"{name}: first token of a second turn", ours, theirs, rounds, unit="ms", at_most=1.3)


def our_second_turn(engine: Any) -> Callable[[], float]:
    from backends.engines.engine import Sampling

    once = Sampling(max_tokens=1, temperature=0)

    def run() -> float:
        list(engine.complete(LONG, once))
        began = time.perf_counter()
        list(engine.complete(LONG + FURTHER, once))
        return 1000 * (time.perf_counter() - began)

    return run


def screen_gap(name: str, engine: Any, rounds: int = 3) -> bool:
    """The longest wait of another thread while the engine answers; of some rounds the best, as others work here too."""
    from ticker import BUDGET_MS, Ticker

    from backends.engines.engine import Sampling

    worst = []
    for number in range(rounds):
        with Ticker() as ticker:
            list(engine.complete(f"{number} {LONG}", Sampling(max_tokens=48, temperature=0.8)))
        worst.append(ticker.worst_ms)
    return benchrow.row(
        f"{name}: longest gap of the screen's thread", min(worst), BUDGET_MS, "ms", baseline_name="budget", at_most=1.0
    )


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


def bench_transformers(folder: Path, tokens: int, rounds: int) -> bool:
    import transformers

    from backends.engines.engine import LoadOptions, Weights
    from backends.engines.registry import adapter

    engine = adapter("Transformers").load(Weights(folder, "tiny", "pytorch", "none"), LoadOptions(context=2048))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    dtype = next(engine._runner._model.parameters()).dtype
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

    def their_second_turn() -> float:
        """generate() with the cache of the first turn, which it is trusted to belong to."""
        cache = transformers.DynamicCache(config=model.config)
        once = {"max_new_tokens": 1, "do_sample": False, "past_key_values": cache}
        model.generate(**tokenizer(LONG, return_tensors="pt"), **once)
        began = time.perf_counter()
        model.generate(**tokenizer(LONG + FURTHER, return_tensors="pt"), **once)
        return 1000 * (time.perf_counter() - began)

    good = decode("Transformers", our_side(engine, tokens), theirs, rounds)
    good &= second_turn("Transformers", our_second_turn(engine), their_second_turn, rounds)
    good &= screen_gap("Transformers", engine)
    engine.close()
    return good


def bench_mlx(folder: Path, tokens: int, rounds: int) -> bool:
    from mlx_lm import load, stream_generate
    from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache

    from backends.engines.engine import LoadOptions, Weights
    from backends.engines.model_thread import ModelThread
    from backends.engines.registry import adapter

    engine = adapter("MLX").load(Weights(folder, "tiny", "mlx", "none"), LoadOptions(context=2048))
    # Its own thread, as ours has one: what MLX keeps by thread is made and freed there.
    alone = ModelThread("alone", lambda: None)
    model, tokenizer = alone.call(lambda _: load(str(folder)))
    prompt = tokenizer.encode(PROMPT)
    first, second = tokenizer.encode(LONG), tokenizer.encode(LONG + FURTHER)
    same = next((at for at, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), len(first))

    def theirs(_: Any) -> float:
        times = []
        for answer in stream_generate(model, tokenizer, prompt, max_tokens=tokens):
            times.append((time.perf_counter(), answer.generation_tokens))
        return (times[-1][1] - 1) / (times[-1][0] - times[0][0])

    def their_second_turn(_: Any) -> float:
        cache = make_prompt_cache(model)
        list(stream_generate(model, tokenizer, first[:same], max_tokens=1, prompt_cache=cache))
        trim_prompt_cache(cache, cache[0].offset - same)
        began = time.perf_counter()
        list(stream_generate(model, tokenizer, second[same:], max_tokens=1, prompt_cache=cache))
        return 1000 * (time.perf_counter() - began)

    good = decode("MLX", our_side(engine, tokens), lambda: alone.call(theirs), rounds)
    good &= second_turn("MLX", our_second_turn(engine), lambda: alone.call(their_second_turn), rounds)
    good &= screen_gap("MLX", engine)
    engine.close()
    alone.close()
    return good


def bench_vllm(folder: Path, tokens: int, rounds: int) -> bool:
    """Beside the plain loop over the same engine's steps."""
    from itertools import count

    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    from backends.engines.engine import LoadOptions, Weights
    from backends.engines.registry import adapter

    engine = adapter("vLLM").load(Weights(folder, "tiny", "pytorch", "none"), LoadOptions(context=2048))
    library: Any = engine._runner._engine
    numbers = count()

    def answer(prompt: str, most: int) -> Iterable[Any]:
        parameters = SamplingParams(
            max_tokens=most, min_tokens=most, temperature=0, output_kind=RequestOutputKind.DELTA
        )
        library.add_request(f"beside-{next(numbers)}", prompt, parameters)
        while library.has_unfinished_requests():
            yield from (output for output in library.step() if output.outputs[0].token_ids)

    def their_second_turn() -> float:
        list(answer(LONG, 1))
        began = time.perf_counter()
        list(answer(LONG + FURTHER, 1))
        return 1000 * (time.perf_counter() - began)

    good = decode("vLLM", our_side(engine, tokens), lambda: speed(answer(PROMPT, tokens), tokens), rounds)
    good &= second_turn("vLLM", our_second_turn(engine), their_second_turn, rounds)
    good &= screen_gap("vLLM, in this process", engine)
    engine.close()
    return good


def main(arguments: list[str] | None = None) -> int:
    """Print a row for each engine that is installed: ours, the library's, the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--weights", type=Path, help="a folder for vLLM to load in place of the tiny model")
    asked = parser.parse_args(arguments)
    from tests.backends.engines import make_weights
    from tests.conftest import weights_cache

    if importlib.util.find_spec("vllm"):
        # An environment of its own, whose transformers is there for vLLM only.
        return (
            0
            if bench_vllm(asked.weights or make_weights.tiny_folder(weights_cache()), asked.tokens, asked.rounds)
            else 1
        )
    good = True
    if importlib.util.find_spec("transformers"):
        good &= bench_transformers(make_weights.tiny_folder(weights_cache()), asked.tokens, asked.rounds)
    if importlib.util.find_spec("mlx_lm"):
        good &= bench_mlx(make_weights.tiny_mlx_folder(weights_cache()), asked.tokens, asked.rounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
