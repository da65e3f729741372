"""ModelScope: what its repositories hold, ranges of their files, and its search, through its own client."""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from backends.errors import (
    AccessDenied,
    BackendError,
    DownloadError,
    HubError,
    HubTrouble,
    HubUnreachable,
    NotFound,
    RateLimited,
    WrongSum,
)
from backends.hubs import environment, offices, wire
from backends.hubs.hub import Listing, RepoFile, RepoSummary
from backends.hubs.huggingface import check_id
from specs.model import MODELSCOPE

DEFAULT_REVISION = "master"
INSTALL_LINE = "uv tool install 'modeldeck[modelscope]'"
_TRIES = 3
TROUBLE = "ModelScope has trouble of its own"

# The client reads these once from the environment, at its import. Its own retries are off because ours can be
# cancelled, say what they wait for and keep what has arrived; an hour a file is too little for 40 GB; and it would
# transfer a damaged file three times without asking.
_SETTINGS: dict[str, dict[str, float]] = {
    "_download": {
        "DOWNLOAD_RETRY_TIMES": 0,
        "DOWNLOAD_TOTAL_TIMEOUT": 7 * 24 * 3600,
        "DOWNLOAD_HASH_RETRY_TIMES": 1,
        "DOWNLOAD_SIZE_RETRY_TIMES": 1,
    },
    "_legacy_api": {"DOWNLOAD_TIMEOUT": 10.0},
}

Result = TypeVar("Result")


def client() -> Any:
    """ModelScope's client for today's environment, silent.

    Raises:
        HubError: it is not installed; the message has the install line.
        HubUnreachable: the certificates that the environment names cannot be read.
    """
    return _client()


def _client(endpoint: str | None = None) -> Any:
    import requests

    library = load_library()
    config = library.HubConfig(endpoint=endpoint) if endpoint else library.HubConfig()
    api = library.HubApi(config=config)
    if named := offices.bundle():
        try:
            offices.tls()
        except offices.NoCertificates as error:
            raise HubUnreachable(f"ModelScope cannot be asked: {error}; {wire.cure(error)}") from error
    for part in (api.legacy, api.openapi):
        for session in vars(part).values():
            if isinstance(session, requests.Session):
                # requests heeds the first two of the variables that we heed.
                session.verify = named or session.verify
                _refuse_at_once(session)
                _stay_secure(session)
    if hasattr(api.openapi, "_max_retries"):
        api.openapi._max_retries = 1
    return api


class _Lasting(OSError):
    """Trouble that a second attempt would meet too. The client takes requests' own errors for passing ones."""


class _TooLate(Exception):
    """The client would wait past the deadline. What it would wait for is the context of this."""


def _refuse_at_once(session: Any) -> None:
    """Leave retries to us, and let trouble that lasts through the client's loops without their waits of 7 to 16 s."""
    for adapter in session.adapters.values():
        adapter.max_retries = type(adapter.max_retries)(0, read=False)
    send = session.send

    def guarded(request: Any, **options: Any) -> Any:
        try:
            return send(request, **options)
        except OSError as error:
            root = offices.understood(error, request.url)
            if isinstance(root, ConnectionRefusedError | socket.gaierror) or (root and wire.cure(root)):
                raise _Lasting(str(root)) from error
            raise

    session.send = guarded


def _stay_secure(session: Any) -> None:
    """Follow no redirect from https to http, which requests does; wire refuses it likewise."""
    target_of = session.get_redirect_target

    def guarded(response: Any) -> str | None:
        target: str | None = target_of(response)
        if target and response.url.startswith("https:"):
            leads_to = urllib.parse.urljoin(response.url, target)
            if not leads_to.startswith("https:"):
                raise _Lasting("redirected from https to http, which is not followed")
        return target

    session.get_redirect_target = guarded


class _Clock:
    """The client's clock: it does not sleep past the deadline of the question, nor less than the hub asks for."""

    def __init__(self) -> None:
        self.question = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        deadline = getattr(self.question, "deadline", None)
        seconds = max(seconds, getattr(sys.exception(), "retry_after", None) or 0.0)
        if deadline is not None and time.monotonic() + seconds >= deadline:
            raise _TooLate
        time.sleep(seconds)


_clock = _Clock()


def load_library() -> Any:
    """The package modelscope_hub with our settings, and without its bars and log lines."""
    known: Any = sys.modules.get("modelscope_hub")
    if known is not None and hasattr(known, "_modeldeck"):
        return known
    try:
        import modelscope_hub
        from modelscope_hub import _download
    except ImportError as error:
        raise HubError(f"ModelScope's client is not installed; install it with: {INSTALL_LINE}") from error
    for module, settings in _SETTINGS.items():
        adjust(module, settings)
    # Its bars go to standard error, onto the screen; TQDM_DISABLE is not heeded when tqdm was imported before.
    _download.tqdm = _Silent
    importlib.import_module("modelscope_hub._legacy_api").time = _clock  # type: ignore[attr-defined]
    logger = logging.getLogger("modelscope_hub")
    logger.handlers.clear()
    logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.CRITICAL)
    known = modelscope_hub
    known._modeldeck = True
    return known


def adjust(module: str, settings: Mapping[str, float]) -> None:
    """Set some of the client's module values, those that this version of it has."""
    found = importlib.import_module(f"modelscope_hub.{module}")
    for name, value in settings.items():
        if hasattr(found, name):
            setattr(found, name, value)


class _Silent:
    """Stands in for a progress bar."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, _count: float = 1) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Nothing is open."""


class ModelScopeHub:
    """The ModelScope hub, at the address that MODELSCOPE_ENDPOINT names."""

    name = MODELSCOPE

    def listing(self, model_id: str, revision: str | None = None, *, timeout_seconds: float = 10.0) -> Listing:
        """Files, sizes and sums. ModelScope names no commit for a listing: the revision stays the branch's name."""
        check_id(model_id)
        at = revision or DEFAULT_REVISION

        def ask(api: Any) -> list[Any]:
            files: list[Any] = api.list_repo_files(model_id, "model", revision=at)
            return files

        # The client asks for each page again by itself.
        found = asked(ask, f"{model_id} cannot be listed", model_id, timeout_seconds, tries=1)
        files = tuple(
            RepoFile(str(entry.path), int(entry.size), sha256, sha256)
            for entry in found
            if entry.type != "tree" and entry.path
            for sha256 in [_sum(entry.sha256)]
        )
        return Listing(self.name, model_id, at, files)

    def read_range(
        self, model_id: str, revision: str, name: str, start: int, stop: int, *, timeout_seconds: float = 10.0
    ) -> bytes:
        """Bytes start to stop (exclusive) of one file; fewer when it ends before."""
        check_id(model_id)
        if stop <= start:
            return b""

        def ask(api: Any) -> bytes:
            wanted = {"Range": f"bytes={start}-{stop - 1}"}
            answer = api.legacy.download_stream(model_id, "model", name, revision, headers=wanted)
            with contextlib.closing(answer):
                skip = 0 if answer.status_code == 206 else start  # small files come whole
                content = bytearray()
                for chunk in answer.iter_content(64 << 10):
                    content += chunk
                    if len(content) >= skip + stop - start:
                        break
                return bytes(content[skip : skip + stop - start])

        try:
            return asked(ask, f"{name} of {model_id} cannot be read", model_id, timeout_seconds, name)
        except HubError as error:
            if "416" in str(error):
                return b""
            raise

    def search(self, query: str, *, limit: int = 50) -> tuple[RepoSummary, ...]:
        """Repositories that match, the most downloaded first."""

        def ask(api: Any) -> Any:
            return api.list_repos("model", search=query, sort="downloads", page_size=min(max(1, limit), 100))

        found = asked(ask, "ModelScope cannot be searched", None, 10.0)
        hits = []
        for entry in found.items:
            model_id = f"{entry.owner}/{entry.name}"
            gated = "manual" if getattr(entry, "gated", None) else None
            hits.append(
                RepoSummary(self.name, model_id, entry.downloads, entry.likes, tuple(map(str, entry.tags)), gated)
            )
        hits.sort(key=lambda hit: -(hit.downloads or 0))
        return tuple(hits[:limit])


def keep_token(text: str) -> str:
    """Check a token with ModelScope and let its client keep it in its own store, readable by its owner only.

    Returns the user's name.

    Raises:
        AccessDenied: ModelScope does not take it.
        HubUnreachable: it could not be asked.
    """
    library = load_library()
    page = f"{library.HubConfig().endpoint}/my/myaccesstoken"

    def ask(api: Any) -> str:
        try:
            return str(api.login(text).username)
        except library.AuthenticationError:
            raise AccessDenied(
                f"ModelScope does not take this token; make a new one at {page}", "token", page
            ) from None  # the client's own words may repeat what was typed

    return asked(ask, "the token could not be checked", None, 20.0)


def asked(
    ask: Callable[[Any], Result],
    what: str,
    model_id: str | None,
    timeout_seconds: float,
    name: str | None = None,
    *,
    tries: int = _TRIES,
) -> Result:
    """Put a question to the client, unless off line, within a deadline of our own, since its retries know none."""
    environment.refuse_offline(what)
    library = load_library()
    deadline = time.monotonic() + timeout_seconds

    def run() -> Result:
        _clock.question.deadline = deadline
        api = _client()
        try:
            return ask(api)
        except library.NotExistError:
            # Without an address of the user's own there are two sites, and a repository may lie on the other.
            if model_id is None or api._config._endpoint_overridden:
                raise
            other = api.resolve_endpoint_for_read(model_id)
            return ask(_client(other))

    for left in reversed(range(tries)):
        wait = 0.3 * (tries - left)
        try:
            return wire.patiently(run, deadline)
        except Exception as error:
            known: BaseException = error.__context__ or error if isinstance(error, _TooLate) else error
            meant = ours(known, what, model_id, name)
            passing = isinstance(meant, HubUnreachable | HubTrouble | RateLimited)
            if isinstance(meant, RateLimited) and meant.retry_after_seconds is not None:
                wait = meant.retry_after_seconds
            lasting = isinstance(known, _Lasting | _TooLate)
            if not left or not passing or lasting or time.monotonic() + wait >= deadline:
                raise meant from error
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def ours(error: BaseException, what: str, model_id: str | None, name: str | None = None) -> BackendError:
    """The error of ours that one of the client's means. Its own texts are partly Chinese and several lines long."""
    library = load_library()
    endpoint = str(library.HubConfig().endpoint)
    page = f"{endpoint}/models/{model_id}" if model_id else endpoint
    if isinstance(error, BackendError):
        return error
    asked_at = getattr(error, "url", None)
    if name and asked_at and wire.origin(asked_at) != wire.origin(endpoint):
        # A signed address that has expired, or a storage node without the object: a fresh one may do better.
        return HubTrouble(f"{TROUBLE}: its storage refuses {name} ({getattr(error, 'status_code', None)})")
    if isinstance(error, library.NotExistError):
        if name:
            return NotFound(f"{model_id} has no file {name} on ModelScope, or its revision is gone")
        return NotFound(f"{endpoint} has no {model_id}, or it is private: check the name, or set MODELSCOPE_API_TOKEN")
    if isinstance(error, library.AuthenticationError | library.PermissionDeniedError):
        said = str(error)
        if "gated" in said:
            return AccessDenied(
                f"{model_id} is gated on ModelScope: ask for access at {page}, then set MODELSCOPE_API_TOKEN",
                "gated",
                page,
            )
        if "token" in said.lower():
            return AccessDenied(
                f"ModelScope does not take your token; make a new one at {endpoint}/my/myaccesstoken",
                "token",
                f"{endpoint}/my/myaccesstoken",
            )
        return AccessDenied(f"ModelScope refuses {name or model_id}: your account may not read it", "private", page)
    if isinstance(error, library.RateLimitError):
        seconds = getattr(error, "retry_after", None)
        wait = f"try again in {seconds:.0f} s" if seconds is not None else "try again in some minutes"
        return RateLimited(f"ModelScope takes no more requests from here just now; {wait}", seconds)
    if isinstance(error, library.ServerError):
        return HubTrouble(f"{TROUBLE} ({getattr(error, 'status_code', None) or 'no answer'}); try again later")
    if isinstance(error, library.FileSizeMismatchError):
        return HubTrouble(f"ModelScope sends {name} in another size than it lists; try again later")
    if isinstance(error, library.FileIntegrityError):
        return WrongSum(
            f"{name} arrived with a wrong sum (damaged on the way, or on the hub); "
            "it was removed: start the download again"
        )
    if isinstance(error, library.APIError) and error.status_code == 416:
        return HubTrouble(f"{TROUBLE}: it gives no such range of {name} (416)")
    if isinstance(error, library.APIError):
        return HubError(f"ModelScope answers {error.status_code} for {name or model_id or 'the search'}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return DownloadError(f"cannot write to ModelScope's cache ({(error.strerror or '').lower()})")
    if isinstance(error, OSError | library.HubError):
        root = offices.understood(error, endpoint)
        why = f" ({wire.reason(root)})" if root is not None else ""
        cure = (root and wire.cure(root)) or "check the network, or MODELSCOPE_ENDPOINT"
        return HubUnreachable(f"{what}: no answer from {endpoint}{why}; {cure}")
    return HubError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:160]}")


def _sum(text: object) -> str | None:
    return text.lower() if isinstance(text, str) and len(text) == 64 else None
