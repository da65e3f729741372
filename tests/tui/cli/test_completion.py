"""`completion`: what a real shell offers after the words that stand there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest

from tui.cli.arguments import COMMANDS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def scripts(spec_text: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each shell's script, made with the tests' family in the catalog."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "small-talk.toml").write_text(spec_text)
    made = {}
    for shell in ("bash", "zsh", "fish"):
        made[shell] = folder / f"modeldeck.{shell}"
        command = [sys.executable, "-m", "tui", "completion", shell, "--specs", str(folder / "small-talk.toml")]
        made[shell].write_text(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout)
    return made


@pytest.fixture
def script(scripts: dict[str, Path]) -> Any:
    """A shell's script; a shell that is not here is skipped."""

    def written(shell: str) -> Path:
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        return scripts[shell]

    return written


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


def bash(path: Path, *words: str) -> list[str]:
    """What bash's own machinery leaves in COMPREPLY."""
    quoted = " ".join(f"'{word}'" for word in ("modeldeck", *words))
    asked = f"source {path}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _modeldeck"
    shown = "printf '%s\\n' \"${COMPREPLY[@]}\""
    return [one for one in output("bash", "--norc", "-c", f"{asked}; {shown}").splitlines() if one]


def fish(path: Path, *words: str) -> list[str]:
    """What fish offers, each with its description behind a tab."""
    line = " ".join(("modeldeck", *words))
    return output("fish", "--no-config", "-c", f"source {path}; complete -C {shlex.quote(line)}").splitlines()


def names(offered: list[str]) -> set[str]:
    return {one.split("\t")[0] for one in offered}


@pytest.fixture
def zsh(script: Any, tmp_path: Path) -> Any:
    """Type a line into a real zsh and press tab; gives the screen's lines, the one that was typed on first."""
    folder = tmp_path / "zsh"
    folder.mkdir()
    shutil.copy(script("zsh"), folder / "_modeldeck")
    (folder / ".zshrc").write_text(
        f"fpath=({folder} $fpath); autoload -U compinit; compinit -u -d {folder}/dump; unsetopt beep\n"
        "LISTMAX=200; PS1='%% '; print ready\n"
    )

    def typed(line: str) -> list[str]:
        shell = pexpect.spawn(
            "zsh",
            ["--no-globalrcs", "-i"],
            cwd=str(folder),
            dimensions=(60, 120),
            encoding="utf-8",
            timeout=60,
            env={**os.environ, "ZDOTDIR": str(folder), "TERM": "xterm"},
        )
        screen = pyte.Screen(120, 60)
        stream = pyte.Stream(screen)
        shell.expect("ready")
        shell.expect("% ")
        stream.feed("% ")
        shell.send(line + "\t")
        # What is typed after the tab is echoed after all that the tab did; the sign keeps the line from being run.
        shell.sendcontrol("a")
        shell.send("# ")
        shell.sendcontrol("e")
        shell.send(" end")
        shell.expect(" end")
        stream.feed(shell.before)
        shell.close(force=True)
        return [one.rstrip() for one in screen.display if one.strip()]

    return typed


LINES = [
    (("do",), {"download", "doctor"}),
    (("--lo",), {"--low-bandwidth"}),
    (("--plain", "li"), {"list", "library"}),
    (("list", "--rev"), {"--reverse"}),
    (("list", "--format", "gg"), {"ggufv2"}),
    (("list", "--sort", "la"), {"largest", "languages"}),
    (("list", "--columns", "na"), {"name"}),
    (("list", "--columns", "name,so"), {"name,source"}),
    (("list", "--columns", "sizes,s"), {"sizes,source"}),
    (("show", "small-t"), {"small-talk"}),
    (("launch", "small-t"), {"small-talk"}),
    (("launch", "--model-name", "small-t"), {"small-talk"}),
    (("launch", "--model-name", "small-talk", "--quantization", "Q"), {"Q4_K_M", "Q8_0"}),
    (("launch", "small-talk", "--quantization", "Q"), {"Q4_K_M", "Q8_0"}),
    (("download", "small-talk", "--model-format", "pytorch", "--quantization", ""), {"none"}),
    (("download", "small-talk", "--quantization", "Q8"), {"Q8_0"}),
    (("fit", "small-talk", "--size-in-billions", ""), {"1", "70"}),
    (("fit", "small-talk", "--model-format", ""), {"ggufv2", "pytorch"}),
    (("library", "ver"), {"verify"}),
    (("specs", ""), {"check", "import", "from"}),
    (("completion", ""), {"bash", "zsh", "fish"}),
    (("launch", "--model-engine", "llama"), {"llama.cpp"}),
    (("launch", "--model-engine", "remo"), {"remote"}),
    (("bench", "--model-engine", "remo"), set()),
    (("fit", "--machine", "RTX 409"), {"RTX 4090"}),
    (("doctor", ""), set()),
    (("fit", "--context", ""), set()),
]
"""Words as they stand, the last one not yet whole, and what may become of it."""


@pytest.mark.parametrize(("words", "expected"), LINES)
def test_bash_offers_what_fits_here(script: Any, words: tuple[str, ...], expected: set[str]) -> None:
    assert set(bash(script("bash"), *words)) == expected


@pytest.mark.parametrize(("words", "expected"), LINES)
def test_fish_offers_what_fits_here(script: Any, words: tuple[str, ...], expected: set[str]) -> None:
    typed = (*words[:-1], words[-1].replace(" ", "\\ "))
    assert names(fish(script("fish"), *typed)) == expected


def test_bash_knows_which_command_the_words_belong_to(script: Any) -> None:
    path = script("bash")
    assert "--ask-engine" in bash(path, "fit", "--")
    assert "--ask-engine" not in bash(path, "list", "--")
    assert "small-talk" in bash(path, "show", "")


def test_bash_offers_flags_only_once_a_dash_is_typed(script: Any) -> None:
    path = script("bash")
    commands = set(COMMANDS)
    assert set(bash(path, "")) == commands
    assert {"--help", "--specs"} <= set(bash(path, "-"))
    assert not any(one.startswith("-") for one in bash(path, "fit", ""))


def test_bash_takes_a_flag_with_its_sign(script: Any) -> None:
    path = script("bash")
    assert bash(path, "list", "--format", "=", "gg") == ["ggufv2"]
    assert bash(path, "fit", "small-talk", "--model-format", "=", "pytorch", "--quantization", "=") == ["none"]


def test_a_machine_may_be_a_file_too(script: Any, tmp_path: Path) -> None:
    (tmp_path / "rtx in the attic.json").touch()
    path = script("bash")
    begun = f"{tmp_path}/rtx\\ in"
    assert bash(path, "fit", "--machine", begun) == [f"{tmp_path}/rtx in the attic.json"]
    assert "RTX 4090" in bash(path, "fit", "--machine", "rtx\\ 40")


def test_fish_says_what_each_word_is(script: Any) -> None:
    path = script("fish")
    said = dict(one.split("\t") for one in fish(path, ""))
    assert set(said) == set(COMMANDS)
    assert said["pull"] == "the same as download"
    assert all(what[0].islower() and not what.endswith(".") for what in said.values())
    assert fish(path, "list", "--engine", "vL") == ["vLLM\tengine"]


def test_zsh_offers_commands_with_what_they_do_and_no_flags(zsh: Any) -> None:
    typed, *offered = zsh("modeldeck ")
    assert {one.split()[0] for one in offered} == set(COMMANDS)
    assert "list        -- list the families of the catalog" in offered
    assert "--" not in typed


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("modeldeck lau", "modeldeck launch"),
        ("modeldeck list --rev", "modeldeck list --reverse"),
        ("modeldeck list --format=gg", "modeldeck list --format=ggufv2"),
        ("modeldeck list --columns name,siz", "modeldeck list --columns name,sizes"),
        ("modeldeck fit --machine rtx\\ 4090", "modeldeck fit --machine RTX\\ 4090"),
        ("modeldeck show small-t", "modeldeck show small-talk"),
        ("modeldeck launch small-talk --quantization Q8", "modeldeck launch small-talk --quantization Q8_0"),
        ("modeldeck specs check modeldeck.t", "modeldeck specs check modeldeck.t"),
        ("modeldeck specs check _mo", "modeldeck specs check _modeldeck"),
    ],
)
def test_zsh_completes_what_is_begun(zsh: Any, line: str, becomes: str) -> None:
    assert zsh(line)[0].removeprefix("% # ") == becomes


def test_zsh_lists_what_fits_here(zsh: Any) -> None:
    offered = zsh("modeldeck launch --model-name small-talk --quantization ")
    assert set(offered[1].split()) == {"Q4_K_M", "Q8_0", "none"}
    assert any(one.startswith("--ask-engine ") for one in zsh("modeldeck fit --"))


def test_a_hostile_name_reaches_no_shell(modeldeck: Any, spec_file: Path) -> None:
    spec_file.write_text(spec_file.read_text().replace('name = "small-talk"', 'name = "$(touch here)"'))
    ran = modeldeck("completion", "bash", "--specs", spec_file)
    assert ran.code == 0
    assert "touch" not in ran.out
