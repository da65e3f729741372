"""Hugging Face: what its repositories hold, ranges of their files, and its search."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from backends.errors import AccessDenied, BackendError, HubError, HubTrouble, HubUnreachable, NotFound, RateLimited
from backends.hubs import environment, wire
from backends.hubs.hub import Listing, RepoFile, RepoSummary
from backends.hubs.token import token, token_text, where_from
from specs.model import HUGGINGFACE

_MOST_LISTING_BYTES = 64 << 20
"""A listing of 100,000 files is about 25 MB; what a hostile answer of this size becomes here still fits into memory."""
_MOST_FILES = 250_000
_PAGED_FILES = 50_000
"""From so many files on the hub's own client trusts only the tree, which comes in pages."""
_NEXT_PAGE = re.compile(r'<([^<>]*)>\s*;[^,<]*\brel="?next\b')
_REPO = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_TRIES = 3
_SILENCE_SECONDS = 10.0
_SERVER_TROUBLE = (408, 429, 500, 502, 503, 504)


class HuggingFaceHub:
    """The Hugging Face hub, at the address that HF_ENDPOINT names."""

    name = HUGGINGFACE

    def listing(self, model_id: str, revision: str | None = None, *, timeout_seconds: float = 10.0) -> Listing:
        """Files, sizes and sums at the revision's commit."""
        check_id(model_id)
        environment.refuse_offline(f"{model_id} cannot be listed")
        at = f"/revision/{urllib.parse.quote(revision, safe='')}" if revision else ""
        url = f"{environment.endpoint()}/api/models/{model_id}{at}?blobs=true"
        deadline = time.monotonic() + timeout_seconds
        answer, _ = self._json(url, model_id, revision, timeout_seconds)
        if not isinstance(answer, dict) or not isinstance(answer.get("siblings", []), list | None):
            raise HubError(f"{environment.endpoint()} answers for {model_id} with something that is no listing")
        commit = answer.get("sha")
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{7,64}", commit):
            raise HubError(f"{environment.endpoint()} gives {model_id} no commit")
        entries = answer.get("siblings") or ()
        files: Iterable[RepoFile] = (_file(entry) for entry in entries if isinstance(entry, dict))
        if not entries or len(entries) >= _PAGED_FILES:
            files = self._tree(model_id, commit, deadline)
        gated = answer.get("gated")
        return Listing(
            self.name,
            model_id,
            commit,
            tuple(file for file in files if file.name),
            gated if isinstance(gated, str) else None,
            bool(answer.get("private")),
        )

    def _tree(self, model_id: str, commit: str, deadline: float) -> Iterator[RepoFile]:
        """The files of a commit page by page: of very many files the short listing names some or none."""
        url = f"{environment.endpoint()}/api/models/{model_id}/tree/{commit}?recursive=true"
        seen: set[str] = set()
        count = 0
        while url:
            seen.add(url)
            page, headers = self._json(url, model_id, commit, max(0.01, deadline - time.monotonic()))
            if not isinstance(page, list):
                raise HubError(f"{environment.endpoint()} answers for {model_id} with something that is no listing")
            count += len(page)
            if count > _MOST_FILES:
                raise HubError(f"{model_id} lists more than {_MOST_FILES:,} files, which no model here needs")
            yield from (_file(entry) for entry in page if isinstance(entry, dict) and entry.get("type") == "file")
            found = _NEXT_PAGE.search(headers.get("link", ""))
            url = urllib.parse.urljoin(url, found[1]) if found else ""
            if url and wire.origin(url) != wire.origin(environment.endpoint()):
                raise HubError(f"the listing of {model_id} goes on at another host, which is not followed")
            if url in seen or (url and not page):
                raise HubError(f"the listing of {model_id} has no end: the hub gives a page twice, or an empty one")

    def read_range(
        self, model_id: str, revision: str, name: str, start: int, stop: int, *, timeout_seconds: float = 10.0
    ) -> bytes:
        """Bytes start to stop (exclusive) of one file; fewer when it ends before."""
        check_id(model_id)
        environment.refuse_offline(f"{name} of {model_id} cannot be read")
        if stop <= start:
            return b""
        limits = wire.Limits(connect_seconds=timeout_seconds, deadline=time.monotonic() + timeout_seconds)
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        try:
            with wire.get(
                file_url(model_id, revision, name), headers=headers, token=token_text(), limits=limits
            ) as got:
                if got.status == 416:
                    return b""
                if got.status not in (200, 206):
                    raise refusal(got, model_id, revision, name)
                if got.status == 200 and start:
                    _skip(got, start)  # a server without ranges: what comes before is read past
                return got.read(stop - start)
        except OSError as error:
            raise unreachable(error, f"{name} of {model_id} cannot be read") from error

    def search(self, query: str, *, limit: int = 50) -> tuple[RepoSummary, ...]:
        """Repositories that match, the most downloaded first."""
        environment.refuse_offline("the hub cannot be searched")
        asked = urllib.parse.urlencode(
            {"search": query, "limit": max(1, limit), "sort": "downloads", "direction": -1, "full": "false"}
        )
        found, _ = self._json(f"{environment.endpoint()}/api/models?{asked}", None, None, 10.0)
        if not isinstance(found, list):
            raise HubError(f"{environment.endpoint()} answers a search with something that is no list")
        return tuple(_summary(entry) for entry in found[:limit] if isinstance(entry, dict) and entry.get("id"))

    def _json(
        self, url: str, model_id: str | None, revision: str | None, timeout_seconds: float
    ) -> tuple[Any, Mapping[str, str]]:
        """The document at an address of the hub's, and the answer's headers."""
        deadline = time.monotonic() + timeout_seconds
        what = f"{model_id} cannot be listed" if model_id else "the hub cannot be searched"
        patience = min(timeout_seconds, _SILENCE_SECONDS)
        limits = wire.Limits(connect_seconds=patience, stall_seconds=patience, deadline=deadline)
        for left in reversed(range(_TRIES)):
            wait = 0.3 * (_TRIES - left)
            try:
                with wire.get(url, token=token_text(), limits=limits) as answer:
                    if answer.status == 200:
                        content, headers = answer.read(_MOST_LISTING_BYTES + 1), answer.headers
                        break
                    asked = retry_after(answer.headers)
                    wait = wait if asked is None else asked
                    final = not left or answer.status not in _SERVER_TROUBLE or time.monotonic() + wait >= deadline
                    if final:
                        raise refusal(answer, model_id or "the search", revision)
            except OSError as error:
                lasting = isinstance(error, ConnectionRefusedError) or wire.cure(error) is not None
                if not left or lasting or time.monotonic() + wait >= deadline:
                    raise unreachable(error, what) from error
            time.sleep(wait)
        if len(content) > _MOST_LISTING_BYTES:
            raise HubError(f"{what}: the hub answers with more than {_MOST_LISTING_BYTES >> 20} MiB")
        try:
            return json.loads(content), headers
        except (ValueError, RecursionError) as error:
            raise HubError(f"{environment.endpoint()} answers with something that is no JSON") from error


def check_id(model_id: str) -> None:
    """Refuse what cannot be a repository's name before it becomes part of an address or a path."""
    if not _REPO.fullmatch(model_id) or ".." in model_id or len(model_id) > 200:
        raise NotFound(f"{model_id[:80]!r} is no repository name; it should look like owner/name")


def file_url(model_id: str, revision: str, name: str) -> str:
    """Where a file's body is asked for."""
    at = urllib.parse.quote(revision, safe="")
    return f"{environment.endpoint()}/{model_id}/resolve/{at}/{urllib.parse.quote(name)}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait; None when it does not."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if text:
        from email.utils import parsedate_to_datetime

        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except ValueError:
            return None
    limit = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
    return float(limit[1]) if limit else None


def refusal(answer: wire.Answer, model_id: str, revision: str | None = None, name: str | None = None) -> BackendError:
    """The error that an answer's status means, with what to do about it."""
    status, hub = answer.status, environment.endpoint()
    code, said = answer.headers.get("x-error-code", ""), wire.error_text(answer)
    page = f"{hub}/{model_id}"
    if code == "GatedRepo":
        if status == 401 or token() is None:
            return AccessDenied(
                f"{model_id} is gated: accept its licence at {page}, then set HF_TOKEN or run `hf auth login`",
                "gated",
                page,
            )
        return AccessDenied(
            f"{model_id} is gated and your account is not on its list yet: ask for access at {page}", "gated", page
        )
    if code == "RevisionNotFound":
        return NotFound(f"{model_id} has no revision {revision or 'main'}")
    if code == "EntryNotFound":
        return NotFound(f"{model_id} has no file {name}" if name else f"{model_id} has no such file")
    if "disabled" in said and status == 403:
        return HubError(f"{model_id} has been disabled by its owner or the hub")
    if status == 401 and "credentials" in said.lower():
        tokens = f"{hub}/settings/tokens"
        return AccessDenied(
            f"the hub does not take the token from {where_from()}; make a new one at {tokens}", "token", tokens
        )
    if code == "RepoNotFound" or (status in (401, 404) and not name):
        if token() is None:
            return NotFound(f"{hub} has no {model_id}, or it is private: check the name, or set HF_TOKEN")
        return NotFound(f"{hub} has no {model_id}, or it is private and your token may not see it")
    if status == 404:
        return NotFound(f"{model_id} has no file {name}")
    if status in (401, 403):
        return AccessDenied(
            f"the hub refuses {name or model_id} ({status}{': ' + said if said else ''})", "private", page
        )
    if status == 429:
        seconds = retry_after(answer.headers)
        wait = f"try again in {seconds:.0f} s" if seconds is not None else "try again in some minutes"
        return RateLimited(f"{hub} takes no more requests from here just now; {wait}", seconds)
    if status >= 500:
        return HubTrouble(f"{hub} has trouble of its own ({status}); try again later")
    return HubError(f"{hub} answers {status} for {name or model_id}{': ' + said if said else ''}")


def unreachable(error: BaseException, what: str) -> HubUnreachable:
    """The error of a hub that does not answer."""
    cure = wire.cure(error) or "check the network, or HF_ENDPOINT"
    return HubUnreachable(f"{what}: no answer from {environment.endpoint()} ({wire.reason(error)}); {cure}")


def _skip(answer: wire.Answer, count: int) -> None:
    view = memoryview(bytearray(1 << 16))
    while count > 0 and (got := answer.readinto(view[: min(count, len(view))])):
        count -= got


def _file(entry: Mapping[str, Any]) -> RepoFile:
    """A file of either listing: the short one and the tree call the same things by two names."""
    lfs = entry.get("lfs")
    lfs = lfs if isinstance(lfs, dict) else {}
    sha256 = lfs.get("sha256") or lfs.get("oid")
    sha256 = sha256.lower() if isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{64}", sha256) else None
    size = lfs.get("size", entry.get("size"))
    blob = entry.get("blobId") or entry.get("oid")
    git = blob if isinstance(blob, str) and re.fullmatch(r"[0-9a-f]{40}", blob) else None
    return RepoFile(
        str(entry.get("rfilename") or entry.get("path") or ""),
        size if isinstance(size, int) and size >= 0 else None,
        sha256,
        sha256 or git,
    )


def _summary(entry: Mapping[str, Any]) -> RepoSummary:
    def count(name: str) -> int | None:
        value = entry.get(name)
        return value if isinstance(value, int) else None

    gated = entry.get("gated")
    tags = entry.get("tags")
    return RepoSummary(
        HUGGINGFACE,
        str(entry["id"]),
        count("downloads"),
        count("likes"),
        tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        gated if isinstance(gated, str) else None,
    )
