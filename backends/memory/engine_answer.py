"""The compute buffers that llama.cpp itself would reserve, asked of it without loading weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backends import home
from backends.errors import EngineError
from backends.memory.gguf import GgufHeader

DEADLINE_SECONDS: Final = 20.0
"""A header of 6.5 MB answers in 0.4 s and an import of llama_cpp in a second; a slow disk takes longer."""

HOST: Final = ("CPU", "CUDA_Host", "Host")
"""Names of buffers that lie in RAM."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Compute and output buffers of one load, by where they lie."""

    device_bytes: int
    """On the accelerators together; 0 when the build has none."""
    host_bytes: int
    library: str
    """The version that answered."""

    @property
    def total_bytes(self) -> int:
        """All of them."""
        return self.device_bytes + self.host_bytes


def library_version() -> str | None:
    """The installed llama-cpp-python; None: there is none."""
    from importlib import metadata

    try:
        return metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        return None


def ask(
    path: Path,
    header: GgufHeader,
    *,
    context: int,
    cache_type: str = "f16",
    ubatch: int = 512,
    outputs: int = 1,
    flash_attention: bool = True,
    gpu_layers: int | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Answer | None:
    """What llama.cpp would reserve for this load; None: it is not installed.

    Args:
        path: the GGUF file, or a file that holds only its header.
        header: the same, read whole.
        context: tokens.
        cache_type: "f16", "q8_0" or "q4_0".
        ubatch: tokens computed at once.
        outputs: tokens whose logits are wanted at once; the engine of ours asks for one.
        flash_attention: whether it is on.
        gpu_layers: layers on accelerators; None: all that the build can.
        deadline_seconds: after this the child is killed.

    Raises:
        EngineError: llama.cpp does not know the architecture, aborted, or did not answer in time.
    """
    version = library_version()
    if version is None:
        return None
    question: dict[str, Any] = {
        "context": context,
        "cache_type": cache_type,
        "ubatch": ubatch,
        "outputs": outputs,
        "flash_attention": flash_attention,
        "gpu_layers": gpu_layers,
    }
    kept = _cache_file(path, header, question, version)
    found = _read(kept)
    if found is not None:
        return Answer(found["device_bytes"], found["host_bytes"], version)
    with contextlib.ExitStack() as stack:
        whole = path
        if path.stat().st_size < header.end_bytes:
            whole = stack.enter_context(_sparse_copy(path, header))
        reply = _child({**question, "path": str(whole)}, deadline_seconds)
    if "error" in reply:
        raise EngineError("llama.cpp cannot say what this file would take", str(reply["error"]))
    device = host = 0
    for buffer in reply["buffers"]:
        if buffer["kind"] not in {"compute", "output"}:
            # No-alloc loads report 0 for weights and caches: those follow from the formulas.
            continue
        if buffer["device"] in HOST:
            host += buffer["bytes"]
        else:
            device += buffer["bytes"]
    _write(kept, {"device_bytes": device, "host_bytes": host})
    return Answer(device, host, version)


@contextlib.contextmanager
def _sparse_copy(path: Path, header: GgufHeader) -> Any:
    """The header in a file as long as the real one; sparse, so that it takes only its header on the disk."""
    with tempfile.TemporaryDirectory(prefix="modeldeck-") as folder:
        copy = Path(folder) / "header.gguf"
        with path.open("rb") as source, copy.open("wb") as target:
            target.write(source.read(header.header_bytes))
            target.truncate(header.end_bytes)
        yield copy


def _child(question: Mapping[str, Any], deadline_seconds: float) -> dict[str, Any]:
    environment = dict(os.environ, PYTHONSAFEPATH="1")
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "backends.engines.llama_answer"],
            input=json.dumps(question) + "\n",
            capture_output=True,
            text=True,
            timeout=deadline_seconds,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"llama.cpp did not answer within {deadline_seconds:.0f} s") from error
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        told = done.stderr.strip().splitlines()
        raise EngineError("llama.cpp gave up on this file", told[-1] if told else f"exit code {done.returncode}")
    reply: dict[str, Any] = json.loads(lines[-1])
    return reply


def _cache_file(path: Path, header: GgufHeader, question: Mapping[str, Any], version: str) -> Path:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(header.header_bytes))
    digest.update(json.dumps(question, sort_keys=True).encode())
    digest.update(version.encode())
    return home.cache_folder() / "engine-answers" / f"{digest.hexdigest()[:32]}.json"


def _read(path: Path) -> dict[str, int] | None:
    try:
        document = json.loads(path.read_text())
        return {"device_bytes": int(document["device_bytes"]), "host_bytes": int(document["host_bytes"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, document: Mapping[str, int]) -> None:
    """Keep an answer; a full disk costs only the next question."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(document))
        part.replace(path)
