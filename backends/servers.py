"""Servers that speak OpenAI's protocol: what one offers, and how one of its models is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from backends.engines.engine import LoadOptions, Weights
from backends.engines.remote import REMOTE, RemoteAdapter, RemoteModel
from backends.errors import EngineError
from backends.loaded import LoadRequest

UNTOLD_CONTEXT: Final = 8192
"""Tokens that a server's model is taken to have where it does not say."""

ENDPOINTS: Final = ("/chat/completions", "/completions", "/models", "/responses")
"""Paths below the API that are copied with its address out of examples."""


def server_url(text: str) -> str:
    """Where a server's API begins, from what a user types: "box:8000" is http://box:8000/v1.

    Raises:
        EngineError: It is no address, or holds a password, which would be shown and kept with conversations.
    """
    url = text.strip()
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named:
        raise EngineError(f"{text.strip()!r} is no server's URL; write it as http://box:8000/v1")
    if parts.username or parts.password:
        raise EngineError("a URL with a password in it is shown and kept; name the variable that holds the key instead")
    url = parts._replace(query="", fragment="").geturl().rstrip("/")
    for path in ENDPOINTS:
        url = url.removesuffix(path)
    return url if urlsplit(url).path.strip("/") else f"{url}/v1"


def models_of(url: str, key_variable: str | None = None) -> tuple[RemoteModel, ...]:
    """What a server offers.

    Args:
        url: As server_url() gives it.
        key_variable: Environment variable with its key; None: it wants none.
    """
    return RemoteAdapter(url, key_in(key_variable)).models()


def key_in(variable: str | None, environment: Mapping[str, str] | None = None) -> str | None:
    """The key that an environment variable holds; None: it wants none, or holds none."""
    return (os.environ if environment is None else environment).get(variable) if variable else None


def remote_request(model: RemoteModel, url: str, key_variable: str | None = None) -> LoadRequest:
    """How to talk to one model of a server; the key itself is in nothing that is kept."""
    options = LoadOptions(model.context or UNTOLD_CONTEXT, server=url, server_key_variable=key_variable)
    weights = Weights(Path(), model.name, REMOTE, "")
    key = f"{REMOTE}/{urlsplit(url).netloc}/{model.name}"
    # A context that the server tells is its own to change; one that it does not tell is the user's guess.
    return LoadRequest(REMOTE, weights, options, key, None, url, max_context=model.context)
