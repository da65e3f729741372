"""The documents keep their word: commands run, made parts are current, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from known_models import LLAMA32_1B
from openai_standin import OpenAiStandin
from synthetic import write

from tui.cli.arguments import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
BLOCK = re.compile(
    r"(?:<!-- (?P<word>[a-z ]+): (?P<said>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)\n```", re.DOTALL
)
VERDICT = re.compile(r"# exits with (\d+)$")
SERVER = "http://box:8000/v1"


@dataclass(frozen=True)
class Block:
    """A fenced block with what a comment above it says."""

    page: str
    language: str
    text: str
    word: str | None
    """"file", "not run", "with" or "needs"."""
    said: str

    @property
    def commands(self) -> list[str]:
        """What stands behind "$ ", with lines that go on put together."""
        joined = self.text.replace("\\\n", "")
        return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page.name, found["language"], found["text"], found["word"], found["said"] or "")
        for found in BLOCK.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [page for page in PAGES if any(b.language == "console" and b.word != "not run" for b in blocks(page))]


@pytest.fixture
def example_site(tmp_path: Path) -> Path:
    """The example extension as it is once installed."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT / "tests" / "extension", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("modeldeck_example-*.whl")
    with zipfile.ZipFile(wheel) as built:
        built.extractall(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def shell(tmp_path: Path, hub: Any, gemma_gguf: Path, example_site: Path) -> Iterator[Callable[..., Any]]:
    """Runs a line as a user's shell would, in a home of its own; the hub has the weights that the documents name."""
    small = replace(LLAMA32_1B, block_count=2, embedding_length=256, feed_forward_length=512, vocab_size=1024)
    hub.add("unsloth/Qwen3-0.6B-GGUF", {"Qwen3-0.6B-Q4_K_M.gguf": gemma_gguf})
    hub.add("Qwen/Qwen3-0.6B-GGUF", {"Qwen3-0.6B-Q8_0.gguf": write(small, tmp_path / "small.gguf", "Q8_0")})
    server = OpenAiStandin(models=[{"id": "tiny", "max_model_len": 4096}])
    place, commands = tmp_path / "user", tmp_path / "bin"
    (place / "here").mkdir(parents=True)
    commands.mkdir()
    command = commands / "modeldeck"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tui "$@"\n')
    command.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MODELDECK_", "XDG_"))}
    for name in ("HF_HOME", "MODELSCOPE_CACHE", "MODELSCOPE_HOME"):
        environment.pop(name, None)
    environment |= {"HOME": str(place), "PATH": f"{commands}{os.pathsep}{environment['PATH']}"}

    def run(line: str, *packages: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line.replace(SERVER, server.url)],
            cwd=place / "here",
            env=environment | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *packages)))},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    yield run
    server.close()


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.xdist_group("weights")
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_every_command_of_a_page_runs(
    page: Path, shell: Callable[..., Any], tmp_path: Path, gemma_gguf: Path, example_site: Path
) -> None:
    here = tmp_path / "user" / "here"
    subprocess.run(["git", "init", "-q", str(here)], check=True)
    (here / "a.txt").write_text("one\n")
    subprocess.run(["git", "-C", str(here), "add", "a.txt"], check=True)
    (here / "a.txt").write_text("two\n")
    for block in blocks(page):
        if block.word == "file":
            (here / block.said).write_text(block.text + "\n")
        if block.word == "needs":
            (here / block.said).symlink_to(gemma_gguf)
        if block.language != "console" or block.word == "not run":
            continue
        for line in block.commands:
            wanted = VERDICT.search(line)
            done = shell(line, *((example_site,) if block.word == "with" else ()))
            assert done.returncode == int(wanted[1] if wanted else 0), f"{line}\n{done.stdout[-500:]}\n{done.stderr}"
            assert "Traceback" not in done.stderr, line


def test_what_is_not_run_says_why_and_is_a_line_that_a_shell_reads() -> None:
    left_out = [block for block in BLOCKS if block.language == "console" and block.word == "not run"]
    assert left_out
    for block in left_out:
        assert len(block.said) > 20, block.text
        assert block.commands, block.text
        for line in block.commands:
            assert subprocess.run(["bash", "-n", "-c", line], check=False).returncode == 0, line
            check_by_reading(line)


def check_by_reading(line: str) -> None:
    """What can be told of a command without running it."""
    words = shlex.split(line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"modeldeck\[([\w,]+)\]", line):
        assert set(extras.split(",")) <= set(project["optional-dependencies"]), line
    if words[0] == "make":
        planned = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert planned.returncode == 0, planned.stderr
    elif words[0] == ".ci/run":
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
    elif words[0] in {"ssh", "tmux"} and "modeldeck" in words:
        parses(words[words.index("modeldeck") + 1 :])


def parses(arguments: list[str]) -> None:
    from tui.cli.arguments import parser

    parser().parse_args(arguments)


def test_every_command_in_a_line_of_text_is_one_that_the_command_line_takes() -> None:
    found = 0
    for page in PAGES:
        text = BLOCK.sub("", page.read_text())
        for span in re.findall(r"`(modeldeck [^`]+)`", text):
            words = shlex.split(span)[1:]
            if any(word.isupper() and len(word) > 1 for word in words):  # a place that the reader fills
                words = ["name" if word.isupper() and len(word) > 1 else word for word in words]
            if words[0].startswith("-") or not words[0].isalpha():
                continue
            found += 1
            if len(words) == 1:  # a command's name, not a call of it
                assert words[0] in COMMANDS, span
            else:
                parses(words)
    assert found > 3


def test_no_command_hides_in_another_kind_of_block() -> None:
    for block in BLOCKS:
        assert block.language in {"console", "toml", "text", "json"}, (block.page, block.language)
    for page in PAGES:
        text = BLOCK.sub("", page.read_text())
        assert not re.search(r"^    (?:\$ )?(?:modeldeck|make|uv|pipx|git|pip)\b", text, re.MULTILINE), page


def test_every_block_of_toml_is_toml() -> None:
    for block in BLOCKS:
        if block.language == "toml":
            tomllib.loads(block.text)


def test_the_parts_that_are_made_are_current() -> None:
    import documents

    # Which packages come along differs by system and Python; the page is that of the pinned environment's.
    pinned = sys.platform == "linux" and sys.version_info[:2] == (3, 11)
    besides = () if pinned else ("licences",)
    stale = [p.name for p in documents.documents() if documents.made(p.read_text(), besides) != p.read_text()]
    assert not stale, "run: make documents"


def test_every_link_leads_to_a_file_or_a_page() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", BLOCK.sub("", page.read_text())):
            if not target.startswith(("http://", "https://", "#")):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def test_the_readme_links_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    for page in (*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"):
        assert f"({page.relative_to(ROOT).as_posix()})" in text, page.name


def test_every_key_of_a_spec_file_is_told_of() -> None:
    from specs.readers import toml

    text = (ROOT / "docs" / "spec-files.md").read_text()
    for known in (toml._FAMILY_KEYS, toml._MODEL_KEYS, toml._SPEC_KEYS, toml._HUB_KEYS):
        for key in known:
            assert f"`{key}`" in text or f"[[{key}]]" in text or f".{key}" in text or key in text, key


def test_every_variable_that_the_sources_read_is_told_of() -> None:
    sources = "\n".join(
        path.read_text() for package in ("tui", "backends", "specs") for path in (ROOT / package).rglob("*.py")
    )
    told = "\n".join(page.read_text() for page in PAGES)
    for name in set(re.findall(r"\bMODELDECK_[A-Z_]*[A-Z]\b", sources)):
        assert name in told, name


def test_every_setting_of_the_page_is_read(tmp_path: Path) -> None:
    from tui.settings import load_settings

    page = blocks(ROOT / "docs" / "configuration.md")
    (example,) = [block.text for block in page if block.language == "toml"]
    spoken = re.sub(r"^# (?=[\[\"\w]+.*=|\[keys\])", "", example, flags=re.MULTILINE)
    path = tmp_path / "config.toml"
    path.write_text("\n".join(line for line in spoken.splitlines() if not line.startswith("#")))
    assert "ray_address" in path.read_text()
    assert load_settings(path, {}).problems == ()
