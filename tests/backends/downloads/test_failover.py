"""Two hubs of one spec: the other goes on where one fails, when they hold the same files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from backends import downloads, fetching
from backends.downloads import Job, Queue
from backends.errors import Cancelled, HubError
from backends.hubs import modelscope
from tests.backends.downloads.conftest import REPO, make_variant

pytest.importorskip("modelscope_hub")

SIZE = 8_000_000
GGUF = os.urandom(SIZE)
NAME = "tiny-Q4_K_M.gguf"
BOTH = ("huggingface", "modelscope")
RESOLVE = r"^GET /[^/]+/[^/]+/resolve/"
MS_FILE = r"^GET /api/v1/models/[^/]+/[^/]+/repo\?"


def run_to_the_end(variant: Any, patience: Any, hub_name: str | None = None) -> list[Job]:
    said: list[Job] = []
    ended = threading.Event()

    def hear(job: Job) -> None:
        said.append(job)
        if job.progress.state in ("done", "failed"):
            ended.set()

    queue = Queue(hear, patience=patience)
    queue.add(downloads.plan(variant, hub_name))
    assert ended.wait(20)
    queue.close()
    return said


def sent(hub: Any) -> int:
    return sum(line["bytes"] for line in hub.log("-cdn"))


@pytest.mark.parametrize(("first", "broken"), [("huggingface", RESOLVE), ("modelscope", MS_FILE)])
def test_the_other_hub_goes_on_from_what_has_arrived(hub: Any, patience: Any, first: str, broken: str) -> None:
    hub.add(REPO, {NAME: GGUF})
    variant = make_variant(hubs=BOTH)
    hub.fault(match="^GET /-cdn/", times=1, kind="truncate", after=5_000_000)
    hub.fault(match=broken, skip=1, kind="status", status=503)
    said = run_to_the_end(variant, patience, first)
    last = said[-1]
    other = "modelscope" if first == "huggingface" else "huggingface"
    assert (last.progress.state, last.plan.hub) == ("done", other)
    assert any(f"going on from {other}, since {first} fails" in (job.progress.note or "") for job in said)
    assert sent(hub) == SIZE
    weights = downloads.local_weights(variant)
    assert weights is not None
    assert weights.read_bytes() == GGUF


def test_a_hub_with_other_bytes_is_no_substitute(hub: Any, patience: Any) -> None:
    hub.add(REPO, {NAME: GGUF}, ms=False)
    hub.add("maker/Other-GGUF", {NAME: GGUF[:-1]}, hf=False)
    from dataclasses import replace

    from specs.model import HubSource, Variant

    one = make_variant()
    sources = (one.spec.hubs[0], HubSource("modelscope", "maker/Other-GGUF", NAME.replace("Q4_K_M", "{quantization}")))
    variant = Variant(one.family, replace(one.spec, hubs=sources), one.quantization)
    hub.fault(match=RESOLVE, kind="status", status=503)
    said = run_to_the_end(variant, patience)
    assert (said[-1].progress.state, said[-1].plan.hub) == ("failed", "huggingface")


def test_damaged_bytes_are_not_simply_transferred_twice(hub: Any, patience: Any) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match="^GET /-cdn/", times=1, kind="corrupt")
    said = run_to_the_end(make_variant(hubs=BOTH), patience)
    assert said[-1].progress.state == "failed"
    assert "wrong sum" in (said[-1].progress.note or "")
    assert sent(hub) == SIZE


def test_modelscope_downloads_what_a_variant_needs_and_a_second_start_transfers_nothing(hub: Any, capfd: Any) -> None:
    hub.add("maker/Tiny", {"model.safetensors": GGUF, "config.json": b"{}", "pytorch_model.bin": b"pickle"})
    variant = make_variant("none", model_format="pytorch", repo="maker/Tiny", file=None, hubs=("modelscope",))
    seen: list[downloads.Progress] = []
    done = downloads.fetch(downloads.plan(variant), seen.append)
    assert {file.name for file in done.files} == {"model.safetensors", "config.json"}
    assert (done.path / "model.safetensors").read_bytes() == GGUF
    assert done.transferred_bytes == SIZE + 2
    counts = [progress.done_bytes for progress in seen]
    assert counts == sorted(counts)
    hub.forget()
    again = downloads.fetch(downloads.plan(variant))
    assert again.transferred_bytes == 0
    assert sent(hub) == 0
    assert downloads.local_weights(variant) == done.path
    assert capfd.readouterr().err == ""


def test_modelscopes_own_client_finds_what_was_downloaded(hub: Any) -> None:
    hub.add(REPO, {NAME: GGUF})
    done = downloads.fetch(downloads.plan(make_variant(hubs=("modelscope",))))
    hub.forget()
    from modelscope_hub import HubApi, HubConfig

    found = HubApi(config=HubConfig()).download_file(REPO, "model", NAME)
    assert found == done.path
    assert sent(hub) == 0


@pytest.mark.parametrize("after", [1_000_000, -1])
def test_cancelling_is_noticed_while_modelscope_hangs(hub: Any, after: int) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match="^GET /-cdn/", kind="hang", after=after)
    plan, cancel = downloads.plan(make_variant(hubs=("modelscope",))), threading.Event()
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            downloads.fetch(plan, cancel=cancel)
        except Cancelled as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    part = fetching.part_file(plan, plan.files[0])
    while not hub.control("GET", "log?match=-cdn&wait=0") or (after > 0 and not part.exists()):
        threading.Event().wait(0.01)
    while after > 0 and part.stat().st_size < after:
        threading.Event().wait(0.01)
    cancel.set()
    thread.join(3)
    assert outcome
    assert downloads.plan(make_variant(hubs=("modelscope",))).files[0].present_bytes == max(0, after)


def test_after_kill_9_modelscope_goes_on_with_the_rest(hub: Any) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match="^GET /-cdn/", kind="hang", after=6_000_000)
    root = str(Path(__file__).parents[3])
    code = (
        f"import sys; sys.path[:0] = [{root!r}]\n"
        "from tests.backends.downloads.conftest import make_variant\n"
        "from backends import downloads\n"
        "downloads.fetch(downloads.plan(make_variant(hubs=('modelscope',))))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ.copy())
    plan = downloads.plan(make_variant(hubs=("modelscope",)))
    part = fetching.part_file(plan, plan.files[0])
    while not part.exists() or part.stat().st_size < 5_000_000:
        threading.Event().wait(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    held = part.stat().st_size
    hub.calm()
    hub.forget()
    done = downloads.fetch(plan)
    assert done.path.read_bytes() == GGUF
    assert sent(hub) == SIZE - held


def test_without_the_client_the_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope_hub", None)
    with pytest.raises(HubError, match=r"install it with: uv tool install 'modeldeck\[modelscope\]'"):
        modelscope.ModelScopeHub().listing("maker/Tiny")
