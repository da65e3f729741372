"""What looking for weights on this disk costs at the start, in a cache of a thousand repositories."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import benchrow

REPOSITORIES = 1000
BUDGET = 3.0
"""Times the least: listing the same folders once."""
ASK_BUDGET = 8.0
"""The same for a look and the whole catalog asked of it, a third of which is there."""


def main() -> int:
    """A row a measure; 1 when a bound was missed."""
    with tempfile.TemporaryDirectory(prefix="modeldeck-bench-") as folder:
        home = Path(folder)
        os.environ |= {
            "HF_HOME": str(home / "hf"),
            "MODELSCOPE_CACHE": str(home / "ms"),
            "MODELDECK_HOME": str(home / "deck"),
            "HOME": str(home),
        }
        from backends.local_index import LocalIndex
        from specs.catalog import load_catalog

        catalog = load_catalog()
        variants = [variant for family in catalog.families for variant in family.variants()]
        _fill(home / "hf" / "hub", [variant.model_id for variant in variants])
        walk, least = _best(LocalIndex), _best(lambda: _walk(home / "hf" / "hub"))
        kept = [
            benchrow.row(
                f"look through {REPOSITORIES:,} repositories",
                walk,
                least,
                "ms",
                at_most=BUDGET,
                baseline_name="listing the folders once",
            )
        ]

        def ask() -> int:
            index = LocalIndex()
            return sum(index.path(variant) is not None for variant in variants)

        print(f"  {ask():,} of {len(variants):,} variants are there")
        kept.append(
            benchrow.row(
                f"look, and ask for {len(variants):,} variants",
                _best(ask),
                least,
                "ms",
                at_most=ASK_BUDGET,
                baseline_name="listing the folders once",
            )
        )
    return 0 if all(kept) else 1


def _fill(cache: Path, model_ids: list[str]) -> None:
    """Repositories as huggingface_hub leaves them: a blob, a link to it in a snapshot, and the branch's commit."""
    names = list(dict.fromkeys(model_ids))[:REPOSITORIES]
    names += [f"maker/Other-{number}-GGUF" for number in range(REPOSITORIES - len(names))]
    for model_id in names:
        folder = cache / f"models--{model_id.replace('/', '--')}"
        snapshot = folder / "snapshots" / ("c" * 40)
        snapshot.mkdir(parents=True)
        (folder / "blobs").mkdir()
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("c" * 40)
        for name in ("config.json", "model.safetensors", f"{model_id.rpartition('/')[2].lower()}-Q4_K_M.gguf"):
            blob = folder / "blobs" / f"{hash((model_id, name)) & 0xFFFFFFFF:064x}"
            blob.write_bytes(b"{}")
            (snapshot / name).symlink_to(Path("../../blobs") / blob.name)


def _walk(cache: Path) -> int:
    """The least that a look can cost: the repositories, their snapshots, and the branch."""
    count = 0
    for repository in os.scandir(cache):
        for snapshot in os.scandir(Path(repository.path) / "snapshots"):
            count += snapshot.is_dir()
        count += len((Path(repository.path) / "refs" / "main").read_text())
    return count


def _best(work: Callable[[], object], rounds: int = 5) -> float:
    """The fastest of some rounds, in milliseconds."""
    fastest = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest * 1000


if __name__ == "__main__":
    raise SystemExit(main())
