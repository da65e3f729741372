"""What docs/security.md promises, shown by behaviour: hostile repositories, tokens, sockets and modes of files."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai_standin import OpenAiStandin
from ttybench import TtySession

from backends.engines.engine import LoadOptions, Weights
from backends.errors import BackendError, EngineError
from tests.conftest import weights_cache

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_granted"  # the stand-in hub's own, for a repository that is gated
SERVER_KEY = "sk-nobody-may-read-this"
REPOSITORY = "acme/thing"

SPEC = """\
name = "thing"
context_length = 4096
abilities = ["generate"]

[[models]]
size_in_billions = 0.27

[[models.specs]]
format = "ggufv2"
quantizations = ["Q4_K_M"]

[models.specs.hubs.huggingface]
id = "acme/thing"
file = "thing-{quantization}.gguf"
"""


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def modeldeck(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command in this test's home."""
    return subprocess.run(
        [sys.executable, "-m", "tui", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        input="",
        cwd=ROOT,
        env=os.environ | environment,
        timeout=120,
        check=False,
    )


def files_below(*folders: Path) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that is there once hostile code has run."""
    return tmp_path / "hostile-code-has-run"


def hostile(folder: Path, marker: Path, *, safetensors: bool) -> Path:
    """A real tiny model with everything beside it that loaders have been known to run."""
    made = importlib.util.spec_from_file_location("make_weights", ROOT / "tests/backends/engines/make_weights.py")
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    sys.modules.setdefault("make_weights", module)
    made.loader.exec_module(module)
    shutil.copytree(module.tiny_folder(weights_cache()), folder)
    for sign in folder.glob("made-by-*"):
        sign.unlink()
    if not safetensors:
        for file in folder.glob("*.safetensors*"):
            file.unlink()
    code = f"open({str(marker)!r}, 'w').close()\nclass Evil: pass\nModel = ModelArgs = Evil\n"
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py"):
        (folder / name).write_text(code)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(marker)))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_evil.Evil",
        "AutoModelForCausalLM": "modeling_evil.Evil",
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["tokenization_evil.Evil", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


# -- no pickle, no code out of a repository


def test_a_repository_with_pickled_weights_is_refused_before_anything_is_fetched(
    hub: Any, tmp_path: Path, marker: Path, home: Path
) -> None:
    folder = hostile(tmp_path / "made", marker, safetensors=False)
    hub.add(REPOSITORY, {path.name: path for path in folder.iterdir()})
    for command in (("download", REPOSITORY), ("specs", "from", REPOSITORY), ("fit", REPOSITORY)):
        done = modeldeck(*command)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not [line for line in hub.log("pytorch_model.bin") if line["bytes"]]
    assert not marker.exists()
    assert not files_below(home / "hf")


def test_of_a_repository_with_code_and_pickles_only_tensors_and_settings_come(
    hub: Any, tmp_path: Path, marker: Path, home: Path
) -> None:
    folder = hostile(tmp_path / "made", marker, safetensors=True)
    hub.add(REPOSITORY, {path.name: path for path in folder.iterdir()})
    done = modeldeck("download", REPOSITORY, "--json")
    assert done.returncode == 0, done.stderr
    names = {file["name"] for file in json.loads(done.stdout)["files"]}
    assert {"config.json", "model.safetensors"} <= names
    assert not [name for name in names if name.endswith((".py", ".bin"))]
    assert not [line for line in hub.log(r"\.(py|bin)") if line["bytes"]]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["Transformers", "MLX"])
@pytest.mark.parametrize("known", [True, False], ids=["known-architecture", "unknown-architecture"])
def test_an_engine_runs_no_code_that_lies_beside_the_weights(
    engine: str, known: bool, tmp_path: Path, marker: Path
) -> None:
    pytest.importorskip({"Transformers": "transformers", "MLX": "mlx_lm"}[engine])
    from backends.engines.registry import adapter

    folder = hostile(tmp_path / "model", marker, safetensors=True)
    if not known:
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "evil", "model_file": "modeling_evil.py", "architectures": ["Evil"]}
        (folder / "config.json").write_text(json.dumps(config))
    weights = Weights(folder, "thing", "mlx" if engine == "MLX" else "pytorch", "none")
    try:
        adapter(engine).load(weights, LoadOptions(context=256)).close()
    except EngineError:
        assert not known or engine == "MLX"
    else:
        assert known
    assert not marker.exists()


@pytest.mark.parametrize("engine", ["Transformers", "vLLM", "SGLang", "MLX"])
def test_an_engine_refuses_a_folder_of_pickles(engine: str, tmp_path: Path, marker: Path) -> None:
    from backends.engines.registry import adapter

    folder = hostile(tmp_path / "model", marker, safetensors=False)
    with pytest.raises(BackendError):
        adapter(engine).load(Weights(folder, "thing", "pytorch", "none"), LoadOptions(context=256))
    assert not marker.exists()


def test_nothing_of_ours_reads_pickles_and_one_flag_alone_asks_for_remote_code() -> None:
    asking = set()
    for package in ("tui", "backends", "specs"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            assert "import pickle" not in text, path
            assert "torch.load(" not in text, path
            if "trust_remote_code=True" in text:
                asking.add(path.relative_to(ROOT).as_posix())
    assert asking == {"tui/cli/loading.py"}  # launch --trust-remote-code OWNER/NAME


def test_a_template_of_a_repository_cannot_leave_its_sandbox(marker: Path) -> None:
    pytest.importorskip("jinja2")
    from backends.engines.chat_template import ChatTemplate
    from backends.engines.engine import Turn

    escape = (
        "{% for c in ''.__class__.__mro__[1].__subclasses__() %}{% if c.__name__ == '_wrap_close' %}"
        f"{{{{ c.__init__.__globals__['system']('touch {marker}') }}}}{{% endif %}}{{% endfor %}}"
    )
    with pytest.raises(BackendError):
        ChatTemplate(escape, "", "").render([Turn("user", "hello")])
    assert not marker.exists()


# -- no path outside the caches


class Liar(BaseHTTPRequestHandler):
    """A hub whose listing names a file outside of every folder."""

    name = ""

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        body = b"x" * 64
        if "/api/models/" in self.path:
            files = [{"rfilename": self.name, "size": 64, "blobId": "a" * 40}, {"rfilename": "config.json", "size": 2}]
            body = json.dumps({"id": REPOSITORY, "sha": "c" * 40, "siblings": files}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize(
    "name",
    [
        "../../../outside-Q4_K_M.gguf",
        "/tmp/outside-Q4_K_M.gguf",
        "a/../../outside-Q4_K_M.gguf",
        "..\\outside-Q4_K_M.gguf",
        "C:\\outside-Q4_K_M.gguf",
        "\x1b]0;owned\x07-Q4_K_M.gguf",
    ],
)
def test_a_name_that_leads_outside_is_refused_and_nothing_is_written(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Liar,), {"name": name}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    spec = tmp_path / "thing.toml"
    spec.write_text(SPEC.replace('file = "thing-{quantization}.gguf"\n', ""))
    before = files_below(tmp_path)
    done = modeldeck("download", "thing", "--specs", spec)
    server.shutdown()
    server.server_close()
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "\x1b" not in done.stderr
    new = files_below(tmp_path) - before
    assert not [path for path in new if "outside" in path.name and "listings" not in path.parts]
    assert not Path("/tmp/outside-Q4_K_M.gguf").exists()


def test_a_download_writes_into_the_caches_and_the_home_only(hub: Any, tmp_path: Path, home: Path) -> None:
    hub.add(REPOSITORY, {"thing-Q4_K_M.gguf": os.urandom(100_000)})
    spec = tmp_path / "thing.toml"
    spec.write_text(SPEC)
    user = tmp_path / "user"
    user.mkdir()
    before = files_below(tmp_path)
    done = modeldeck("download", "thing", "--specs", spec, HOME=str(user))
    assert done.returncode == 0, done.stderr
    new = files_below(tmp_path) - before
    assert [path for path in new if path.suffix == ".gguf"]
    assert not [path for path in new if not path.is_relative_to(home)]
    assert not [path for path in new if path.is_symlink() and not path.resolve().is_relative_to(home / "hf")]


# -- tokens


@pytest.fixture
def loud(tmp_path: Path) -> dict[str, str]:
    """An environment in which every library logs all that it can, into a file and to standard error."""
    folder = tmp_path / "loud"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import logging, sys\n"
        f"logging.basicConfig(level=1, handlers=[logging.FileHandler({str(tmp_path / 'debug.log')!r}),"
        " logging.StreamHandler(sys.stderr)], force=True)\n"
        "logging.captureWarnings(True)\n"
        "logging.getLogger('loud').debug('the log is on')\n"
    )
    path = os.pathsep.join((str(folder), str(ROOT)))
    return {
        "PYTHONPATH": path,
        "HF_DEBUG": "1",
        "HF_HUB_VERBOSITY": "debug",
        "TRANSFORMERS_VERBOSITY": "debug",
        "OPENAI_LOG": "debug",
        "MODELDECK_LOG": "debug",
        "PYTHONASYNCIODEBUG": "1",
    }


def holds(secret: str, *folders: Path) -> list[Path]:
    """Files in which a text stands, archives and databases too, but for the hub's own store of tokens."""
    needle = secret.encode()
    return [path for path in files_below(*folders) if path.is_file() and needle in path.read_bytes()]


@pytest.mark.weights
@pytest.mark.xdist_group("weights")
def test_a_token_that_opened_a_gated_repository_stands_in_no_output_and_no_file(
    hub: Any, tmp_path: Path, home: Path, loud: dict[str, str], gemma_gguf: Path
) -> None:
    hub.add(REPOSITORY, {"thing-Q4_K_M.gguf": gemma_gguf}, gated="manual", granted=["alice"])
    spec = tmp_path / "thing.toml"
    spec.write_text(SPEC)
    refused = modeldeck("download", "thing", "--specs", spec, **loud)
    assert refused.returncode == 1
    done = modeldeck("download", "thing", "--specs", spec, HF_TOKEN=TOKEN, **loud)
    assert done.returncode == 0, done.stderr
    assert [line for line in hub.log("resolve") if line["auth"]]
    asked = ("launch", "--model-name", "thing", "--specs", spec, "--prompt", "Hello", "--max-tokens", "4")
    talked = modeldeck(*asked, HF_TOKEN=TOKEN, **loud)
    assert talked.returncode == 0, talked.stderr
    reported = modeldeck("doctor", HF_TOKEN=TOKEN, **loud)
    invalid = modeldeck("download", "thing", "--specs", spec, "--hub", "huggingface", HF_TOKEN="hf_wrong_one", **loud)
    for one in (refused, done, talked, reported, invalid):
        assert TOKEN not in one.stdout + one.stderr
        assert "hf_wrong_one" not in one.stdout + one.stderr
    assert "the log is on" in (tmp_path / "debug.log").read_text()
    for path in (home / "hf" / "token", home / "hf" / "stored_tokens"):
        assert not path.exists()
    shutil.rmtree(tmp_path / "hub")  # the stand-in knows its tokens
    assert not holds(TOKEN, tmp_path)
    assert not holds("hf_wrong_one", tmp_path)


def test_a_server_s_key_goes_to_the_server_and_stands_nowhere_else(
    tmp_path: Path, home: Path, loud: dict[str, str]
) -> None:
    pytest.importorskip("openai")
    server = OpenAiStandin(models=[{"id": "tiny", "max_model_len": 4096}])
    home.mkdir(parents=True)
    (home / "config.toml").write_text(f'remote_url = "{server.url}"\nremote_key_env = "BOX_KEY"\n')
    wanted = ("launch", "--model-engine", "remote", "--url", server.url, "--key-env", "BOX_KEY", "--model-name", "tiny")
    done = modeldeck(*wanted, "--prompt", "Hello", BOX_KEY=SERVER_KEY, **loud)
    listed = modeldeck("list", "--url", server.url, "--key-env", "BOX_KEY", BOX_KEY=SERVER_KEY, **loud)
    shown = modeldeck("config", "--json", BOX_KEY=SERVER_KEY, **loud)
    server.close()
    assert done.returncode == 0, done.stderr
    assert any(SERVER_KEY in key for key in server.keys)
    for one in (done, listed, shown):
        assert SERVER_KEY not in one.stdout + one.stderr
    assert not holds(SERVER_KEY, tmp_path)


def test_a_token_of_the_second_hub_stands_in_no_output_and_no_file(
    hub: Any, tmp_path: Path, home: Path, loud: dict[str, str]
) -> None:
    pytest.importorskip("modelscope_hub")
    hub.add(REPOSITORY, {"thing-Q4_K_M.gguf": os.urandom(50_000)}, private=True, granted=["alice"])
    spec = tmp_path / "thing.toml"
    spec.write_text(SPEC.replace("hubs.huggingface", "hubs.modelscope"))
    refused = modeldeck("download", "thing", "--specs", spec, **loud)
    assert refused.returncode == 1
    done = modeldeck("download", "thing", "--specs", spec, MODELSCOPE_API_TOKEN=TOKEN, **loud)
    assert done.returncode == 0, done.stderr
    for one in (refused, done):
        assert TOKEN not in one.stdout + one.stderr
    shutil.rmtree(tmp_path / "hub")
    assert not holds(TOKEN, tmp_path)


def test_the_queue_of_the_app_keeps_no_token_either(hub: Any, tmp_path: Path, home: Path, loud: dict[str, str]) -> None:
    hub.add(REPOSITORY, {"thing-Q4_K_M.gguf": os.urandom(50_000)}, gated="manual", granted=["alice"])
    spec = tmp_path / "thing.toml"
    spec.write_text(SPEC)
    program = f"""
import threading
from pathlib import Path
from backends import downloads
from specs.catalog import read_spec_file
(family,) = read_spec_file(Path({str(spec)!r}))
ended = threading.Event()
def hear(job):
    if job.progress.state in ("done", "failed"):
        print(job.progress, job.plan)
        ended.set()
queue = downloads.Queue(hear)
queue.add(downloads.plan(next(family.variants())))
assert ended.wait(30)
queue.close()
"""
    environment = os.environ | loud | {"HF_TOKEN": TOKEN}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "state='done'" in done.stdout, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    shutil.rmtree(tmp_path / "hub")
    assert not holds(TOKEN, tmp_path)


# -- sockets


def listening(pid: int) -> list[Any]:
    """Listening sockets of a process and of all below it."""
    try:
        whole = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    found = []
    for one in whole:
        try:
            found += [c for c in one.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
        except psutil.Error:
            continue
    return found


def test_the_app_listens_on_nothing(home: Path, hub: Any) -> None:
    environment = {"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    with TtySession([sys.executable, "-m", "tui"], 100, 30, env=environment) as session:
        assert session.wait_for(r"\d+ families") is not None, session.dump_text()
        assert listening(session.pid) == []
        for key in (b"\x1b", b"\x1b[17~", b"\x1b[18~", b"\x1b[15~", b"w"):  # downloads, chat, models, hardware
            session.send(key)
            session.quiesce()
            assert listening(session.pid) == []


@pytest.fixture
def under_way(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command and leaves it running."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tui", *map(str, arguments)]
        one = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.wait()
        for stream in (one.stdin, one.stdout, one.stderr):
            stream.close()


def test_a_download_listens_on_nothing(hub: Any, tmp_path: Path, under_way: Callable[..., Any]) -> None:
    hub.add(REPOSITORY, {"thing-Q4_K_M.gguf": os.urandom(2_000_000)})
    hub.fault(kind="slow", bps=500_000)
    spec = tmp_path / "thing.toml"
    spec.write_text(SPEC)
    running = under_way("download", "thing", "--specs", spec)
    looks = 0
    while running.poll() is None:
        assert listening(running.pid) == []
        looks += bool(psutil.Process(running.pid).net_connections(kind="inet"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(0.1)
    assert running.returncode == 0
    assert looks


@pytest.mark.weights
@pytest.mark.xdist_group("weights")
def test_an_engine_in_memory_listens_on_nothing(
    hub: Any, tmp_path: Path, under_way: Callable[..., Any], gemma_gguf: Path
) -> None:
    hub.add(REPOSITORY, {"thing-Q4_K_M.gguf": gemma_gguf})
    spec = tmp_path / "thing.toml"
    spec.write_text(SPEC)
    running = under_way(
        "launch", "--plain", "--model-name", "thing", "--specs", spec, "--max-tokens", "4", "--yes"
    )  # fmt: skip
    running.stdin.write("Hello\n")
    running.stdin.flush()
    assert running.stdout.read(1)  # the answer has begun: the model is in memory, and waits for the next line
    assert listening(running.pid) == []
    running.stdin.close()
    assert running.wait(30) == 0


# -- modes


@pytest.mark.weights
@pytest.mark.xdist_group("weights")
def test_what_holds_conversations_is_for_its_owner_only_whatever_the_umask(
    hub: Any, tmp_path: Path, home: Path, gemma_gguf: Path
) -> None:
    hub.add(REPOSITORY, {"thing-Q4_K_M.gguf": gemma_gguf})
    spec = tmp_path / "thing.toml"
    spec.write_text(SPEC)
    saved = tmp_path / "saved.md"
    lines = f"umask 000; exec {sys.executable} -m tui"
    said = f"Hello\\n/save {saved}\\n"
    for command in (
        f"printf '{said}' | ({lines} launch --plain --model-name thing --specs {spec} --max-tokens 4 --yes)",
        f"({lines} bench thing --specs {spec} --prompt-tokens 16 --max-tokens 4 --runs 1)",
        f"({lines} config --init)",
    ):
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    database = home / "modeldeck.sqlite3"
    private = list(home.glob("modeldeck.sqlite3*"))
    private += [*home.glob("*.log"), saved]
    assert database in private
    assert b"Hello" in b"".join(path.read_bytes() for path in private)
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in [path for path in home.iterdir() if path.is_dir() and path.name != "hf"]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_a_log_of_a_mistake_of_ours_is_for_its_owner_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.cli import main as entrance

    home.mkdir(parents=True, exist_ok=True)
    before = os.umask(0)
    try:
        monkeypatch.setattr(entrance, "_function", lambda command: 1 / 0)
        assert entrance.run(["list"]) == 1
    finally:
        os.umask(before)
    (log,) = home.glob("*.log")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_typed_token_is_for_its_owner_only(hub: Any, home: Path) -> None:
    from backends.hubs.token import keep_token

    before = os.umask(0)
    try:
        assert keep_token(TOKEN) == "alice"
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / "hf").stat().st_mode) == 0o700
    for name in ("token", "stored_tokens"):
        assert stat.S_IMODE((home / "hf" / name).stat().st_mode) == 0o600


def test_folders_are_made_private_with_all_above_them(tmp_path: Path) -> None:
    from backends.home import open_privately, private_folder

    before = os.umask(0)
    try:
        made = private_folder(tmp_path / "a" / "b" / "c")
        with open_privately(made / "file", "w") as file:
            file.write("text")
    finally:
        os.umask(before)
    for folder in (made, made.parent, made.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((made / "file").stat().st_mode) == 0o600
