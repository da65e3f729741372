"""What judging a catalog of 20,000 variants costs on each kind of machine: at a new context, with other memory, cold.

Times are the processor's, which on a machine at rest are the clock's, and each figure stands beside a floor of the same
run, a plain loop over 20,000 look-ups in a dictionary, because a shared machine is slow at times. The budget is 150 ms
for a new context and for memory that came or went. Cold is a start with nothing kept, which happens once, in slices off
the event loop: how late that is for a key stands beside how late it is when the other thread counts in a plain loop.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import benchrow

from backends import quick
from backends.fit import Correction, Wish
from backends.machine.model import Machine
from backends.machine.presets import preset
from backends.memory import estimators
from specs.catalog import load_catalog
from specs.model import Architecture, ModelSpec, Variant
from tui.judging import judge_families

VARIANTS = 20_000
BUDGET_MS = 150.0
KEY_RATIO = 4.0
"""Against a thread that lets go of the lock when asked: 10 ms at rest, where a collector's walk took 200."""
CONTEXTS = (4096, 16_384, 8192, 32_768, 2048, 131_072)
LOADS = {("llama.cpp", "ggufv2"): Correction(((5 << 30, 6 << 30),) * 3)}


def main() -> int:
    """Rows for each machine against the budget; 1 when one is over it."""
    floor_ms = floor()
    print(f"  floor: {VARIANTS:,} dictionary look-ups in a loop, {floor_ms:.2f} ms")
    missed = False
    bundled = list(load_catalog().variants())
    for words, variants in (("", enlarged()), (", no two alike", enlarged(alike=False))):
        for name, machine in machines().items():
            forget()
            cold = taken(lambda: judge(variants, machine, 8192))  # noqa: B023
            met = [taken(lambda: judge(variants, machine, context)) for context in CONTEXTS]  # noqa: B023
            # Contexts that were never judged, over engines that all were asked for once.
            again = [taken(lambda: judge(variants, machine, context - 256)) for context in CONTEXTS]  # noqa: B023
            moved = [taken(lambda: judge(variants, other, 8192)) for other in with_other_memory(machine)]  # noqa: B023
            label = f"judging: {name}{words}"
            floor_ms = floor()
            slowest = max(again)
            # Where no two models are alike, which no catalog is, the median is held to the budget.
            bound = statistics.median(again) if words else slowest
            missed |= not benchrow.row(f"{label}, context", bound, BUDGET_MS, "ms", at_most=1)
            missed |= not benchrow.row(f"{label}, memory", statistics.median(moved), BUDGET_MS, "ms", at_most=1)
            figures = {
                "warm": statistics.median(again),
                "longest": slowest,
                "an engine's first": max(met),
                "cold": cold,
            }
            told = (f"{what} {ms:.0f} ms = {ms / floor_ms:.0f} floors" for what, ms in figures.items())
            print(f"  {', '.join(told)}")
        corrected = [
            taken(lambda: quick.quick_verdicts(variants, preset("RTX 4090"), Wish(context), {}, LOADS))  # noqa: B023
            for context in CONTEXTS
        ]
        print(
            f"  one card{words}, loads measured: {corrected[0]:.0f} ms at first, then {max(corrected[1:]):.0f} at most"
        )
        # A start judges everything once, and any change of context judges it again: keys must not wait for either.
        waits, least = waits_beside(judging(variants)), waits_beside(counting)
        name, beside = f"judging: one card{words}, cold, a key beside it", "a loop that counts"
        missed |= not benchrow.row(name, late(waits), late(least), "ms", at_most=KEY_RATIO, baseline_name=beside)
        print(f"  of {len(waits)} looks for keys the longest was {max(waits):.1f} ms late")
    forget()
    first = taken(lambda: judge(bundled, machines()["one card"], 8192))
    print(f"  the bundled catalog's {len(bundled):,} variants, cold: {first:.0f} ms, {first / floor_ms:.0f} floors")
    return int(missed)


def judge(variants: list[Variant], machine: Machine, context: int) -> None:
    """One pass over the catalog."""
    quick.quick_verdicts(variants, machine, Wish(context=context))


def judging(variants: list[Variant]) -> Callable[[], None]:
    """Judges them cold in slices, as the app does."""
    machine = machines()["one card"]
    families = list({id(variant.family): variant.family for variant in variants}.values())

    def work() -> None:
        forget()
        judge_families(families, lambda some: quick.quick_verdicts(some, machine, Wish(8192)), lambda: False, len)

    return work


def counting() -> None:
    """Keeps a thread busy for half a second of the processor's time."""
    end = time.thread_time() + 0.5
    while time.thread_time() < end:
        sum(range(1000))


def late(waits: list[float]) -> float:
    """What 99 of 100 looks for keys stay under."""
    return sorted(waits)[int(0.99 * len(waits))]


def waits_beside(work: Callable[[], None]) -> list[float]:
    """Milliseconds by which an event loop is late for a key while another thread works."""
    waits: list[float] = []

    async def look() -> None:
        task = asyncio.create_task(asyncio.to_thread(work))
        while not task.done():
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            waits.append((time.perf_counter() - before) * 1000 - 5)

    asyncio.run(look())
    return waits


def forget() -> None:
    """Start as a new process does."""
    quick.forget()
    estimators.forget()


def taken(work: Callable[[], object]) -> float:
    """Milliseconds of the processor."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


def floor() -> float:
    """The best of five loops over as many look-ups."""
    keys = [str(number) for number in range(VARIANTS)]
    table = dict.fromkeys(keys, 1)

    def loop() -> list[int]:
        found = []
        for key in keys:
            found.append(table[key])
        return found

    return min(taken(loop) for _ in range(5))


def enlarged(*, alike: bool = True) -> list[Variant]:
    """The catalog's variants under further names, as fine-tunes are; or each model with an architecture of its own."""
    families = load_catalog().families
    variants: list[Variant] = []
    turn = 0
    while len(variants) < VARIANTS:
        for family in families:
            specs = tuple(_copy(spec, turn, alike=alike) for spec in family.specs)
            variants.extend(replace(family, name=f"{family.name}-{turn}", specs=specs).variants())
        turn += 1
    return variants[:VARIANTS]


def _copy(spec: ModelSpec, turn: int, *, alike: bool) -> ModelSpec:
    if alike:
        return replace(spec)
    words = 32_000 + 64 * turn
    architecture = replace(spec.architecture or Architecture(), vocab_size=words)
    return replace(spec, architecture=architecture)


def with_other_memory(machine: Machine) -> list[Machine]:
    """The machine with less memory free, as other programs take it."""
    total = machine.memory.total_bytes or 0
    return [
        replace(
            machine,
            memory=replace(machine.memory, available_bytes=total * share // 10),
            accelerators=tuple(
                replace(card, free_bytes=(card.total_bytes or 0) * share // 10) for card in machine.accelerators
            ),
        )
        for share in (9, 7, 5)
    ]


def machines() -> dict[str, Machine]:
    """One of each kind that is judged in a way of its own."""
    one, other = preset("RTX 4090"), preset("RTX 3060")
    unlike = (one.accelerators[0], replace(other.accelerators[0], index=1))
    return {
        "one card": one,
        "two unlike cards": replace(one, accelerators=unlike),
        "two like cards": preset("2x RTX 3090"),
        "eight cards": preset("8x H100"),
        "no card": replace(one, accelerators=()),
        "unified memory": preset("M4 Pro 48 GB"),
    }


if __name__ == "__main__":
    sys.exit(main())
