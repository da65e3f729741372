"""Where Hugging Face is, where its cache lies and which token speaks for the user, read when asked.

huggingface_hub reads the same variables once, when it is imported, and takes half a second for it.
"""

from __future__ import annotations

import os
from pathlib import Path

from backends.errors import HubUnreachable

_TRUE = {"1", "ON", "YES", "TRUE"}


def _flag(name: str) -> bool:
    return os.environ.get(name, "").upper() in _TRUE


def endpoint() -> str:
    """The hub's address without a closing slash."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def offline() -> bool:
    """Whether the user wants no network."""
    return _flag("HF_HUB_OFFLINE") or _flag("TRANSFORMERS_OFFLINE")


def refuse_offline(what: str) -> None:
    """Raise HubUnreachable in offline mode, saying what was wanted."""
    if offline():
        raise HubUnreachable(f"{what}: offline mode is on; unset HF_HUB_OFFLINE to ask the hub")


def hf_home() -> Path:
    """The folder of everything that Hugging Face's tools keep."""
    named = os.environ.get("HF_HOME")
    if named:
        return _path(named)
    return _path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"


def cache_folder() -> Path:
    """The cache that all of Hugging Face's tools share."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _path(named) if named else hf_home() / "hub"


def token_file() -> Path:
    """Where a login leaves its token."""
    named = os.environ.get("HF_TOKEN_PATH")
    return _path(named) if named else hf_home() / "token"


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()
