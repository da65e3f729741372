"""The command `bench`: prefill and decode speed of downloaded weights, measured."""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from backends.downloads import local_index
from backends.engines.engine import Engine, Sampling, Stats
from backends.errors import EngineError, NotFound
from backends.fit import Option
from backends.loaded import load_request
from tui import units
from tui.cli import choose
from tui.cli.launch import stats_document
from tui.cli.loading import keep_measured, load, option_for
from tui.cli.native import Screen, engine_output_in_log
from tui.cli.output import document, lines
from tui.cli.patience import interruptible, leave_at_once, work_is_left

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def bench(arguments: argparse.Namespace) -> int:
    """Load, run, print the median."""
    option, machine = option_for(arguments, force=False)
    path = local_index(choose.folders()).path(option.variant)
    if path is None:
        raise NotFound(f"the weights of {option.variant.key} are not here; modeldeck download fetches them")
    request = load_request(option, path)
    engines: list[Engine] = []

    def work() -> tuple[list[Stats], float, int | None]:
        engine, load_seconds = load(request, screen)
        engines.append(engine)
        try:
            return _runs(engine, arguments, screen), load_seconds, engine.measured_bytes()
        finally:
            engine.close()

    def stop() -> None:
        for engine in engines:
            engine.stop()

    with engine_output_in_log() as screen:
        try:
            runs, load_seconds, measured_bytes = interruptible(work, stop)
        except KeyboardInterrupt:
            if work_is_left():
                screen.note("modeldeck bench: interrupted")
                leave_at_once(130)
            raise
        screen.passing("")
    result = _document(option, runs, load_seconds, measured_bytes)
    keep_measured(machine, request, measured_bytes, result["decode_tokens_per_second"])
    if arguments.json:
        document(result)
        return 0
    lines(
        (
            ("model", f"{option.variant.key}, {option.engine}, {option.where}"),
            ("load", f"{load_seconds:.2f} s"),
            ("memory", f"{units.memory(measured_bytes)} by the engine's count, predicted {_predicted(option)}"),
            ("prefill", f"{units.tokens_per_second(result['prefill_tokens_per_second'])}, median of {len(runs)}"),
            ("decode", f"{units.tokens_per_second(result['decode_tokens_per_second'])}, median of {len(runs)}"),
        )
    )
    return 0


def _runs(engine: Engine, arguments: argparse.Namespace, screen: Screen) -> list[Stats]:
    wanted = min(arguments.prompt_tokens, max(1, engine.context - arguments.max_tokens - 8))
    sampling = Sampling(max_tokens=arguments.max_tokens, temperature=0.0)
    runs = []
    for index in range(arguments.runs):
        screen.passing(f"run {index + 1} of {arguments.runs}")
        stats = [chunk.stats for chunk in engine.complete(_prompt(engine, index, wanted), sampling) if chunk.stats]
        if not stats:
            raise EngineError("the engine ended its answer without saying what it took")
        runs.append(stats[-1])
    return runs


def _prompt(engine: Engine, index: int, wanted: int) -> str:
    """A text of about so many tokens that shares no beginning with another run's, so that no KV can be reused."""
    words = [WORDS[(index + at * (index + 1)) % len(WORDS)] for at in range(wanted)]
    text = f"{index + 1}. " + " ".join(words)
    count = engine.count_tokens(text)
    return " ".join(text.split(" ")[: max(1, round(len(words) * wanted / count))]) if count > wanted else text


def _predicted(option: Option) -> str:
    return f"{units.memory(option.memory.total_bytes)} with the process's own"


def _document(option: Option, runs: list[Stats], load_seconds: float, measured_bytes: int | None) -> dict[str, Any]:
    prefill = [
        (one.prompt_tokens - (one.cached_tokens or 0)) / one.prefill_seconds
        for one in runs
        if one.prefill_seconds > 0 and one.prompt_tokens is not None and one.prompt_tokens > (one.cached_tokens or 0)
    ]
    decode = [speed for one in runs if (speed := one.tokens_per_second) is not None]
    variant = option.variant
    return {
        "name": variant.family.name,
        "size_in_billions": variant.spec.size_in_billions,
        "format": variant.spec.format,
        "quantization": variant.quantization,
        "model_id": variant.model_id,
        "engine": option.engine,
        "where": option.where,
        "context": option.context,
        "load_seconds": round(load_seconds, 3),
        "memory": {"predicted_bytes": option.memory.total_bytes, "measured_bytes": measured_bytes},
        "prefill_tokens_per_second": round(statistics.median(prefill), 2) if prefill else None,
        "decode_tokens_per_second": round(statistics.median(decode), 2) if decode else None,
        "runs": [stats_document(one) for one in runs],
    }
