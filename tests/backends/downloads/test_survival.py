"""Downloads that are killed, shared, cancelled, or given a disk that does not take them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends import disk, downloads, fetching, transfer
from backends.errors import Cancelled, DiskFull, DownloadError, HubError
from backends.hubs import hf_cache
from backends.plans import Patience
from specs.model import Variant
from tests.backends.downloads.conftest import REPO, make_variant

SIZE = 12_000_000
GGUF = os.urandom(SIZE)
NAME = "tiny-Q4_K_M.gguf"
CDN = r"^GET /-cdn/"
OURS = """
import sys
sys.path[:0] = [{root!r}]
from tests.backends.downloads.conftest import make_variant
from backends import downloads
done = downloads.fetch(downloads.plan(make_variant(hubs=({hub!r},))))
print(done.transferred_bytes)
"""
THEIRS = f"""
from modelscope_hub import HubApi, HubConfig
print(HubApi(config=HubConfig()).download_file({REPO!r}, "model", {NAME!r}))
"""


def start_child(hub_name: str = "huggingface", code: str = OURS) -> subprocess.Popen[str]:
    code = code.format(root=str(Path(__file__).parents[3]), hub=hub_name)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ.copy())


def sent(hub: Any) -> int:
    return sum(line["bytes"] for line in hub.log() if "/-cdn/" in line["path"])


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


@pytest.mark.parametrize("killed_at", [1, 3_000_000, 11_000_000])
def test_after_kill_9_at_any_byte_only_the_rest_is_transferred(hub: Any, variant: Variant, killed_at: int) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, kind="hang", after=killed_at)
    child = start_child()
    part = hf_cache.part(REPO, downloads.plan(variant).files[0].etag or "")
    wait_until(lambda: part.exists() and part.stat().st_size >= killed_at)
    child.send_signal(signal.SIGKILL)
    child.wait()
    hub.calm()
    assert downloads.local_weights(variant) is None
    hub.forget()
    done = downloads.fetch(downloads.plan(variant))
    assert done.path.read_bytes() == GGUF
    assert sent(hub) == done.transferred_bytes == SIZE - killed_at


both_hubs = pytest.mark.parametrize("hub_name", ["huggingface", "modelscope"])


def part_of(hub_name: str) -> Path:
    plan = downloads.plan(make_variant(hubs=(hub_name,)))
    return fetching.part_file(plan, plan.files[0])


@both_hubs
def test_two_processes_at_once_transfer_a_file_once(hub: Any, hub_name: str) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, kind="slow", bps=12_000_000)
    children = [start_child(hub_name), start_child(hub_name)]
    moved = sorted(int(child.communicate()[0]) for child in children)
    assert moved == [0, SIZE]
    path = downloads.local_weights(make_variant(hubs=(hub_name,)))
    assert path is not None
    assert path.read_bytes() == GGUF
    assert sent(hub) == SIZE


@both_hubs
def test_when_one_of_two_processes_is_killed_the_other_goes_on_from_what_is_there(hub: Any, hub_name: str) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, kind="hang", after=5_000_000, times=1)
    first = start_child(hub_name)
    part = part_of(hub_name)
    wait_until(lambda: part.exists() and part.stat().st_size >= 5_000_000)
    second = start_child(hub_name)
    wait_until(lambda: len([line for line in hub.log("-cdn|/api/") if line["path"].startswith("/api/")]) >= 3)
    first.send_signal(signal.SIGKILL)
    first.wait()
    moved = int(second.communicate()[0])
    path = downloads.local_weights(make_variant(hubs=(hub_name,)))
    assert path is not None
    assert path.read_bytes() == GGUF
    assert moved == SIZE - 5_000_000
    assert sent(hub) == SIZE


def test_modelscopes_own_client_and_ours_wait_for_each_other(hub: Any) -> None:
    pytest.importorskip("modelscope_hub")
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, kind="slow", bps=12_000_000)
    part = part_of("modelscope")
    theirs = start_child(code=THEIRS)
    wait_until(part.exists)
    ours = start_child("modelscope")
    assert int(ours.communicate()[0]) == 0
    assert Path(theirs.communicate()[0].strip()).read_bytes() == GGUF
    assert sent(hub) == SIZE


def test_the_librarys_client_and_ours_wait_for_each_other(hub: Any, variant: Variant) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, kind="slow", bps=12_000_000)
    plan = downloads.plan(variant)
    part = hf_cache.part(REPO, plan.files[0].etag or "")
    done: list[downloads.Downloaded] = []
    ours = threading.Thread(target=lambda: done.append(downloads.fetch(plan)))
    ours.start()
    wait_until(part.exists)
    from huggingface_hub import hf_hub_download

    theirs = hf_hub_download(REPO, NAME, endpoint=hub.url, cache_dir=Path(os.environ["HF_HOME"]) / "hub", token=False)
    ours.join()
    assert theirs == str(done[0].path)
    assert sent(hub) == SIZE


@pytest.mark.parametrize("fault", [{"after": 1_000_000}, {"after": -1}])
def test_cancel_is_noticed_within_a_fifth_of_a_second_while_the_hub_hangs(
    hub: Any, variant: Variant, fault: dict[str, int]
) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, kind="hang", **fault)
    plan, cancel = downloads.plan(variant), threading.Event()
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            downloads.fetch(plan, cancel=cancel)
        except Cancelled as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: hub.control("GET", "log?match=-cdn&wait=0"))
    part = hf_cache.part(REPO, plan.files[0].etag or "")
    wait_until(lambda: part.stat().st_size >= fault["after"])
    cancel.set()
    thread.join(5)
    assert outcome
    assert downloads.plan(variant).files[0].present_bytes == max(0, fault["after"])


def test_a_disk_without_room_is_refused_before_anything_is_transferred(
    hub: Any, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, {NAME: GGUF})
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 5_000_000)
    with pytest.raises(DiskFull, match=r"12\.0 MB are needed and 5\.0 MB are free") as caught:
        downloads.fetch(downloads.plan(variant))
    assert (caught.value.needed_bytes, caught.value.free_bytes) == (SIZE, 5_000_000)
    assert sent(hub) == 0


def test_a_disk_that_fills_up_on_the_way_keeps_what_has_arrived(
    hub: Any, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, {NAME: GGUF})
    real, written = os.write, [0]

    def write(descriptor: int, content: Any) -> int:
        if written[0] > 4_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        written[0] += len(content)
        return real(descriptor, content)

    monkeypatch.setattr(transfer.os, "write", write)
    with pytest.raises(DiskFull):
        downloads.fetch(downloads.plan(variant))
    monkeypatch.undo()


def test_a_cache_that_cannot_be_written_is_one_clear_line(
    hub: Any, variant: Variant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.add(REPO, {NAME: GGUF})
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("HF_HUB_CACHE", str(blocked / "hub"))
    with pytest.raises(DownloadError, match=r"cannot write to the cache .* set HF_HOME"):
        downloads.fetch(downloads.plan(variant))


AS_NOBODY = """
import os, sys
sys.path[:0] = [{root!r}]
from backends import downloads
from backends.errors import BackendError
from tests.backends.downloads.conftest import make_variant
# One download elsewhere imports all that is imported late: the user below may not be able to read Python itself.
folders = {{name: os.environ[name] for name in ("HF_HOME", "MODELDECK_HOME")}}
os.environ.update(dict.fromkeys(folders, {elsewhere!r}))
downloads.fetch(downloads.plan(make_variant("Q8_0")))
os.environ.update(folders)
if os.geteuid() == 0:  # root writes everywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    open({probe!r}, "w")
except PermissionError:
    pass
else:
    sys.exit("the folder can be written")
try:
    print(downloads.fetch(downloads.plan(make_variant({quantization!r}))).path)
except BackendError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def from_a_read_only_cache(hub: Any, variant: Variant, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Weights in a cache that the downloading child may read and not write, whoever runs the tests."""
    with tempfile.TemporaryDirectory(prefix="modeldeck-") as open_to_all:  # tmp_path is its owner's alone
        for name in ("HF_HOME", "MODELDECK_HOME"):
            monkeypatch.setenv(name, f"{open_to_all}/{name}")
        hub.add(REPO, {NAME: GGUF, "tiny-Q8_0.gguf": GGUF[1:]})
        done = downloads.fetch(downloads.plan(variant))
        lying = [Path(open_to_all), *Path(open_to_all).rglob("*")]
        folders = [path for path in lying if path.is_dir()]
        for path in lying:
            path.chmod(0o555 if path.is_dir() else 0o444)

        def fetch(quantization: str) -> subprocess.CompletedProcess[str]:
            code = AS_NOBODY.format(
                root=str(Path(__file__).parents[3]),
                elsewhere=str(home),
                probe=str(hf_cache.environment.cache_folder() / "probe"),
                quantization=quantization,
            )
            return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

        try:
            yield fetch, done
        finally:
            for folder in folders:
                folder.chmod(0o755)


def test_whole_weights_in_a_read_only_cache_are_used_as_they_are(from_a_read_only_cache: Any) -> None:
    fetch, done = from_a_read_only_cache
    ran = fetch("Q4_K_M")
    assert (ran.returncode, ran.stdout.strip()) == (0, str(done.path)), ran.stderr


def test_a_download_into_a_read_only_cache_is_one_line_with_its_cure(from_a_read_only_cache: Any) -> None:
    fetch, _ = from_a_read_only_cache
    ran = fetch("Q8_0")
    (line,) = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert "cannot write to the cache" in line
    assert "permission denied" in line
    assert "set HF_HOME" in line


def test_a_repository_that_changes_between_two_files_is_said_and_the_rest_is_kept(hub: Any) -> None:
    hub.add(
        "maker/Tiny",
        {"model.safetensors": GGUF, "config.json": b"{}", "tokenizer.json": b'{"version": 1}'},
    )
    one = make_variant("none", model_format="pytorch", repo="maker/Tiny", file=None)
    plan = downloads.plan(one)

    def change(progress: downloads.Progress) -> None:
        if progress.file == "model.safetensors":
            (hub.root / "maker/Tiny/tokenizer.json").write_text('{"version": 2}')

    with pytest.raises(DownloadError, match="has changed on the hub"):
        downloads.fetch(plan, change)
    assert downloads.local_weights(one) is None
    hub.forget()
    done = downloads.fetch(downloads.plan(one))
    assert (done.path / "tokenizer.json").read_text() == '{"version": 2}'
    assert (done.path / "model.safetensors").read_bytes() == GGUF


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.gguf",
        "/etc/evil.gguf",
        "a/../../evil.gguf",
        "a//evil.gguf",
        "C:evil.gguf",
        "a\\evil.gguf",
        "x" * 300 + ".gguf",
        "a/" * 200 + "evil.gguf",
        "ev\nil.gguf",
    ],
)
def test_a_hostile_file_name_is_refused_before_it_touches_the_disk(
    hub: Any, name: str, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    from backends.hubs.hub import Listing, RepoFile
    from backends.hubs.huggingface import HuggingFaceHub

    listing = Listing("huggingface", REPO, "c" * 40, (RepoFile(name, 4, "a" * 64, "a" * 64),))
    monkeypatch.setattr(HuggingFaceHub, "listing", lambda *_, **__: listing)
    with pytest.raises(HubError, match="the repository lists") as caught:
        downloads.plan(make_variant(file=name))
    assert "\n" not in str(caught.value)
    assert not list(home.rglob("*evil*"))


def test_what_another_program_left_damaged_in_the_cache_is_found_and_replaced(hub: Any, variant: Variant) -> None:
    from huggingface_hub import hf_hub_download

    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, kind="corrupt", times=1)
    cache = Path(os.environ["HF_HOME"]) / "hub"
    theirs = Path(hf_hub_download(REPO, NAME, endpoint=hub.url, cache_dir=cache, token=False))
    assert theirs.read_bytes() != GGUF
    assert downloads.local_index().checked(variant) == "size"
    seen: list[downloads.Progress] = []
    done = downloads.fetch(downloads.plan(variant), seen.append)
    assert theirs == done.path
    assert done.path.read_bytes() == GGUF
    assert "verifying" in {progress.state for progress in seen}
    assert any("is damaged on this disk" in (progress.note or "") for progress in seen)
    assert downloads.local_index().checked(variant) == "sum"


def test_a_file_whose_sum_one_family_s_download_compared_is_checked_for_another_family_too(
    hub: Any, variant: Variant
) -> None:
    hub.add(REPO, {NAME: GGUF})
    other = replace(variant, family=replace(variant.family, name="tiny-by-another-name"))
    assert downloads.local_index().checked(other) is None
    path = downloads.fetch(downloads.plan(variant)).path
    index = downloads.local_index()
    assert (index.path(other), index.checked(other)) == (path, "sum")
    hub.add(REPO, {NAME: GGUF, "README.md": b"new"})  # another commit with the same file
    from huggingface_hub import hf_hub_download

    theirs = Path(hf_hub_download(REPO, NAME, endpoint=hub.url, cache_dir=path.parents[3], token=False))
    assert theirs != path
    assert downloads.local_index().checked(other) == "sum"


def test_another_program_s_copy_is_not_what_a_download_checked_elsewhere(
    hub: Any, variant: Variant, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, {NAME: GGUF})
    path = downloads.fetch(downloads.plan(variant)).path
    assert downloads.local_index().checked(variant) == "sum"
    theirs = home / ".lmstudio" / "models" / REPO / NAME
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(GGUF)
    path.unlink()
    monkeypatch.setenv("HOME", str(home))
    index = downloads.local_index()
    assert (index.path(variant), index.checked(variant)) == (theirs, "size")


def test_a_hub_that_fails_is_no_matter_when_nothing_is_missing(hub: Any, variant: Variant) -> None:
    hub.add(REPO, {NAME: GGUF})
    downloads.fetch(downloads.plan(variant))
    hub.fault(match=CDN, kind="refuse")
    assert downloads.fetch(downloads.plan(variant), patience=Patience(tries=1)).transferred_bytes == 0
