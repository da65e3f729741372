"""A hub that another package adds, behind our contract: its mistakes become our errors, its values are checked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from backends.errors import AccessDenied, BackendError, HubError, HubTrouble, HubUnreachable, NotFound, RateLimited
from backends.hubs import environment, wire
from backends.hubs.hub import Listing, RepoFile, RepoSummary
from backends.hubs.huggingface import check_id, retry_after
from backends.hubs.selection import check_name
from specs.extensions import Extension
from specs.text import one_line

Value = TypeVar("Value")

_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""A commit, and the name of a folder."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


class AddedHub:
    """What modeldeck asks of a hub, answered by another package.

    The package's class has listing() and file_url(); search(), read_range(), token() and title are its choice. Files
    are transferred by modeldeck itself: resumed, compared with their sums, and written into its own folders only.
    """

    def __init__(self, declared: Extension, theirs: Any) -> None:
        self.name = declared.name
        self.title = one_line(str(getattr(theirs, "title", "") or declared.name))[:40]
        self._declared = declared
        self._theirs = theirs
        for method in ("listing", "file_url"):
            if not callable(getattr(theirs, method, None)):
                raise HubError(f"the hub {self.name} of {declared.package} has no {method}()")

    def listing(self, model_id: str, revision: str | None = None, *, timeout_seconds: float = 10.0) -> Listing:
        """Files, sizes and sums at the revision's commit."""
        check_id(model_id)
        environment.refuse_offline(f"{model_id} cannot be listed")
        found = self._ask(
            f"{model_id} cannot be listed",
            lambda: self._theirs.listing(model_id, revision, timeout_seconds=timeout_seconds),
        )
        if not isinstance(found, Listing) or not all(isinstance(file, RepoFile) for file in found.files):
            raise HubError(f"the hub {self.name} answers for {model_id} with something that is no Listing")
        if not _REVISION.fullmatch(found.revision):
            raise HubError(f"the hub {self.name} gives {model_id} the revision {one_line(found.revision)[:40]!r}")
        for file in found.files:
            check_name(file.name)
            if file.file_bytes is not None and (type(file.file_bytes) is not int or file.file_bytes < 0):
                raise HubError(f"the hub {self.name} gives {file.name} a size that is no count of bytes")
            if file.sha256 is not None and not _SHA256.fullmatch(file.sha256):
                raise HubError(f"the hub {self.name} gives {file.name} a sum that is no SHA-256 in lower case")
        return Listing(self.name, model_id, found.revision, tuple(found.files), found.gated, found.private)

    def read_range(
        self, model_id: str, revision: str, name: str, start: int, stop: int, *, timeout_seconds: float = 10.0
    ) -> bytes:
        """Bytes start to stop (exclusive) of one file; fewer when it ends before."""
        environment.refuse_offline(f"{name} of {model_id} cannot be read")
        if stop <= start:
            return b""
        what = f"{name} of {model_id} cannot be read"
        theirs = getattr(self._theirs, "read_range", None)
        if callable(theirs):
            read = self._ask(
                what, lambda: theirs(model_id, revision, name, start, stop, timeout_seconds=timeout_seconds)
            )
            if not isinstance(read, bytes):
                raise HubError(f"the hub {self.name} reads {name} as something that is no bytes")
            return read[: stop - start]
        url = self.file_url(model_id, revision, name)
        limits = wire.Limits(connect_seconds=timeout_seconds, deadline=time.monotonic() + timeout_seconds)
        try:
            headers = {"Range": f"bytes={start}-{stop - 1}"}
            with wire.get(url, headers=headers, token=self.token(), limits=limits) as answer:
                if answer.status == 416:
                    return b""
                if answer.status not in (200, 206):
                    raise self.refusal(answer, model_id, name)
                if answer.status == 200 and start:
                    raise HubError(f"the hub {self.name} gives no part of a file, only the whole of {name}")
                return answer.read(stop - start)
        except OSError as error:
            raise self.unreachable(error, what) from error

    def search(self, query: str, *, limit: int = 50) -> tuple[RepoSummary, ...]:
        """Repositories that match, the most downloaded first."""
        environment.refuse_offline("the hub cannot be searched")
        theirs = getattr(self._theirs, "search", None)
        if not callable(theirs):
            raise HubError(f"the hub {self.name} cannot be searched; name a repository of it as owner/name")
        found = self._ask("the hub cannot be searched", lambda: tuple(theirs(query, limit=limit)))
        if not all(isinstance(hit, RepoSummary) for hit in found):
            raise HubError(f"the hub {self.name} answers a search with something that is no RepoSummary")
        return tuple(
            RepoSummary(self.name, hit.model_id, hit.downloads, hit.likes, tuple(hit.tags), hit.gated)
            for hit in found[:limit]
        )

    def file_url(self, model_id: str, revision: str, name: str) -> str:
        """Where the bytes of a file are asked for."""
        found = self._ask(f"{name} has no address", lambda: self._theirs.file_url(model_id, revision, name))
        if not isinstance(found, str) or not re.match(r"https?://[^\s/]", found):
            raise HubError(f"the hub {self.name} gives {name} an address that is neither http nor https")
        return found

    def token(self) -> str | None:
        """What speaks for the user, sent to the host of file_url() and to no other; None: nothing does."""
        theirs = getattr(self._theirs, "token", None)
        found = self._ask("its token cannot be read", theirs) if callable(theirs) else None
        return found if isinstance(found, str) and found else None

    def refusal(self, answer: wire.Answer, model_id: str, name: str) -> BackendError:
        """The error that an answer's status means."""
        what = f"{name} of {model_id}"
        if answer.status in (401, 403):
            said = f"{self.title} refuses {what} ({answer.status}): it wants a token, or another one"
            return AccessDenied(said, "private", complete=True)
        if answer.status in (404, 410):
            return NotFound(f"{self.title} has no {what}")
        if answer.status == 429:
            return RateLimited(f"{self.title} takes no more requests just now", retry_after(answer.headers))
        if answer.status >= 500:
            return HubTrouble(f"{self.title} has trouble of its own ({answer.status}); try again later")
        return HubError(f"{self.title} answers {answer.status} for {what}")

    def unreachable(self, error: BaseException, what: str) -> HubUnreachable:
        """The error of a hub that does not answer."""
        return HubUnreachable(f"{what}: no answer from {self.title} ({wire.reason(error)}); check the network")

    def _ask(self, what: str, act: Callable[[], Value]) -> Value:
        try:
            return act()
        except BackendError:
            raise
        except OSError as error:
            raise self.unreachable(error, what) from error
        except Exception as error:
            said = one_line(f"{type(error).__name__}: {error}")[:300]
            raise HubError(f"{what}: the hub {self.name} of {self._declared.package} fails: {said}") from error
