"""The example package, built as a wheel and installed into a folder of its own, and the shelf that its hub asks."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pip install --target` leaves it: the example's module and its dist-info."""
    wheels = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(command, cwd=HERE, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as built:
        built.extractall(folder)
    return folder


def install(folder: Path, name: str, entries: dict[str, dict[str, str]], module: str = "") -> Path:
    """A package of this name and version 1.0 that declares these entry points; module: the text of NAME.py."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n")
    lines = [
        line
        for group, points in entries.items()
        for line in (f"[{group}]", *(f"{point} = {target}" for point, target in points.items()), "")
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (folder / f"{name.replace('-', '_')}.py").write_text(module)
    return folder


@dataclass
class Shelf:
    """A web folder with ranges, that can be told to break off or to ask for a token."""

    url: str
    folder: Path
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Path, range and authorization of each request."""
    break_off_after: int | None = None
    """Bytes after which the next file ends; None: never."""
    dead: bool = False
    """Whether every file is refused from now on."""
    token: str | None = None

    def add(self, model_id: str, files: dict[str, bytes]) -> None:
        """Publish a repository."""
        place = self.folder / model_id
        place.mkdir(parents=True)
        listed = []
        for name, content in files.items():
            (place / name).write_bytes(content)
            listed.append({"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
        (place / "index.json").write_text(json.dumps({"revision": "r1", "files": listed}))
        names = sorted(path.parent.relative_to(self.folder).as_posix() for path in self.folder.glob("*/*/index.json"))
        (self.folder / "index.json").write_text(json.dumps(names))


@pytest.fixture
def shelf(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """The hub of the example, on loopback."""
    folder = tmp_path / "shelf"
    folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            span = self.headers.get("Range")
            made.asked.append((self.path, span, self.headers.get("Authorization")))
            path = folder / self.path.lstrip("/")
            is_index = path.name == "index.json"
            if made.token and self.headers.get("Authorization") != f"Bearer {made.token}":
                return self.send_error(401)
            if not path.is_file():
                return self.send_error(404)
            if made.dead and not is_index:
                return self.send_error(503)
            content = path.read_bytes()
            start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
            stop = int(span.rpartition("-")[2] or len(content) - 1) + 1 if span else len(content)
            body = content[start:stop]
            self.send_response(206 if span else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(content)}")
            self.end_headers()
            if made.break_off_after is not None and not is_index:
                body, made.break_off_after = body[: made.break_off_after], None
            self.wfile.write(body)
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Shelf(f"http://127.0.0.1:{server.server_port}", folder)
    monkeypatch.setenv("SHELF_ENDPOINT", made.url)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Ran:
    """What one call came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def modeldeck(site: Path) -> Callable[..., Ran]:
    """Run modeldeck with the example installed; packages: further folders, in place of it."""

    def run(*arguments: object, packages: tuple[Path, ...] | None = None, **environment: str) -> Ran:
        places = (site,) if packages is None else packages
        path = os.pathsep.join(map(str, (ROOT, *places)))
        done = subprocess.run(
            [sys.executable, "-m", "tui", *map(str, arguments)],
            input="",
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": path} | environment,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
