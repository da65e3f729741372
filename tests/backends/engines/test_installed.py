"""What engines there are is told without importing one of them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from backends.engines import installed, registry
from backends.errors import NotFound
from specs.model import ENGINES, LLAMA_CPP, MLX, SGLANG, VLLM

HEAVY = ("llama_cpp", "torch", "transformers", "mlx", "mlx_lm", "vllm", "sglang", "numpy", "openai", "jinja2")


def test_statuses_import_no_library() -> None:
    program = (
        "import sys; from backends.engines import registry; found = registry.statuses();"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), len(found))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == f"[] {len(ENGINES)}"


def test_every_engine_of_the_spec_pages_has_a_status_with_a_reason_unless_ready() -> None:
    for name, status in registry.statuses().items():
        assert status.status == "ready" or status.reason, name


def test_an_engine_is_found_in_any_spelling_and_an_unknown_one_is_refused() -> None:
    assert registry.adapter("LLAMA.CPP").name == LLAMA_CPP
    with pytest.raises(NotFound, match=r"llama\.cpp"):
        registry.adapter("LMDEPLOY")


def test_a_missing_library_comes_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "is_importable", lambda module: module == "llama_cpp")
    monkeypatch.setattr(installed, "system", lambda: ("Linux", "x86_64"))
    monkeypatch.setattr(sys, "prefix", "/home/me/.local/share/uv/tools/modeldeck")
    status = installed.status(MLX)
    assert status.status == "not-installed"
    assert status.install_line == "uv tool install 'modeldeck[mlx,llama]'"


def test_a_line_names_again_whatever_extra_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """uv installs an application afresh with the extras that are named: none must get lost."""
    present = {"llama_cpp", "transformers", "torch", "jinja2", "openai", "modelscope", "modelscope_hub"}
    monkeypatch.setattr(installed, "is_importable", lambda module: module in present)
    monkeypatch.setattr(sys, "prefix", "/home/me/.local/share/uv/tools/modeldeck")
    line = installed.extra_line("gptq")
    assert line == "uv tool install 'modeldeck[gptq,llama,transformers,modelscope,remote]'"


def test_every_extra_that_a_line_names_is_one_of_the_project_s() -> None:
    told = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    known = set(told["project"]["optional-dependencies"])
    named = {library.extra for library in installed.LIBRARIES.values()}
    named |= {one.extra for one in (*installed.FORMAT_LIBRARIES, *installed.VLLM_PLUGINS)}
    assert named <= known


def test_in_an_environment_of_ones_own_the_line_names_its_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/src/.venv")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert installed.install_line(MLX) == "/src/.venv/bin/python -m pip install 'modeldeck[mlx]'"


@pytest.mark.parametrize(
    ("engine", "system", "reason"),
    [
        (VLLM, ("macOS", "arm64"), "vLLM needs Linux and CUDA; this is macOS"),
        (SGLANG, ("macOS", "arm64"), "SGLang needs Linux and CUDA; this is macOS"),
        (MLX, ("macOS", "x86_64"), "MLX needs Apple Silicon; this Mac has an Intel processor"),
    ],
)
def test_a_platform_that_can_never_run_it_is_named(
    engine: str, system: tuple[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "system", lambda: system)
    assert (installed.status(engine).status, installed.status(engine).reason) == ("unsupported", reason)


def test_without_an_nvidia_driver_the_cuda_engines_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "system", lambda: ("Linux", "x86_64"))
    monkeypatch.setattr(installed, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(installed, "version", lambda names: None)
    for engine in (VLLM, SGLANG):
        status = installed.status(engine)
        assert status.status == "unsupported"
        assert "no NVIDIA driver" in (status.reason or "")


@pytest.mark.parametrize(
    ("found", "plugins", "lacking"),
    [
        ("0.23.0", set(), set()),
        ("0.24.0", set(), {"ggufv2"}),
        ("0.33.0", set(), {"ggufv2", "bnb"}),
        ("0.33.0+cu130", {"vllm_bnb_plugin"}, {"ggufv2"}),
        ("0.33.0", {"vllm_bnb_plugin", "vllm_gguf_plugin"}, set()),
    ],
)
def test_a_vllm_that_gave_a_format_to_a_plugin_says_which_one_is_missing(
    found: str, plugins: set[str], lacking: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "version", lambda names: found)
    monkeypatch.setattr(installed, "is_importable", lambda module: module in plugins)
    lacks = installed.vllm_lacks()
    assert {one.format for one in lacks} == lacking
    for one in lacks:
        assert one.reason.startswith(f"vLLM {found} needs vllm-")
        assert "modeldeck[vllm-" in one.install_line
