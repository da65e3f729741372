"""What another package adds works as what modeldeck carries itself, and what is broken in it costs one line."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import write

from specs.model import Architecture, HubSource, ModelFamily, ModelSpec, Variant
from tests.extension.conftest import Ran, Shelf, install

Run = Callable[..., Ran]
SMALL = Architecture(
    architecture="llama",
    block_count=4,
    embedding_length=256,
    feed_forward_length=1024,
    head_count=4,
    head_count_kv=4,
    key_length=64,
    value_length=64,
    vocab_size=4096,
)
INI = """\
[parrot]
id = acme/parrot-GGUF
file = parrot-Q8_0.gguf
size_in_billions = 0.01
quantization = Q8_0
context_length = 4096
"""
SAID = "it says what it is told"


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    """A GGUF file of 10 million parameters; what is in its tensors matters to nobody here."""
    return write(SMALL, tmp_path / "made.gguf", "Q8_0").read_bytes()


@pytest.fixture
def parrot(tmp_path: Path, shelf: Shelf, weights: bytes) -> Path:
    """A spec file of the example's own kind, and its weights on the shelf."""
    shelf.add("acme/parrot-GGUF", {"parrot-Q8_0.gguf": weights})
    path = tmp_path / "parrot.ini"
    path.write_text(INI)
    return path


def marking(folder: Path, marker: Path) -> Path:
    """A package of all three kinds whose module leaves a file behind when it is imported."""
    entries = {
        "modeldeck.engines": {"Mark": "mark:Adapter"},
        "modeldeck.engines.pytorch": {"Mark": "mark:Adapter"},
        "modeldeck.hubs": {"mark": "mark:Hub"},
        "modeldeck.spec_readers": {"mark": "mark:read"},
    }
    return install(folder, "mark", entries, f"open({str(marker)!r}, 'w').close()\nAdapter = Hub = read = None\n")


# -- it is there


def test_the_added_names_are_words_of_the_command_line(modeldeck: Run) -> None:
    told = modeldeck("list", "--help").out
    assert "Echo" in told
    assert "shelf" in modeldeck("download", "--help").out
    for shell in ("bash", "zsh", "fish"):
        script = modeldeck("completion", shell).out
        assert "Echo" in script
        assert "huggingface modelscope shelf" in script
    wrong = modeldeck("list", "--engine", "Ecco")
    assert (wrong.code, "Echo" in wrong.err) == (2, True)


def test_help_completion_and_listing_import_nothing_of_it(modeldeck: Run, tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    packages = (marking(tmp_path / "site", marker),)
    for arguments in (
        ("list", "--help"),
        ("completion", "bash"),
        ("list", "--engine", "Mark"),
        ("show", "qwen3"),
        ("search", "x", "--hub", "huggingface"),
        ("hardware",),
        ("config",),
    ):
        assert "Mark" not in modeldeck(*arguments, packages=packages).err
    assert not marker.exists()
    assert modeldeck("search", "x", "--hub", "mark", packages=packages).code == 1
    assert marker.exists()


def test_the_engine_is_offered_for_the_formats_that_it_declares(modeldeck: Run, parrot: Path) -> None:
    engines = modeldeck("show", "parrot", "--specs", parrot, "--json").json["specs"][0]["engines"]
    assert engines == {"llama.cpp": ["Q8_0"], "Echo": ["Q8_0"]}
    assert "parrot" in modeldeck("list", "parrot", "--engine", "echo", "--specs", parrot).out
    assert "parrot" not in modeldeck("list", "parrot", "--engine", "MLX", "--specs", parrot).out


# -- the reader


def test_the_reader_reads_through_check_list_import_and_the_folder_of_specs(
    modeldeck: Run, parrot: Path, home: Path
) -> None:
    checked = modeldeck("specs", "check", parrot)
    assert (checked.code, checked.out) == (0, f"{parrot}: parrot, 1 spec, 1 variant\n")
    assert modeldeck("specs", "import", parrot).code == 0
    assert (home / "specs" / "parrot.ini").is_file()
    (listed,) = modeldeck("list", "parrot", "--json").json["families"]
    assert listed["source"] == str(home / "specs" / "parrot.ini")


def test_a_mistake_in_such_a_file_is_told_with_its_line(modeldeck: Run, tmp_path: Path) -> None:
    path = tmp_path / "wrong.ini"
    path.write_text("[parrot]\nid = acme/parrot\nid = acme/other\n")
    checked = modeldeck("specs", "check", path)
    assert checked.code == 1
    assert checked.out.startswith(f"{path}:3: ")


@pytest.mark.parametrize(
    "wrong",
    [
        ("id = acme/parrot-GGUF", "id = ../../parrot"),
        ("parrot-Q8_0.gguf", "../../../parrot-Q8_0.gguf"),
        ("[parrot]", "[../parrot]"),
        ("size_in_billions = 0.01", "size_in_billions = nan"),
        ("quantization = Q8_0", "quantization = ../Q8_0"),
    ],
)
def test_what_such_a_reader_gives_back_passes_the_same_checks(
    modeldeck: Run, tmp_path: Path, wrong: tuple[str, str]
) -> None:
    path = tmp_path / "wrong.ini"
    path.write_text(INI.replace(*wrong))
    checked = modeldeck("specs", "check", path)
    assert checked.code == 1
    assert checked.out.startswith(f"{path}: ")
    assert "expected" in checked.out


# -- the hub


def test_the_hub_lists_searches_and_is_read_without_a_download(modeldeck: Run, parrot: Path) -> None:
    (hit,) = modeldeck("search", "parrot", "--hub", "shelf", "--json").json["repositories"]
    assert (hit["hub"], hit["model_id"]) == ("shelf", "acme/parrot-GGUF")
    made = modeldeck("specs", "from", "acme/parrot-GGUF", "--hub", "shelf", "--json").json
    assert made["family"]["specs"][0]["hubs"] == {"shelf": {"id": "acme/parrot-GGUF"}}
    options = modeldeck("fit", "parrot", "--specs", parrot, "--json").json["options"]
    assert {one["engine"]: one["memory"]["basis"] for one in options} == dict.fromkeys(
        ("llama.cpp", "vLLM", "Echo"), "file"
    )


def test_the_hub_downloads_compares_sums_and_transfers_nothing_twice(
    modeldeck: Run, parrot: Path, shelf: Shelf, weights: bytes, home: Path
) -> None:
    done = modeldeck("download", "parrot", "--specs", parrot, "--json").json
    assert (done["hub"], done["total_bytes"], done["transferred_bytes"]) == ("shelf", len(weights), len(weights))
    path = Path(done["path"])
    assert path == home / "hubs" / "shelf" / "acme--parrot-GGUF" / "revisions" / "r1" / "parrot-Q8_0.gguf"
    assert path.read_bytes() == weights
    assert done["files"][0]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert (home / "hubs").stat().st_mode & 0o777 == 0o700
    again = modeldeck("download", "parrot", "--specs", parrot, "--json").json
    assert again["transferred_bytes"] == 0
    assert "parrot" in modeldeck("list", "--downloaded", "--specs", parrot).out
    path.write_bytes(weights[:-1] + b"?")
    assert modeldeck("library", "verify", "--specs", parrot).code == 1


def test_a_download_that_broke_off_goes_on_from_there(
    modeldeck: Run, parrot: Path, shelf: Shelf, weights: bytes
) -> None:
    shelf.break_off_after = 1_000_000
    done = modeldeck("download", "parrot", "--specs", parrot, "--json").json
    assert Path(done["path"]).read_bytes() == weights
    spans = [span for path, span, _ in shelf.asked if path.endswith(".gguf") and span]
    assert "bytes=1000000-" in spans


def test_the_library_shows_and_removes_what_came_from_it(modeldeck: Run, parrot: Path, home: Path) -> None:
    assert modeldeck("download", "parrot", "--specs", parrot).code == 0
    (entry,) = modeldeck("library", "--specs", parrot, "--json").json["entries"]
    assert entry["owner"] == "modeldeck's hubs"
    (key,) = entry["variants"]
    assert modeldeck("library", "remove", key, "--yes", "--specs", parrot).code == 0
    assert not list((home / "hubs").rglob("*.gguf"))


def test_its_token_goes_to_it_and_a_refusal_says_whose_it_is(modeldeck: Run, parrot: Path, shelf: Shelf) -> None:
    shelf.token = "shelf-secret"
    refused = modeldeck("download", "parrot", "--specs", parrot)
    assert refused.code == 1
    assert len(refused.err.splitlines()) == 1
    assert "HF_TOKEN" not in refused.err
    allowed = modeldeck("download", "parrot", "--specs", parrot, SHELF_TOKEN="shelf-secret")
    assert allowed.code == 0
    assert "shelf-secret" not in allowed.out + allowed.err


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"revision": "../../up"}, "gives acme/parrot-GGUF the revision"),
        ({"files": [{"name": "../../../parrot-Q8_0.gguf", "bytes": 4, "sha256": "0" * 64}]}, "leads out of its folder"),
        ({"files": [{"name": "parrot-Q8_0.gguf", "bytes": 4, "sha256": "../x"}]}, "a sum that is no SHA-256"),
        ({"files": [{"name": "parrot-Q8_0.gguf", "bytes": None, "sha256": None}]}, "does not say how large"),
        ({"files": [{"name": "parrot-Q8_0.gguf", "bytes": -4, "sha256": None}]}, "a size that is no count of bytes"),
        ({"files": None}, "the hub shelf of modeldeck-example 1.0 fails: TypeError"),
    ],
)
def test_a_listing_that_lies_is_refused_in_one_line_and_nothing_is_written(
    modeldeck: Run, parrot: Path, shelf: Shelf, home: Path, lie: dict[str, Any], said: str
) -> None:
    index = shelf.folder / "acme/parrot-GGUF/index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | lie))
    ran = modeldeck("download", "parrot", "--specs", parrot)
    assert ran.code == 1
    (line,) = ran.err.splitlines()
    assert said in line
    assert not list(home.rglob("*.gguf"))


def test_weights_with_a_wrong_sum_are_not_kept(modeldeck: Run, parrot: Path, shelf: Shelf, home: Path) -> None:
    file = shelf.folder / "acme/parrot-GGUF/parrot-Q8_0.gguf"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    ran = modeldeck("download", "parrot", "--specs", parrot)
    assert ran.code == 1
    assert "wrong sum" in ran.err
    assert not [path for path in (home / "hubs").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_another_hub_goes_on_where_the_added_one_dies(
    shelf: Shelf, hub: Any, weights: bytes, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends import downloads
    from backends.plans import Patience

    monkeypatch.syspath_prepend(site)
    shelf.add("acme/parrot-GGUF", {"parrot-Q8_0.gguf": weights})
    hub.add("acme/parrot-GGUF", {"parrot-Q8_0.gguf": weights})
    sources = tuple(HubSource(name, "acme/parrot-GGUF", "parrot-Q8_0.gguf") for name in ("shelf", "huggingface"))
    spec = ModelSpec("ggufv2", 0.01, ("Q8_0",), sources)
    variant = Variant(ModelFamily("parrot", 4096, ("en",), ("chat",), (spec,)), spec, "Q8_0")
    plan = downloads.plan(variant)
    assert plan.hub == "shelf"
    shelf.break_off_after = 1_000_000
    ended = threading.Event()
    said: list[downloads.Job] = []

    def hear(job: downloads.Job) -> None:
        said.append(job)
        shelf.dead = shelf.dead or job.progress.done_bytes > 0
        if job.progress.state in ("done", "failed"):
            ended.set()

    queue = downloads.Queue(hear, patience=Patience(tries=2, back_off_seconds=0.01))
    queue.add(plan)
    assert ended.wait(20)
    queue.close()
    assert (said[-1].progress.state, said[-1].plan.hub) == ("done", "huggingface")
    assert fetched_from(hub) == len(weights) - 1_000_000


def fetched_from(hub: Any) -> int:
    return sum(line["bytes"] for line in hub.log("-cdn"))


# -- the engine


def test_the_engine_answers_through_launch(modeldeck: Run, parrot: Path) -> None:
    wanted = ("launch", "--model-engine", "Echo", "--model-name", "parrot", "--specs", parrot, "--prompt", SAID)
    answered = modeldeck(*wanted, "--yes", "--json").json
    assert (answered["text"], answered["engine"]) == (SAID, "Echo")
    assert answered["stats"]["decoded_tokens"] == 6
    assert answered["stats"]["stop_reason"] == "end"
    assert modeldeck(*wanted, "--max-tokens", "2").out == "it says\n"


def test_the_engine_answers_in_a_process_of_its_own(modeldeck: Run, parrot: Path, home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text('engine_isolation = "process"\n')
    wanted = ("launch", "--model-engine", "Echo", "--model-name", "parrot", "--specs", parrot, "--prompt", SAID)
    assert modeldeck(*wanted, "--yes").out == f"{SAID}\n"


def test_the_line_that_adds_an_engine_keeps_the_package(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.engines.installed import extra_line

    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr("sys.prefix", "/home/someone/.local/share/uv/tools/modeldeck")
    assert extra_line("mlx").endswith("]' --with modeldeck-example")
    monkeypatch.setattr("sys.prefix", "/home/someone/.local/share/pipx/venvs/modeldeck")
    assert extra_line("mlx").endswith("]' && pipx inject modeldeck modeldeck-example")


# -- what is broken in it


def broken(folder: Path) -> Path:
    """A package that declares one of each, with a module that raises what nobody expects."""
    entries = {
        "modeldeck.engines": {"Wreck": "wreck:Adapter"},
        "modeldeck.engines.ggufv2": {"Wreck": "wreck:Adapter"},
        "modeldeck.hubs": {"wreck": "wreck:Hub"},
        "modeldeck.spec_readers": {"wreck": "wreck:read"},
    }
    return install(folder, "wreck", entries, "raise SystemExit('gone\\nall of it')\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list",), 0),
        (("fit", "qwen3", "--model-format", "ggufv2"), 0),
        (("doctor",), 0),
        (("search", "parrot", "--hub", "wreck"), 1),
        (("specs", "from", "acme/parrot", "--hub", "wreck"), 1),
        (("specs", "check", "file.wreck"), 1),
        (("download", "parrot"), 1),
    ],
)
def test_a_broken_package_costs_a_line(
    modeldeck: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = (broken(tmp_path / "site"),)
    monkeypatch.chdir(tmp_path)
    Path("file.wreck").write_text("anything")
    spec = Path("parrot.toml")
    spec.write_text(
        'name = "parrot"\n[[models]]\nsize_in_billions = 1\n[[models.specs]]\nformat = "ggufv2"\n'
        'quantizations = ["Q8_0"]\n[models.specs.hubs.wreck]\nid = "acme/parrot"\nfile = "parrot-Q8_0.gguf"\n'
    )
    ran = modeldeck(*arguments, "--specs", spec.absolute(), packages=packages)
    assert ran.code == code
    if code:
        lines = [line for line in (ran.out + ran.err).splitlines() if "wreck 1.0" in line]
        assert len(lines) == 1
        assert "SystemExit: gone all of it" in lines[0]


FAULTY = """
from backends.engines.engine import Chunk, EngineStatus

class Adapter:
    def status(self):
        return EngineStatus("ready")
    def load(self, weights, options, on_progress=None):
        if options.context == 16:
            raise ValueError("no\\x1b[31m luck")
        return Engine()

class Engine:
    name, context, where = "x", 64, "CPU"
    def stream(self, turns, sampling):
        if turns[-1].text == "fall":
            yield Chunk("one ", tokens=1)
            raise ZeroDivisionError("by nought")
        yield Chunk("no end")
    def complete(self, prompt, sampling):
        yield "a string"
    count_tokens = prompt_tokens = lambda self, text: len(text)
    def stop(self): pass
    def measured_bytes(self): return None
    def close(self): pass
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--prompt", "fall"), "fails while it answers: ZeroDivisionError: by nought"),
        (("--prompt", "anything"), "ends its answer without stats"),
        (("--prompt", "x", "--context", "16", "--force"), "cannot load parrot 0.01B: ValueError: no"),
    ],
)
def test_what_an_engine_raises_is_one_line_that_says_whose_it_is(
    modeldeck: Run, site: Path, parrot: Path, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    entries = {
        "modeldeck.engines": {"Faulty": "faulty:Adapter"},
        "modeldeck.engines.ggufv2": {"Faulty": "faulty:Adapter"},
    }
    packages = (site, install(tmp_path / "faulty", "faulty", entries, FAULTY))
    wanted = ("launch", "--model-engine", "Faulty", "--model-name", "parrot", "--specs", parrot, "--yes")
    ran = modeldeck(*wanted, *more, packages=packages)
    assert ran.code == 1
    (line,) = [line for line in ran.err.splitlines() if "faulty 1.0" in line]
    assert said in line
    assert "\x1b" not in line
    assert "mistake of modeldeck" not in ran.err


def test_a_broken_engine_says_so_where_engines_are_listed(modeldeck: Run, tmp_path: Path) -> None:
    report = modeldeck("doctor", "--json", packages=(broken(tmp_path / "site"),)).json
    assert "wreck 1.0 cannot be used" in report["engines"]["Wreck"]
    assert "wreck 1.0 cannot be used" in report["extensions"]["hub wreck"]


async def test_the_app_opens_and_says_what_was_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.app import Deck

    entries = {"modeldeck.engines": {"vllm": "clash:Adapter"}}
    monkeypatch.syspath_prepend(broken(tmp_path / "one"))
    monkeypatch.syspath_prepend(install(tmp_path / "two", "clash", entries))
    app = Deck()
    async with app.run_test(size=(120, 36)) as pilot:
        for _ in range(500):
            if app.catalog is not None:
                break
            await pilot.pause(0.02)
        assert app.catalog is not None
        assert any("clash 1.0" in problem for problem in app.catalog.problems)
        await pilot.press("down", "enter")
        assert app.is_running


@pytest.mark.parametrize(
    ("group", "name", "said"),
    [
        ("modeldeck.engines", "llama.cpp", "modeldeck has one of that name itself"),
        ("modeldeck.engines", "VLLM", "modeldeck has one of that name itself"),
        ("modeldeck.engines", "remote", "modeldeck has one of that name itself"),
        ("modeldeck.hubs", "huggingface", "modeldeck has one of that name itself"),
        ("modeldeck.spec_readers", "toml", "modeldeck has one of that name itself"),
        ("modeldeck.engines", "Echo", "modeldeck-example 1.0 adds one of that name already"),
        ("modeldeck.hubs", "../up", "its name must be letters, digits and dashes"),
        ("modeldeck.engines.onnx", "Echo", "there is no weight format 'onnx'"),
        ("modeldeck.themes", "x", "'modeldeck.themes' is no group that modeldeck reads"),
    ],
)
def test_a_name_that_clashes_is_refused_with_a_line(
    modeldeck: Run, site: Path, tmp_path: Path, group: str, name: str, said: str
) -> None:
    packages = (site, install(tmp_path / "site", "clash", {group: {name: "clash:x"}}))
    (problem,) = modeldeck("list", "parrot", "--json", packages=packages).json["problems"]
    assert problem.startswith("clash 1.0: ")
    assert said in problem
    listed = modeldeck("list", "llama-3", packages=packages)
    assert listed.code == 0
    assert len([line for line in listed.err.splitlines() if "clash 1.0" in line]) == 1


def test_every_package_on_the_path_is_found_once_and_the_first_one_counts(tmp_path: Path) -> None:
    from specs import extensions

    one = install(tmp_path / "one", "clash", {"modeldeck.hubs": {"here": "clash:x"}})
    two = install(tmp_path / "two", "clash", {"modeldeck.hubs": {"there": "clash:x"}})
    found = extensions.find((str(one), str(two), str(tmp_path / "missing"), os.fspath(one)))
    assert [one.name for one in found.extensions] == ["here"]
    assert found.problems == ()
