"""How fast a download is beside the hubs' own clients, what a kill -9 costs, and what keys feel of two downloads.

Each client runs in a process of its own against the same loopback hub in a third; speeds are the best of some runs, as
a ratio, with the sums included on our side.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import benchrow
from ttybench import TtySession, encode_key, pct

ROOT = Path(__file__).parents[2]
REPO, NAME = "maker/Large-GGUF", "large-Q4_K_M.gguf"
SMALLER_REPO, SMALLER_MIB = "maker/Smaller-GGUF", 512
KEY_BOUND_MS = 50.0
REPEAT_BOUND_BYTES = 8 << 20
KILLS = 5
LINE_BYTES_PER_SECOND = 120_000_000
"""Of one transfer, where the speed is not what is measured: a gigabit line."""

OURS = """
import time
from tests.backends.downloads.conftest import make_variant
from backends import downloads
import filelock
{imports}
plan = downloads.plan(make_variant(repo={repo!r}, file="large-{{quantization}}.gguf", hubs=({hub!r},)))
began = time.perf_counter()
downloads.fetch(plan)
print(time.perf_counter() - began)
"""
THEIRS = {
    "huggingface": """
import time
import huggingface_hub.file_download
from huggingface_hub import constants, hf_hub_download
constants.DOWNLOAD_CHUNK_SIZE = 256 << 10
began = time.perf_counter()
hf_hub_download("maker/Large-GGUF", "large-Q4_K_M.gguf")
print(time.perf_counter() - began)
""",
    "modelscope": """
import time
from modelscope_hub import HubApi, HubConfig
api = HubApi(config=HubConfig())
listed = {one.path: one for one in api.list_repo_files("maker/Large-GGUF", "model")}["large-Q4_K_M.gguf"]
began = time.perf_counter()
api.download_file("maker/Large-GGUF", "model", "large-Q4_K_M.gguf", expected_sha256=listed.sha256)
print(time.perf_counter() - began)
""",
}
THEIR_NAMES = {"huggingface": "hf_hub_download", "modelscope": "ModelScope's client"}
APP = """
import sys, threading
from pathlib import Path
from tui.terminal import claim_terminal
claim_terminal(Path({log!r}))
from backends.downloads import Queue, plan
from tests.backends.downloads.conftest import make_variant
from tui.app import Deck
from tui.services import Services, open_queue_with
from functools import partial

deck = Deck(Services(open_queue=partial(open_queue_with, at_once=2)))
def begin():
    queue = deck.download_queue()
    for number in (1, 2):
        queue.add(plan(make_variant(repo=f"maker/Large{{number}}-GGUF", file="large-{{quantization}}.gguf")))
if {downloading!r}:
    threading.Timer(0.5, begin).start()
deck.run()
"""


@contextmanager
def loopback_hub(folder: Path, *arguments: str) -> Iterator[str]:
    """A hub in a process of its own."""
    command = [sys.executable, str(ROOT / "tests/standins/hubd.py"), str(folder), "--port", "0", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[-1]
    finally:
        server.kill()
        server.wait()


def environment(url: str, home: str | Path) -> dict[str, str]:
    """Every folder under one, both hubs at the loopback one, and every bar silent."""
    return os.environ | {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "MODELDECK_HOME": str(home),
        "MODELSCOPE_ENDPOINT": url,
        "MODELSCOPE_CACHE": f"{home}/modelscope",
        "MODELSCOPE_HOME": f"{home}/modelscope-home",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TQDM_DISABLE": "1",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests/standins"))),
    }


def ours(hub: str, repo: str = REPO) -> str:
    """A program that downloads with modeldeck; imports are no part of what is timed, in either client."""
    imports = "from backends.hubs import modelscope; modelscope.load_library()" if hub == "modelscope" else ""
    return OURS.format(hub=hub, repo=repo, imports=imports)


def seconds(code: str, url: str) -> float:
    """One download into an empty cache by a fresh process."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=environment(url, home), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return float(done.stdout)


def publish(folder: Path, repo: str, mib: int) -> None:
    """A repository with one sparse file."""
    target = folder / repo
    target.mkdir(parents=True)
    with (target / NAME).open("wb") as file:
        file.truncate(mib << 20)


def speed(url: str, hub: str, mib: int, runs: int) -> bool:
    """A row of one hub: ours beside its own client, in turn."""
    mine, other = [], []
    for _ in range(runs):
        other.append(seconds(THEIRS[hub], url))
        mine.append(seconds(ours(hub), url))
    size = (mib << 20) / 1e6
    return benchrow.row(
        f"download {hub}, sha256 included",
        size / min(mine),
        size / min(other),
        "MB/s",
        at_least=0.9,
        baseline_name=THEIR_NAMES[hub],
    )


def asked(url: str, what: str, method: str = "GET", body: object = None) -> object:
    """The stand-in hub's own controls."""
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/-/{what}", content, method=method)) as answer:
        return json.load(answer)


def kills(url: str, hub: str) -> bool:
    """A row of one hub: bytes that the hub sent twice because of a kill -9 on the way, the median of some.

    At a line's speed: what the kill loses is what lay unread in this machine's sockets, and without a limit, or while
    other programs hold the processor, that is tens of megabytes.
    """
    again = []
    for number in range(KILLS):
        with tempfile.TemporaryDirectory() as home:
            asked(url, "log", "DELETE")
            command, inside = [sys.executable, "-c", ours(hub, SMALLER_REPO)], environment(url, home)
            first = subprocess.Popen(command, env=inside, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wanted = (SMALLER_MIB << 20) * (number + 1) // (KILLS + 2)
            while on_disk(Path(home)) < wanted:
                time.sleep(0.001)
            first.send_signal(signal.SIGKILL)
            first.wait()
            subprocess.run(command, env=inside, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            lines = asked(url, "log?match=-cdn")
            assert isinstance(lines, list)
            again.append(sum(line["bytes"] for line in lines) - (SMALLER_MIB << 20))
    name = f"bytes again after kill -9, {hub}"
    return benchrow.row(
        name, statistics.median(again) / 1e6, REPEAT_BOUND_BYTES / 1e6, "MB", at_most=1.0, baseline_name="the bound"
    )


def on_disk(home: Path) -> int:
    """Bytes of the file that have arrived, whole or not."""
    sizes = [path.stat().st_size for path in home.rglob("*") if path.is_file() and path.stat().st_size > 1 << 20]
    return max(sizes, default=0)


def keys(url: str, folder: Path) -> bool:
    """A row: milliseconds from key to screen in the list of families, with two downloads at full speed and without."""
    found = {}
    for downloading in (False, True):
        home = folder / f"home-{downloading}"
        home.mkdir()
        program = home / "app.py"
        program.write_text(APP.format(log=str(home / "log" / "app.log"), downloading=downloading))
        session = TtySession([sys.executable, str(program)], 120, 40, env=environment(url, home))
        with session:
            session.wait_for(r"[●◐○✕] \w", 60)
            session.pump(2.5)
            session.emu.region = (0, 1, 43, 38)
            session.emu.lines.clear()
            samples = [session.key(encode_key(key), settle=0.02, limit=2) for key in ["down", "up"] * 40]
            lines = asked(url, "log?match=-cdn&wait=0")
            assert isinstance(lines, list)
            under_way = sum(not line["done"] for line in lines)
            if under_way != 2 * downloading:
                raise RuntimeError(f"{under_way} transfers were under way to the end:\n{session.dump_text()}")
            found[downloading] = [one.first_ms for one in samples if one.first_ms is not None]
        how = "with two downloads" if downloading else "alone"
        print(f"  keys {how}: median {statistics.median(found[downloading]):.1f} ms")
    name, p95 = "keys with two downloads, p95", pct(found[True], 0.95) or 0.0
    return benchrow.row(name, p95, KEY_BOUND_MS, "ms", at_most=1.0, baseline_name="the bound")


def main(arguments: list[str] | None = None) -> int:
    """Print a row for each hub and measure; 1 when a bound was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=2048, help="size of the file (default %(default)s)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=("speed", "kills", "keys"))
    wanted = parser.parse_args(arguments)
    kept: list[bool] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish(folder / "hub", REPO, wanted.mib)
        publish(folder / "hub", SMALLER_REPO, SMALLER_MIB)
        for number in (1, 2):
            publish(folder / "hub", f"maker/Large{number}-GGUF", 4096)
        if wanted.only in (None, "speed"):
            with loopback_hub(folder / "hub") as url:
                kept += [speed(url, hub, wanted.mib, wanted.runs) for hub in THEIRS]
        with loopback_hub(folder / "hub", "--rate", str(LINE_BYTES_PER_SECOND)) as url:
            if wanted.only in (None, "kills"):
                kept += [kills(url, hub) for hub in THEIRS]
            if wanted.only in (None, "keys"):
                for number in (1, 2):  # the hub sums a file when it is first asked for it
                    urllib.request.urlopen(f"{url}/api/models/maker/Large{number}-GGUF?blobs=true").close()
                kept.append(keys(url, folder))
        shutil.rmtree(folder / "hub")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
