"""What starting costs: modules that a command does not need are not imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINES = {"llama_cpp", "torch", "transformers", "mlx", "mlx_lm", "vllm", "sglang", "numpy", "modelscope", "openai"}
HEAVY = ENGINES | {"textual", "rich", "huggingface_hub", "psutil", "pynvml", "docutils", "sqlite3", "asyncio", "ssl"}


def imported_by(program: str) -> set[str]:
    """Top-level names of the modules that a program leaves behind."""
    end = "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program + end], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_the_door_itself_is_light() -> None:
    assert not imported_by("import tui.__main__") & HEAVY
    assert "argparse" not in imported_by("import tui.cli.main")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["list"], ["show", "llama-3-instruct"], ["fit", "--help"]]
)
def test_reading_the_catalog_imports_no_screen_no_hub_and_no_engine(arguments: list[str]) -> None:
    assert not imported_by(f"from tui.__main__ import main\nassert main({arguments!r}) == 0") & HEAVY


def test_judging_the_catalog_imports_no_screen_no_hub_client_and_no_engine() -> None:
    left = imported_by("from tui.__main__ import main\nassert main(['fit', '--model-format', 'awq', '--json']) == 0")
    assert not left & (ENGINES | {"textual", "rich", "huggingface_hub", "asyncio"})


def test_the_app_is_imported_without_an_engine_or_a_hub_client() -> None:
    assert not imported_by("import tui.app, tui.screens.browse") & (ENGINES | {"huggingface_hub"})
