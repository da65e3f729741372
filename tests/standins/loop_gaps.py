"""How long an asyncio loop is kept from its turns while a model is loaded, talked to twice and closed as the app does.

A program: engine, path, format, quantization. It prints the longest wait in milliseconds, and while doing what.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path

from backends.engines.engine import LoadOptions, Sampling, Turn, Weights
from backends.engines.registry import adapter, hosted

STEP_SECONDS = 0.005
LONG = "The lighthouse keeper counts seven ships at dawn. " * 12


class Work:
    """What the app does with a model, on a thread as there."""

    def __init__(self, engine: str, weights: Weights) -> None:
        self.doing = "start"
        self._engine = engine
        self._weights = weights
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.doing = "loading"
        found = hosted(adapter(self._engine, isolated=None), isolated=None, weights=self._weights)
        engine = found.load(self._weights, LoadOptions(context=1024), self._tell)
        turns = [Turn("user", LONG)]
        for self.doing in ("a first turn", "a second turn"):
            said = list(engine.stream(turns, Sampling(max_tokens=24, logprobs=3)))
            turns += [Turn("assistant", "".join(chunk.text for chunk in said)), Turn("user", "And then?")]
        self.doing = "closing"
        engine.close()

    def _tell(self, _share: float, note: str) -> None:
        self.doing = f"loading: {note}"


async def longest(work: Work) -> tuple[float, str]:
    """The longest wait beyond what it slept itself."""
    found = (0.0, "nothing")
    work.thread.start()
    last = time.perf_counter()
    while work.thread.is_alive():
        doing = work.doing
        await asyncio.sleep(STEP_SECONDS)
        now = time.perf_counter()
        found = max(found, (now - last - STEP_SECONDS, f"{doing} to {work.doing}"))
        last = now
    return found


def main() -> None:
    """Measure once."""
    engine, path, form, quantization = sys.argv[1:]
    seconds, doing = asyncio.run(longest(Work(engine, Weights(Path(path), "m", form, quantization))))
    print(f"{1000 * seconds:.1f} {doing}")


if __name__ == "__main__":
    main()
