"""What judging a catalog of 20,000 variants costs on each kind of machine, when the context changes and at first."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import benchrow

from backends import quick
from backends.fit import Correction, Wish
from backends.machine.model import Machine
from backends.machine.presets import preset
from specs.catalog import load_catalog
from specs.model import Variant

VARIANTS = 20_000
BUDGET_MS = 150.0
CONTEXTS = (4096, 16_384, 8192, 32_768, 2048, 131_072)
LOADS = {("llama.cpp", "ggufv2"): Correction(((5 << 30, 6 << 30),) * 3)}


def main() -> int:
    """A row for each machine: the median over contexts against the budget; 1 when one is over it."""
    variants = enlarged()
    missed = False
    for name, machine in machines().items():
        for words, corrections in (("", {}), (", loads measured", LOADS)):
            quick.forget()
            start = time.perf_counter()
            quick.quick_verdicts(variants, machine, Wish(context=8192), {}, corrections)
            cold = (time.perf_counter() - start) * 1000
            taken = []
            for context in CONTEXTS:
                start = time.perf_counter()
                quick.quick_verdicts(variants, machine, Wish(context=context), {}, corrections)
                taken.append((time.perf_counter() - start) * 1000)
            label = f"judging: {name}{words}"
            missed |= not benchrow.row(label, statistics.median(taken), BUDGET_MS, "ms", at_most=1)
            print(
                f"  longest {max(taken):.0f} ms at a context of {CONTEXTS[taken.index(max(taken))]:,}; first {cold:.0f}"
            )
    return int(missed)


def enlarged() -> list[Variant]:
    """The catalog's variants under further names; each has a spec of its own, as a larger catalog's would."""
    families = load_catalog().families
    variants: list[Variant] = []
    turn = 0
    while len(variants) < VARIANTS:
        for family in families:
            copied = replace(family, name=f"{family.name}-{turn}", specs=tuple(replace(spec) for spec in family.specs))
            variants.extend(copied.variants())
        turn += 1
    return variants[:VARIANTS]


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
    raise SystemExit(main())
