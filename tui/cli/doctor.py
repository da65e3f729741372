"""The command `doctor`: one report for a bug report, without secrets."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from backends import home
from tui import units
from tui.cli import choose
from tui.cli.output import clean, document, lines

Section = list[tuple[str, str]]

PACKAGES: Final = ("textual", "rich", "huggingface_hub", "psutil", "nvidia-ml-py", "platformdirs", "docutils")
AT_START: Final = {"tui.app": ("tui", "backends", "specs"), "textual.app": ("textual", "rich")}
"""Modules by which it is told whether the start's packages have bytecode."""
SECRETS: Final = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "MODELSCOPE_API_TOKEN",
    "MODELSCOPE_SDK_TOKEN",
    "OPENAI_API_KEY",
)
PLACES: Final = (
    "HF_ENDPOINT",
    "MODELSCOPE_ENDPOINT",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
PLAIN: Final = (
    "MODELDECK_HOME",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "MODELSCOPE_CACHE",
    "CUDA_VISIBLE_DEVICES",
    "NO_COLOR",
    "PYTHONDONTWRITEBYTECODE",
)


def doctor(arguments: argparse.Namespace) -> int:
    """Every section; one that fails says so and the others still come."""
    sections: dict[str, Callable[[], Section]] = {
        "modeldeck": _versions,
        "engines": _engines,
        "extensions": _extensions,
        "hardware": _hardware,
        "catalog": lambda: _catalog(arguments),
        "settings": _settings,
        "folders": _folders,
        "environment": _environment,
        "terminal": _terminal,
    }
    report: dict[str, Section] = {}
    for title, section in sections.items():
        try:
            report[title] = section()
        except Exception as error:  # noqa: BLE001 - a report about trouble must survive it, and shows it
            report[title] = [("failed", f"{type(error).__name__}: {error}")]
    shown = {title: [(name, _tilde(what)) for name, what in pairs] for title, pairs in report.items()}
    if arguments.json:
        document({title: {name: clean(what) for name, what in pairs} for title, pairs in shown.items()})
        return 0
    for at, (title, pairs) in enumerate(shown.items()):
        print(f"{'' if at == 0 else chr(10)}{title}")
        lines((f"  {name}", what) for name, what in pairs)
    return 0


def _versions() -> Section:
    pairs = [
        ("version", importlib.metadata.version("modeldeck")),
        ("python", f"{platform.python_version()} {platform.python_implementation()}, {sys.executable}"),
        ("system", platform.platform()),
    ]
    pairs += [(name, _version(name) or "missing") for name in PACKAGES]
    slow = [name for name in AT_START if not _has_bytecode(name)]
    folders = [folder for name in slow for package in AT_START[name] for folder in _package_folders(package)]
    compiled = shlex.join([sys.executable, "-m", "compileall", "-q", *folders])
    cure = f"no for {', '.join(slow)}, so the app starts slowly; this makes it: {compiled}"
    return [*pairs, ("bytecode", cure if slow else "there")]


def _engines() -> Section:
    from backends.engines.registry import statuses

    pairs = []
    for name, status in statuses().items():
        words = [status.status.replace("-", " "), status.version or "", status.reason or "", status.install_line or ""]
        pairs.append((name, ", ".join(word for word in words if word)))
    return pairs


def _extensions() -> Section:
    """What other packages add, each imported to see whether it works, and what was refused."""
    from specs import extensions

    pairs = []
    for one in extensions.found().extensions:
        try:
            one.load()
            said = f"{one.package}, {one.target}"
        except extensions.ExtensionError as error:
            said = str(error)
        pairs.append((f"{one.kind.removesuffix('s').replace('_', ' ')} {one.name}", said))
    pairs += [("refused", problem) for problem in extensions.found().problems]
    return pairs or [("none", "no installed package adds an engine, a hub or a spec reader")]


def _hardware() -> Section:
    from backends.machine.detect import detect
    from tui.cli.hardware import PATIENT_SECONDS, described

    machine = detect(deadline_seconds=PATIENT_SECONDS)
    return [*described(machine), *(("warning", warning) for warning in machine.warnings)]


def _catalog(arguments: argparse.Namespace) -> Section:
    catalog = choose.catalog(arguments, problems_are_shown=True)
    variants = sum(1 for _ in catalog.variants())
    return [
        (
            "holds",
            f"{units.counted(len(catalog.families), 'family', 'families')}, {units.counted(variants, 'variant')}",
        ),
        *(("problem", problem) for problem in catalog.problems),
    ]


def _settings() -> Section:
    from tui.settings import load_settings

    loaded = load_settings()
    there = "there" if home.config_file().exists() else "not there, so every key has its default"
    return [("file", f"{home.config_file()}, {there}"), *(("problem", problem) for problem in loaded.problems)]


def _folders() -> Section:
    from backends.hubs.environment import cache_folder

    hub = cache_folder()
    places = {
        "spec files": home.specs_folder(),
        "database": home.database_file(),
        "downloads": home.downloads_folder(),
        "log": home.log_file(),
        "Hugging Face": hub,
        "ModelScope": Path(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope").expanduser(),
    }
    pairs = [(name, f"{path}{'' if path.exists() else ' (not there)'}") for name, path in places.items()]
    free = next((shutil.disk_usage(one).free for one in (hub, *hub.parents) if one.exists()), None)
    return [*pairs, ("free for weights", units.file_size(free))]


def _environment() -> Section:
    from backends.hubs.environment import token_file

    pairs = [(name, "set" if os.environ.get(name) else "not set") for name in SECRETS]
    pairs.append(("Hugging Face token file", "set" if token_file().exists() else "not set"))
    pairs += [(name, _without_credentials(os.environ[name])) for name in PLACES if os.environ.get(name)]
    return pairs + [(name, os.environ[name]) for name in PLAIN if name in os.environ]


def _terminal() -> Section:
    size = shutil.get_terminal_size()
    pairs = [(name, os.environ.get(name, "not set")) for name in ("TERM", "COLORTERM", "LANG", "LC_ALL")]
    inside = [
        word for word, name in (("tmux", "TMUX"), ("SSH", "SSH_CONNECTION"), ("screen", "STY")) if os.environ.get(name)
    ]
    return [
        *pairs,
        ("size", f"{size.columns}x{size.lines}"),
        ("encoding", sys.stdout.encoding or "unknown"),
        ("output", "a terminal" if sys.stdout.isatty() else "no terminal"),
        ("inside", ", ".join(inside) or "nothing that says so"),
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package_folders(package: str) -> list[str]:
    found = importlib.util.find_spec(package)
    return list(found.submodule_search_locations or ()) if found else []


def _has_bytecode(module: str) -> bool:
    found = importlib.util.find_spec(module)
    return bool(found and found.cached and Path(found.cached).exists())


def _without_credentials(url: str) -> str:
    """A URL without a user's name and password in front of the host, and without its query."""
    scheme, mark, rest = url.partition("://")
    host = rest.partition("?")[0].rpartition("@")[2] if mark else url.rpartition("@")[2]
    return f"{scheme}{mark}{host}" if mark else host


def _tilde(text: str) -> str:
    """The user's folder as ~, since its name is nobody else's business."""
    own = str(Path.home())
    return text.replace(own + "/", "~/") if len(own) > 1 else text
