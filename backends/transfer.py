"""One file over HTTP into a part file: resumed, verified, patient with hubs and quick to stop."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.disk import CHECK_BYTES, free_bytes, full, refuse_when_full
from backends.errors import BackendError, Cancelled, DownloadError, HubTrouble, HubUnreachable, NotFound, WrongSum
from backends.hubs import hf_cache, wire
from backends.hubs.huggingface import refusal, retry_after, unreachable
from backends.plans import Patience

_BUFFER_BYTES = 1 << 20
_RETRIED = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a hub, and what it must be."""

    model_id: str
    revision: str
    name: str
    url: str
    """The hub's own address of it; redirects lead to the bytes."""
    file_bytes: int
    sha256: str | None
    git_sha1: str | None = None
    """Git's object ID, which is a sum too: SHA-1 of "blob", the length, NUL and the content."""
    refusal: Callable[[wire.Answer], BackendError] | None = None
    """Makes the error of an answer's status; None: Hugging Face's words."""
    unreachable: Callable[[BaseException, str], HubUnreachable] = unreachable
    """Makes the error of a hub that does not answer."""


@dataclass(slots=True)
class Watch:
    """What a transfer tells while it goes on."""

    moved: Callable[[int], None] = field(default=lambda _: None)
    """Bytes that came over the network; negative when bytes that were here turned out wrong."""
    note: Callable[[str | None], None] = field(default=lambda _: None)
    """What it waits for, in one line; None: nothing."""
    waiting: Callable[[str, float], None] = field(default=lambda *_: None)
    """Why it waits, and for how many seconds until the next try."""
    checking: Callable[[bool], None] = field(default=lambda _: None)
    """Bytes that lie here are being summed, and no transfer is going on."""
    again_bytes: int = 0
    """Bytes that may be transferred a second time without asking."""


class _Sums:
    """The sum that the hub gives, kept up while bytes arrive."""

    def __init__(self, remote: Remote) -> None:
        self._expected = remote.sha256 or remote.git_sha1
        self._digest: Any = None
        if remote.sha256:
            self._digest = hashlib.sha256()
        elif remote.git_sha1:
            self._digest = hashlib.sha1(b"blob %d\0" % remote.file_bytes, usedforsecurity=False)

    def update(self, content: memoryview) -> None:
        if self._digest is not None:
            self._digest.update(content)

    @property
    def known(self) -> bool:
        return self._digest is not None

    def right(self) -> bool:
        return self._digest is None or self._digest.hexdigest() == self._expected


def part_bytes(part: Path) -> int:
    """Bytes of an unfinished file that lie here."""
    try:
        return part.stat().st_size
    except OSError:
        return 0


def check_sum(path: Path, remote: Remote, cancel: threading.Event | None = None) -> bool:
    """Whether a file on this disk is what the hub lists, by sum, or by size where the hub gives none."""
    if path.stat().st_size != remote.file_bytes:
        return False
    sums = _Sums(remote)
    if sums.known:
        with path.open("rb", buffering=0) as file:
            _sum_up(file, sums, cancel)
    return sums.right()


def transfer(
    remote: Remote,
    part: Path,
    *,
    token: str | None = None,
    watch: Watch | None = None,
    cancel: threading.Event | None = None,
    patience: Patience | None = None,
) -> None:
    """Bring the part file to the whole and right content of the remote file.

    What is in the part file already is kept and summed, not asked for again. On every failure it stays, for the next
    call to go on from; only content with a wrong sum is removed.

    Raises:
        Cancelled, DiskFull, DownloadError, HubError and its kinds, NotFound.
    """
    _Transfer(remote, part, token=token, watch=watch or Watch(), cancel=cancel, patience=patience or Patience()).run()


class _Transfer:
    def __init__(
        self,
        remote: Remote,
        part: Path,
        *,
        token: str | None,
        watch: Watch,
        cancel: threading.Event | None,
        patience: Patience,
    ) -> None:
        self.remote = remote
        self.part = part
        self.sidecar = part.with_suffix(".json")
        self.token = token
        self.watch = watch
        self.cancel = cancel
        self.patience = patience
        self.done = 0
        self.sums = _Sums(remote)
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self.known: dict[str, Any] = self._read_sidecar()
        self.use_if_range = True
        self.since_disk_check = 0

    def run(self) -> None:
        try:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise self._disk_error(error) from error
        try:
            self._resume(descriptor)
            self._fetch(descriptor)
            if not self.sums.right():
                self._discard(descriptor)
                raise WrongSum(
                    f"{self.remote.name} arrived with a wrong sum (damaged on the way, or on the hub); "
                    "it was removed: start the download again"
                )
            self._settle(descriptor)
        finally:
            os.close(descriptor)
        self.sidecar.unlink(missing_ok=True)

    # -- what lies here already

    def _resume(self, descriptor: int) -> None:
        here = os.fstat(descriptor).st_size
        if here > self.remote.file_bytes:
            os.ftruncate(descriptor, 0)
            here = 0
        if here and self.sums.known:
            self.watch.checking(True)
            try:
                with open(descriptor, "rb", buffering=0, closefd=False) as file:
                    _sum_up(file, self.sums, self.cancel)
            finally:
                self.watch.checking(False)
        self.done = here
        os.lseek(descriptor, here, os.SEEK_SET)

    def _settle(self, descriptor: int) -> None:
        """Put the bytes on the disk before the file gets its name: after a power cut it is whole or it is absent."""
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise self._disk_error(error) from error

    def _discard(self, descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        self.part.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)
        self.watch.note(f"{self.remote.name} arrived with a wrong sum")
        self.watch.moved(-self.done)

    # -- asking until it is whole

    def _fetch(self, descriptor: int) -> None:
        failures = 0
        while self.done < self.remote.file_bytes:
            before = self.done
            self._check_disk()
            wait: float | None = None
            try:
                trouble, wait = self._attempt(descriptor)
                if trouble is None:
                    continue
            except (Cancelled, DownloadError, NotFound):
                raise
            except HubUnreachable as error:
                trouble = error
            except OSError as error:
                trouble = self.remote.unreachable(
                    error, f"{self.remote.name} of {self.remote.model_id} stopped at {self._where()}"
                )
            failures = 1 if self.done > before else failures + 1
            if failures >= self.patience.tries:
                raise trouble
            if wait is None:
                wait = min(self.patience.back_off_seconds * 2 ** (failures - 1), self.patience.most_back_off_seconds)
            if wait > self.patience.most_retry_after_seconds:
                raise trouble
            if wait > 0:
                self.watch.waiting(_short(trouble), wait)
                self.patience.pause(wait, self.cancel)
                self.watch.waiting(_short(trouble), 0.0)

    def _attempt(self, descriptor: int) -> tuple[BackendError | None, float | None]:
        """One connection. Returns what went wrong and how long to wait, (None, None) when it went on well."""
        headers = {}
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            if self.use_if_range and (etag := self.known.get("etag")):
                headers["If-Range"] = etag
        limits = wire.Limits(self.patience.connect_seconds, self.patience.stall_seconds, None, self.cancel)
        with wire.get(self.remote.url, headers=headers, token=self.token, limits=limits) as answer:
            trouble = self._refused(answer)
            if trouble is not None:
                return trouble
            self.watch.note(None)
            skip = self._start_of(answer)
            if isinstance(skip, tuple):
                return skip
            self._remember(answer)
            self._receive(answer, skip, descriptor)
        if self.done < self.remote.file_bytes:
            return self._short_of(answer), None
        return None, None

    def _refused(self, answer: wire.Answer) -> tuple[BackendError, float | None] | None:
        status = answer.status
        if status in (200, 206, 416):
            linked = answer.first.get("x-linked-etag", answer.headers.get("x-linked-etag", "")).strip('"').lower()
            if self.remote.sha256 and re.fullmatch(r"[0-9a-f]{64}", linked) and linked != self.remote.sha256:
                raise DownloadError(
                    f"{self.remote.name} of {self.remote.model_id} has changed on the hub since it was listed; "
                    "start the download again: files that stayed the same are kept"
                )
            return None
        elsewhere = wire.origin(answer.url) != wire.origin(self.remote.url)
        if elsewhere and status in (400, 401, 403, 404, 410):
            # A signed address that has expired, or a storage node without the object: ask the hub for a fresh one.
            return HubTrouble(f"the storage behind the hub refuses {self.remote.name} ({status})"), None
        if self.remote.refusal is not None:
            error = self.remote.refusal(answer)
        else:
            error = refusal(answer, self.remote.model_id, self.remote.revision, self.remote.name)
        if status in _RETRIED:
            return error, retry_after(answer.headers)
        if isinstance(error, NotFound) and "revision" in str(error):
            raise DownloadError(
                f"{self.remote.model_id} has changed on the hub and commit {self.remote.revision[:12]} is gone; "
                "start the download again: files that stayed the same are kept"
            )
        raise error

    def _start_of(self, answer: wire.Answer) -> int | tuple[BackendError | None, float | None]:
        """Bytes of the body to read past before new ones come, or why it cannot be used."""
        self._check_announced(answer)
        span = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", answer.headers.get("content-range", ""))
        if answer.status == 416:
            return self._short_of(answer), None
        if answer.status == 206:
            first = int(span[1]) if span and span[1] else self.done
            if first > self.done:
                return HubTrouble(f"the hub sends {self.remote.name} from another place than asked for"), None
            return self.done - first
        if not self.done:
            return 0
        if self.use_if_range and self.known.get("etag"):
            self.use_if_range = False  # the same object from another storage node: its sum was compared already
            return None, None
        if self.done <= self.watch.again_bytes or self.known.get("no_ranges"):
            self.watch.note("the hub does not resume: reading past what is here already")
            return self.done
        self.known["no_ranges"] = True
        self._write_sidecar()
        raise DownloadError(
            f"{self.remote.name}: the hub ignores ranges, so going on means transferring {self._where()} again; "
            "what is here is kept: start the download again to agree"
        )

    def _check_announced(self, answer: wire.Answer) -> None:
        """More bytes than listed can never become the listed file; fewer may be a broken storage node's doing."""
        announced = re.search(r"/(\d+)$", answer.headers.get("content-range", ""))
        total = int(announced[1]) if announced else answer.length if answer.status == 200 else None
        if total is not None and total > self.remote.file_bytes:
            raise DownloadError(
                f"the hub lists {self.remote.name} with {self.remote.file_bytes:,} bytes and sends {total:,}; "
                "start the download again later, or from another hub"
            )

    def _receive(self, answer: wire.Answer, skip: int, descriptor: int) -> None:
        buffer, limit = self.buffer, self.remote.file_bytes
        while self.done < limit:
            count = answer.readinto(buffer)
            if not count:
                return
            content = buffer[:count]
            if skip:
                passed = min(skip, count)
                skip -= passed
                content = content[passed:]
                if not skip:
                    self.watch.note(None)
                if not len(content):
                    continue
            content = content[: limit - self.done]
            self._write(descriptor, content)
            self.sums.update(content)
            self.done += len(content)
            self.watch.moved(len(content))
            self.since_disk_check += len(content)
            if self.since_disk_check >= CHECK_BYTES:
                self._check_disk()

    def _write(self, descriptor: int, content: memoryview) -> None:
        start = self.done
        try:
            while len(content):
                content = content[os.write(descriptor, content) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, start)  # sums cover whole buffers only
            raise self._disk_error(error) from error

    # -- what is known and said

    def _short_of(self, answer: wire.Answer) -> HubTrouble:
        announced = re.search(r"/(\d+)$", answer.headers.get("content-range", ""))
        total = int(announced[1]) if announced else self.done
        return HubTrouble(
            f"the hub lists {self.remote.name} with {self.remote.file_bytes:,} bytes and gives only {total:,}; "
            f"{self._where()} are kept"
        )

    def _where(self) -> str:
        return f"{self.done:,} of {self.remote.file_bytes:,} bytes"

    def _check_disk(self) -> None:
        self.since_disk_check = 0
        refuse_when_full(self.part.parent, self.remote.file_bytes - self.done)

    def _disk_error(self, error: OSError) -> BackendError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = free_bytes(self.part.parent) or 0
            return full(self.part.parent, self.remote.file_bytes - self.done, free)
        return hf_cache.cannot_write(error)

    def _remember(self, answer: wire.Answer) -> None:
        etag = answer.headers.get("etag", "")
        strong = etag if etag.startswith('"') else None
        if self.known.get("etag") != strong:
            self.known["etag"] = strong
            self._write_sidecar()

    def _read_sidecar(self) -> dict[str, Any]:
        try:
            found = json.loads(self.sidecar.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write_sidecar(self) -> None:
        """Only a hint for the next call: losing it costs a request, so a failure is no reason to stop."""
        with contextlib.suppress(OSError):
            beside = self.sidecar.with_suffix(".tmp")
            beside.write_text(json.dumps(self.known))
            beside.replace(self.sidecar)


def _short(error: BackendError) -> str:
    return str(error).partition("; ")[0]


def _sum_up(file: Any, sums: _Sums, cancel: threading.Event | None) -> None:
    view = memoryview(bytearray(4 << 20))
    while count := file.readinto(view):
        if cancel is not None and cancel.is_set():
            raise Cancelled("stopped")
        sums.update(view[:count])
