"""Runs every benchmark beside this file in turn and ends with one table of ratios: `make bench`.

Each runs in a process of its own, so that one's memory and threads are not another's. A benchmark has a main() that
returns 0 when its bounds hold, and adds rows to the table with benchrow.row(). Names or parts of names as arguments
choose some of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "standins"))


def main(wanted: list[str]) -> int:
    """Run them, print the table; 1 when a bound was missed or a benchmark failed."""
    from benchrow import ROWS_VARIABLE, line

    chosen = [one for one in sorted(HERE.glob("bench_*.py")) if not wanted or any(word in one.name for word in wanted)]
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="modeldeck-bench-") as folder:
        rows = Path(folder) / "rows.jsonl"
        path = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "standins"), os.environ.get("PYTHONPATH", "")))
        environment = os.environ | {ROWS_VARIABLE: str(rows), "PYTHONPATH": path}
        for one in chosen:
            print(f"\n{one.stem.removeprefix('bench_')}", flush=True)
            if subprocess.run([sys.executable, str(one)], cwd=ROOT, env=environment, check=False).returncode:
                failed.append(one.stem.removeprefix("bench_"))
        kept = [json.loads(text) for text in rows.read_text().splitlines()] if rows.exists() else []
    if kept:
        head = f"{'what':<46} {'ours':>10} {'beside':>10} {'':6} {'ratio':>7}  {'bound':<16}"
        print(f"\n{head.rstrip()}\n" + "\n".join(line(row) for row in kept))
    print(f"\n{len(chosen) - len(failed)} of {len(chosen)} benchmarks kept their bounds", end="")
    print(f"; not: {', '.join(failed)}" if failed else "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
