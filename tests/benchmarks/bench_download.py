"""How fast a download is beside huggingface_hub's own client: bytes from a loopback hub, sha256 included on our side.

Each client runs in a process of its own against the same hub in a third; rows are the best of some runs, as a ratio.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import benchrow

ROOT = Path(__file__).parents[2]
REPO, NAME = "maker/Large-GGUF", "large-Q4_K_M.gguf"

OURS = """
import time
from tests.backends.downloads.conftest import make_variant
from backends import downloads
import filelock
plan = downloads.plan(make_variant(repo="maker/Large-GGUF", file="large-{quantization}.gguf"))
began = time.perf_counter()
downloads.fetch(plan)
print(time.perf_counter() - began)
"""
THEIRS = """
import time
import huggingface_hub.file_download
from huggingface_hub import constants, hf_hub_download
constants.DOWNLOAD_CHUNK_SIZE = 256 << 10
began = time.perf_counter()
hf_hub_download("maker/Large-GGUF", "large-Q4_K_M.gguf")
print(time.perf_counter() - began)
"""


@contextmanager
def loopback_hub(folder: Path) -> Iterator[str]:
    """A hub in a process of its own."""
    command = [sys.executable, str(ROOT / "tests/standins/hubd.py"), str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[-1]
    finally:
        server.kill()
        server.wait()


def seconds(code: str, url: str) -> float:
    """One download into an empty cache by a fresh process."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "HF_ENDPOINT": url,
            "HF_HOME": home,
            "MODELDECK_HOME": home,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests/standins"))),
        }
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE)
        return float(done.stdout)


def main(arguments: list[str] | None = None) -> int:
    """Print one row a client and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=2048, help="size of the file (default %(default)s)")
    parser.add_argument("--runs", type=int, default=3)
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / REPO
        target.mkdir(parents=True)
        with (target / NAME).open("wb") as file:
            file.truncate(wanted.mib << 20)
        with loopback_hub(Path(folder)) as url:
            ours, theirs = [], []
            for _ in range(wanted.runs):
                theirs.append(seconds(THEIRS, url))
                ours.append(seconds(OURS, url))
        shutil.rmtree(target)
    size = wanted.mib << 20
    mine, other = size / min(ours) / 1e6, size / min(theirs) / 1e6
    good = benchrow.row("download, sha256 included", mine, other, "MB/s", at_least=0.9, baseline_name="hf_hub_download")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
