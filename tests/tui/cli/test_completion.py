"""`completion`: what a real shell offers after the words that stand there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def script(modeldeck: Any, spec_file: Path, tmp_path: Path) -> Any:
    """Write a shell's script, made with the tests' family in the catalog; a shell that is not here is skipped."""

    def write(shell: str) -> Path:
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        ran = modeldeck("completion", shell, "--specs", spec_file)
        assert ran.code == 0, ran.err
        path = tmp_path / f"modeldeck.{shell}"
        path.write_text(ran.out)
        return path

    return write


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


def bash(path: Path, *words: str) -> list[str]:
    """What bash's own machinery leaves in COMPREPLY."""
    quoted = " ".join(f"'{word}'" for word in ("modeldeck", *words))
    asked = f"source {path}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _modeldeck"
    shown = "printf '%s\\n' \"${COMPREPLY[@]}\""
    return output("bash", "--norc", "-c", f"{asked}; {shown}").split()


LINES = [
    (("do",), {"download", "doctor"}),
    (("--lo",), {"--low-bandwidth"}),
    (("list", "--rev"), {"--reverse"}),
    (("list", "--format", "gg"), {"ggufv2"}),
    (("show", "small-t"), {"small-talk"}),
    (("launch", "--model-name", "small-t"), {"small-talk"}),
    (("launch", "--model-name", "small-talk", "--quantization", "Q"), {"Q4_K_M", "Q8_0"}),
    (("download", "small-talk", "--quantization", "Q8"), {"Q8_0"}),
    (("library", "ver"), {"verify"}),
    (("launch", "--model-engine", "llama"), {"llama.cpp"}),
]


@pytest.mark.parametrize(("words", "expected"), LINES)
def test_bash_offers_what_fits_here(script: Any, words: tuple[str, ...], expected: set[str]) -> None:
    assert set(bash(script("bash"), *words)) == expected


def test_bash_knows_which_command_the_words_belong_to(script: Any) -> None:
    path = script("bash")
    assert "--ask-engine" in bash(path, "fit", "--")
    assert "--ask-engine" not in bash(path, "list", "--")
    assert "small-talk" in bash(path, "show", "")


@pytest.mark.parametrize(("words", "expected"), LINES)
def test_fish_offers_what_fits_here(script: Any, words: tuple[str, ...], expected: set[str]) -> None:
    line = " ".join(("modeldeck", *words))
    offered = output("fish", "--no-config", "-c", f"source {script('fish')}; complete -C '{line}'")
    assert {one.split("\t")[0] for one in offered.splitlines()} == expected


def test_zsh_reads_its_script_and_offers_what_fits_here(script: Any) -> None:
    path = script("zsh")
    assert output("zsh", "-n", str(path)) == ""
    asked = f"""
    compdef() {{ :; }}; compadd() {{ shift; print -l -- "$@"; }}; _files() {{ print FILES; }}
    source {path}
    words=(modeldeck launch --model-name small-talk --quantization ''); CURRENT=6; _modeldeck
    """
    assert set(output("zsh", "-f", "-c", asked).split()) == {"Q4_K_M", "Q8_0", "none"}


def test_a_hostile_name_reaches_no_shell(modeldeck: Any, spec_file: Path) -> None:
    spec_file.write_text(spec_file.read_text().replace('name = "small-talk"', 'name = "$(touch here)"'))
    ran = modeldeck("completion", "bash", "--specs", spec_file)
    assert ran.code == 0
    assert "touch" not in ran.out
