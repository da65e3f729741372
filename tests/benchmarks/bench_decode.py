"""Decode and second-turn speed through our adapter beside llama-cpp-python alone, as ratios measured in one run.

Both hold the same weights in this process at the same time and answer in turn, so that whatever else the machine does
falls on both; a ratio is the median of the rounds' ratios. Run it alone: python tests/benchmarks/bench_decode.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/standins")]

import benchrow  # noqa: E402 - found on the path above
from bench_engines import screen_gap  # noqa: E402

PROMPT = "The history of the lighthouse begins with fires on hills. " * 12


def ours(engine: Any, tokens: int) -> float:
    """Tokens a second from the first to the last, as the one sees it who takes the chunks."""
    from backends.engines.engine import Sampling

    first = last = 0.0
    count = 0
    for chunk in engine.complete(PROMPT, Sampling(max_tokens=tokens, temperature=0.7, seed=None)):
        if chunk.tokens:
            last = time.perf_counter()
            first = first or last
            count += chunk.tokens
    return (count - 1) / (last - first)


def theirs(llm: Any, tokens: int) -> float:
    """The same of create_completion's stream."""
    first = last = 0.0
    count = 0
    settings: dict[str, Any] = {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
    for _ in llm.create_completion(PROMPT, max_tokens=tokens, stream=True, **settings):
        last = time.perf_counter()
        first = first or last
        count += 1
    return (count - 1) / (last - first)


def our_second_turn(engine: Any, round_: int) -> float:
    """Seconds to the first token of a text that goes on from a cached one."""
    from backends.engines.engine import Sampling

    list(engine.complete(PROMPT * 5, Sampling(max_tokens=1, temperature=0)))
    began = time.perf_counter()
    next(iter(engine.complete(PROMPT * 5 + f"Then, in {round_}, it was", Sampling(max_tokens=1, temperature=0))))
    return time.perf_counter() - began


def their_second_turn(llm: Any, round_: int) -> float:
    list(llm.create_completion(PROMPT * 5, max_tokens=1, stream=True, temperature=0))
    began = time.perf_counter()
    text = PROMPT * 5 + f"Then, in {round_}, it was"
    next(iter(llm.create_completion(text, max_tokens=1, stream=True, temperature=0)))
    return time.perf_counter() - began


def another_conversation(engine: Any, round_: int) -> tuple[float, float]:
    """Seconds to the first token of a conversation that waited while another one was held, and of one never seen."""
    from backends.engines.engine import Sampling

    once = Sampling(max_tokens=1, temperature=0)
    one, two = f"{round_}. {PROMPT * 5}", f"{round_} again. {PROMPT * 5}"
    times = []
    for prompt in (one, two, one):
        began = time.perf_counter()
        next(iter(engine.complete(prompt, once)))
        times.append(time.perf_counter() - began)
    return times[2], times[1]


def row(name: str, pairs: list[tuple[float, float]], unit: str, **bound: float) -> bool:
    """Medians of both sides; the ratio is the median of the rounds' ratios, since a round disturbs both alike."""
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(one / two for one, two in pairs)
    return benchrow.row(name, mine, other, unit, baseline_name="llama-cpp-python", ratio=ratio, **bound)


def main(arguments: list[str] | None = None) -> int:
    """Print the rows: ours, the library's, the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    asked = parser.parse_args(arguments)
    try:
        import llama_cpp
    except ImportError:
        print("llama.cpp is not installed: nothing to measure")
        return 0
    from conftest import gemma_file

    from backends.engines.engine import LoadOptions, Weights
    from backends.engines.registry import adapter
    from backends.engines.threads import compute_threads

    path = gemma_file()
    threads = compute_threads()
    began = time.perf_counter()
    engine = adapter("llama.cpp").load(Weights(path, "gemma", "ggufv2", "Q4_K_M"), LoadOptions(context=4096))
    our_load = time.perf_counter() - began
    began = time.perf_counter()
    llm = llama_cpp.Llama(
        str(path),
        n_ctx=4096,
        n_threads=threads,
        n_threads_batch=threads,
        flash_attn=True,
        swa_full=False,
        verbose=False,
    )
    their_load = time.perf_counter() - began
    speeds: list[tuple[float, float]] = []
    others: list[tuple[float, float]] = []
    turns: list[tuple[float, float]] = []
    for number in range(asked.rounds + 1):
        pair = (ours(engine, asked.tokens), theirs(llm, asked.tokens))
        turn = (our_second_turn(engine, number), their_second_turn(llm, number))
        other = another_conversation(engine, number)
        if number:  # the first touches pages
            speeds.append(pair)
            turns.append(turn)
            others.append(other)
    good = row("llama.cpp: decode", speeds, "tok/s", at_least=0.97)
    good &= row("llama.cpp: first token of a second turn", [(1000 * a, 1000 * b) for a, b in turns], "ms", at_most=1.3)
    back = [(1000 * a, 1000 * b) for a, b in others]
    mine, other = (statistics.median(side) for side in zip(*back, strict=True))
    ratio = statistics.median(a / b for a, b in back)
    good &= benchrow.row(
        "llama.cpp: back to a conversation that waited",
        mine,
        other,
        "ms",
        baseline_name="computed",
        ratio=ratio,
        at_most=0.2,
    )
    good &= screen_gap("llama.cpp", engine)
    row("llama.cpp: load", [(1000 * our_load, 1000 * their_load)], "ms")
    engine.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
