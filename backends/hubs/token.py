"""The user's tokens: where Hugging Face's comes from, and how a typed one is kept. None is ever printed or logged."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from backends.errors import AccessDenied, HubUnreachable
from backends.hubs import environment
from specs.model import HUGGINGFACE, MODELSCOPE

ABOVE_TYPED: Final = {
    HUGGINGFACE: ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    MODELSCOPE: ("MODELSCOPE_API_TOKEN", "MODELSCOPE_SDK_TOKEN"),
}
"""Variables with a token that the hubs' own tools prefer to their stores."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the place it was found in."""

    text: str = field(repr=False)
    origin: str
    """The variable's name or the file's path, for messages."""


def token() -> Token | None:
    """The token that speaks for the user, by the precedence of Hugging Face's own tools; None: anonymous."""
    for name in ABOVE_TYPED[HUGGINGFACE]:
        if text := _clean(os.environ.get(name, "")):
            return Token(text, name)
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return None
    file = environment.token_file()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if text := _clean(file.read_text(encoding="utf-8")):
            return Token(_refreshed(text, file), str(file))
    return None


def token_text() -> str | None:
    """The token alone; None: anonymous."""
    found = token()
    return found.text if found else None


def where_from() -> str:
    """In words for the screen: "HF_TOKEN", a file's path, or "no token"."""
    found = token()
    return found.origin if found else "no token"


def keep_token(text: str, hub_name: str = HUGGINGFACE) -> str:
    """Check a typed token with a hub and keep it in the hub's own store, readable by its owner only.

    Returns the user's name.

    Raises:
        AccessDenied: the hub does not take it, or another one stands above what is typed.
        HubUnreachable: it could not be asked.
    """
    wanted = _clean(text)
    if not wanted:
        raise AccessDenied("no token was typed", "token")
    above = next((name for name in ABOVE_TYPED[hub_name] if os.environ.get(name)), None)
    if above is not None:
        raise AccessDenied(f"{above} is set and stands above a typed token: correct it, or unset it", "token")
    if hub_name == MODELSCOPE:
        from backends.hubs import modelscope

        return modelscope.keep_token(wanted)
    return _keep_for_huggingface(wanted)


def _keep_for_huggingface(wanted: str) -> str:
    environment.refuse_offline("the token cannot be checked")
    import httpx2
    from huggingface_hub import HfApi, constants
    from huggingface_hub._login import _set_active_token  # login() takes no end point and may ask on the terminal
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils._auth import _save_token

    try:
        who = HfApi(endpoint=environment.endpoint(), token=wanted).whoami(token=wanted)
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (400, 401, 403):
            page = f"{environment.endpoint()}/settings/tokens"
            raise AccessDenied(f"the hub does not take this token; make a new one at {page}", "token", page) from None
        raise HubUnreachable(f"the token could not be checked: the hub answers {status}; try again later") from None
    except (httpx2.HTTPError, OSError) as error:
        raise HubUnreachable(f"the token could not be checked: no answer from {environment.endpoint()}") from error
    named = ((who.get("auth") or {}).get("accessToken") or {}).get("displayName") or f"oauth-{who['name']}"
    file = environment.token_file()
    with _quiet(), _paths(constants, file):
        _save_token(token=wanted, token_name=named)
        _set_active_token(token_name=named, add_to_git_credential=False)
    return str(who["name"])


@contextlib.contextmanager
def _paths(constants: object, file: Path):  # type: ignore[no-untyped-def]
    """Point huggingface_hub at today's environment: its constants are those of its import."""
    before = {name: getattr(constants, name) for name in ("HF_TOKEN_PATH", "HF_STORED_TOKENS_PATH")}
    constants.HF_TOKEN_PATH = str(file)  # type: ignore[attr-defined]
    constants.HF_STORED_TOKENS_PATH = str(file.parent / "stored_tokens")  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(constants, name, value)


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _clean(text: str) -> str:
    return text.replace("\r", "").replace("\n", "").strip()


def _refreshed(text: str, file: Path) -> str:
    """A browser login's token expires; huggingface_hub knows how to renew it. Others stay as they are."""
    store = file.parent / "stored_tokens"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if "refresh_token" in store.read_text(encoding="utf-8"):
            from huggingface_hub import constants, get_token

            with _quiet(), _paths(constants, file):
                return get_token() or text
    return text
