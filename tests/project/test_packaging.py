"""The wheel, the files beside the packages, and the promises of the Makefile."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tui", "backends", "specs")


def tracked() -> list[Path]:
    """Files of the project, as git knows them; all of the packages' files where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not in a git repository")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as hatchling builds it from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("modeldeck-*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_s_top_level_is_exactly_the_three_packages(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.parametrize("pattern", ["specs/**/*.toml", "tui/**/*.tcss", "backends/**/*.csv"])
def test_the_wheel_holds_every_data_file(wheel: zipfile.ZipFile, pattern: str) -> None:
    wanted = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
    assert wanted
    assert wanted <= set(wheel.namelist())


def test_the_wheel_holds_no_test_and_no_bytecode(wheel: zipfile.ZipFile) -> None:
    assert not [name for name in wheel.namelist() if "test" in Path(name).parts[0] or name.endswith(".pyc")]


def test_the_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    (entries,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "modeldeck = tui.__main__:main" in wheel.read(entries).decode()


def test_the_wheel_s_metadata_names_the_extras_and_the_readme(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = wheel.read(name).decode()
    extras = set(re.findall(r"^Provides-Extra: (\S+)", metadata, re.MULTILINE))
    assert extras == set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert "License-Expression: Apache-2.0" in metadata
    assert "# modeldeck" in metadata


def test_the_wheel_runs_where_nothing_but_its_requirements_is(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    place = tmp_path / "site"
    wheel.extractall(place)
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tui.__main__ import main; sys.exit(main())"
    for arguments in (["--version"], ["list", "llama-3", "--json"], ["fit", "--help"]):
        command = [sys.executable, "-I", "-c", program, str(place), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    where = "import sys; sys.path.insert(0, sys.argv[1]); import tui, backends, specs; print(tui.__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", where, str(place)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(place))


def test_the_version_stands_in_one_place() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    holders = [
        path.relative_to(ROOT).as_posix()
        for path in tracked()
        if path.suffix in {".py", ".toml", ".tcss", ".md", ".yml"} and path.relative_to(ROOT).parts[0] != "tests"
        if re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert holders == ["pyproject.toml"]


def test_the_workflow_runs_the_same_as_everybody_on_both_systems() -> None:
    text = (ROOT / ".github" / "workflows" / "check.yml").read_text()
    assert re.search(r"^      - run: \.ci/run$", text, re.MULTILINE)
    assert "[ubuntu-latest, macos-latest]" in text
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert f'"{oldest}"' in text


def test_the_folders_with_python_are_the_packages_and_the_tests() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if path.suffix == ".py"}
    assert folders == {*PACKAGES, "tests", ".ci"}


def test_no_file_below_tests_makes_it_a_package() -> None:
    assert not [path for path in tracked() if path.name == "__init__.py" and path.is_relative_to(ROOT / "tests")]


def test_no_file_names_a_host_of_the_package_index() -> None:
    # an index of one's own must never be passed by; assembled here so that this file does not name it either
    hosts = re.compile(rf"{'pypi'}\.org|files\.{'pythonhosted'}\.org")
    texts = [path for path in tracked() if path.suffix in {"", ".py", ".toml", ".txt", ".md", ".cfg", ".yml"}]
    assert not [path for path in texts if hosts.search(path.read_text(encoding="utf-8", errors="replace"))]


def test_no_weights_and_no_generated_file_is_kept() -> None:
    kept = tracked()
    assert not [path for path in kept if path.suffix in {".gguf", ".safetensors", ".pyc", ".whl"}]
    assert not [path for path in kept if path.stat().st_size > 2_000_000]


def test_every_pinned_version_is_one_that_the_project_allows() -> None:
    from packaging.requirements import Requirement

    pinned: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            pinned.setdefault(requirement.name.lower().replace("_", "-"), specifier.version.partition("+")[0])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["transformers"]]:
        requirement = Requirement(line)
        version = pinned[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), line


@pytest.mark.parametrize("verb", ["run", "test", "venv", "check", "bench", "demo"])
def test_make_has_the_promised_verbs(verb: str) -> None:
    done = subprocess.run(["make", "-n", "-B", verb], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_continuous_integration_calls_check_then_test() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script
    assert script.index("make check") < script.index("make test")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
