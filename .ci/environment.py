"""Makes .venv and puts modeldeck into it, with uv when it is there, else with venv and pip.

    python3 .ci/environment.py run|demo|all

It asks nothing, and it takes packages from wherever pip is configured to take them. Standard library only, and written
so that an old python3 can still read it far enough to say that it is too old.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MINIMUM = (3, 11)

PROFILES = {
    "run": ("llama", ()),
    "demo": ("llama", ("demo",)),
    "all": ("llama,transformers,mlx,modelscope,remote", ("dev",)),
}
"""Extras and dependency groups of each profile; a later one holds all of the one before."""

TORCH = "torch==2.13.0+cpu"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
"""The CPU build of the constraints: the plain one on Linux brings several gigabytes of CUDA libraries."""


def main():
    """Make or complete the environment of one profile; returns the exit code."""
    profile = sys.argv[1] if len(sys.argv) == 2 else ""
    if profile not in PROFILES:
        print(f"usage: environment.py {'|'.join(PROFILES)}", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    uv = shutil.which("uv")
    try:
        environment = uv_environment() if uv else dict(os.environ)
        if not PYTHON.exists():
            make_venv(uv)
        install = installer(uv, environment)
        if profile == "all" and sys.platform == "linux":
            install_torch(install)
        extras, groups = PROFILES[profile]
        say(f"installing modeldeck[{extras}]{''.join(f' and the group {group}' for group in groups)}")
        install("-c", "constraints.txt", "-e", f".[{extras}]", *(f"--group={group}" for group in groups))
    except subprocess.CalledProcessError as error:
        say(f"it failed: {' '.join(map(str, error.cmd))} ended with {error.returncode}; its own words stand above")
        return 1
    except RuntimeError as error:
        say(str(error))
        return 1
    for done in list(PROFILES)[: list(PROFILES).index(profile) + 1]:
        (VENV / f".{done}-is-installed").touch()
    return 0


def say(text):
    """One line to whoever watches make."""
    print(f"modeldeck: {text}", file=sys.stderr, flush=True)


def make_venv(uv):
    """An empty environment of a Python that is new enough."""
    say("making .venv")
    if uv:
        subprocess.run([uv, "venv", "--quiet", "--python", ">=3.11", str(VENV)], check=True)
        return
    python = new_enough_python()
    made = subprocess.run([python, "-m", "venv", str(VENV)], check=False)
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        raise RuntimeError(f"{python} -m venv failed; on Debian and Ubuntu install the package python3-venv")


def new_enough_python():
    """This Python, else the newest on the path that is new enough."""
    if sys.version_info >= MINIMUM:
        return sys.executable
    for minor in range(20, MINIMUM[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found
    raise RuntimeError(f"Python 3.11 or newer is needed; python3 is {sys.version.split()[0]}")


def installer(uv, environment):
    """A function that installs what its arguments name into .venv; raises CalledProcessError."""
    if uv:
        command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(PYTHON)]
    else:
        pip = [str(PYTHON), "-m", "pip"]
        if subprocess.run([*pip, "--version"], check=False, capture_output=True).returncode:
            subprocess.run([str(PYTHON), "-m", "ensurepip", "--upgrade"], check=True, stdout=subprocess.DEVNULL)
        if pip_version(pip) < (25, 1):  # the first that knows dependency groups
            subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip>=25.1"], check=True)
        command = [*pip, "install", "--quiet", "--no-input", "--disable-pip-version-check"]

    def install(*what, quietly=False):
        errors = subprocess.DEVNULL if quietly else None
        subprocess.run([*command, *what], check=True, env=environment, stderr=errors)

    return install


def pip_version(pip):
    """(major, minor) of the environment's pip."""
    words = subprocess.run([*pip, "--version"], check=True, capture_output=True, text=True).stdout.split()
    return tuple(int(part) for part in words[1].split(".")[:2])


def install_torch(install):
    """The CPU build of torch from the configured places, else from PyTorch's own index of CPU builds."""
    probe = "import importlib.metadata as m, sys; sys.exit(m.version('torch') != sys.argv[1])"
    version = TORCH.partition("==")[2]
    if not subprocess.run([str(PYTHON), "-c", probe, version], check=False, capture_output=True).returncode:
        return
    say(f"installing {TORCH}")
    try:
        install("--no-deps", TORCH, quietly=True)
    except subprocess.CalledProcessError:
        install("--no-deps", TORCH, "--index-url", TORCH_INDEX)


def uv_environment():
    """This process's environment, with pip's configured places in the words of uv, which does not read pip's files."""
    environment = dict(os.environ)
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
    ).stdout
    places = {}
    for line in listed.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            # ":env:" stands above the files, and comes first in the list
            places.setdefault(name.rpartition(".")[2], " ".join(value.strip("'\"").replace("\\n", " ").split()))
    extra = places.get("extra-index-url")
    for variable, value in {
        "UV_DEFAULT_INDEX": places.get("index-url"),
        "UV_INDEX": extra,
        "UV_FIND_LINKS": places.get("find-links", "").replace(" ", ",") or None,
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else None,  # pip's way: the best of all places
        "SSL_CERT_FILE": places.get("cert"),
    }.items():
        if value:
            environment.setdefault(variable, value)
    return environment


if __name__ == "__main__":
    sys.exit(main())
