"""What reading the catalog may not drag in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_catalog_loads_without_docutils_and_anything_heavy() -> None:
    code = (
        "import sys; from specs.catalog import load_catalog; assert len(load_catalog().families) == 162; "
        "heavy = {'docutils', 'textual', 'rich', 'huggingface_hub', 'torch', 'backends', 'tui'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_pages_are_read_without_a_word_on_standard_error() -> None:
    code = (
        "from pathlib import Path; from specs.catalog import read_spec_file; "
        "print(read_spec_file(Path('tests/seeds/llama-3.1.rst'))[0].name)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("llama-3.1\n", "")
