"""One row of the table that `make bench` ends with: what was measured, beside what, and the bound of the ratio."""

from __future__ import annotations

import json
import os
from pathlib import Path

ROWS_VARIABLE = "MODELDECK_BENCH_ROWS"
"""Names the file that rows are added to, a JSON object a line; without it they are only printed."""


def row(
    name: str,
    ours: float,
    baseline: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    baseline_name: str = "baseline",
    ratio: float | None = None,
) -> bool:
    """Print a row and keep it for the table; returns whether the ratio ours / baseline keeps its bound.

    Args:
        name: what was measured.
        ours: the figure of ours, in the unit.
        baseline: the figure of what it is compared with, measured in the same run.
        unit: "ms", "tok/s", "MB/s".
        at_most: the largest ratio that is good.
        at_least: the smallest ratio that is good.
        baseline_name: what it is compared with.
        ratio: where it is not ours / baseline, but the median of the rounds' ratios.
    """
    if ratio is None:
        ratio = ours / baseline if baseline else float("inf")
    good = (at_most is None or ratio <= at_most) and (at_least is None or ratio >= at_least)
    kept = {
        "name": name,
        "ours": ours,
        "baseline": baseline,
        "baseline_name": baseline_name,
        "unit": unit,
        "ratio": ratio,
        "at_most": at_most,
        "at_least": at_least,
        "good": good,
    }
    print(line(kept), flush=True)
    if file := os.environ.get(ROWS_VARIABLE):
        with Path(file).open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(kept) + "\n")
    return good


def line(kept: dict) -> str:
    """A row in words and numbers."""
    bound = "told, not bound"
    if kept["at_most"] is not None:
        bound = f"at most {kept['at_most']:.4g}"
    elif kept["at_least"] is not None:
        bound = f"at least {kept['at_least']:.4g}"
    figures = f"{kept['ours']:10.2f} {kept['baseline']:10.2f} {kept['unit']:<6}"
    return f"{kept['name']:<46} {figures} {kept['ratio']:7.2f}  {bound:<16} {'ok' if kept['good'] else 'MISSED'}"
