"""HTTP as hubs need it: deadlines, cancelling, proxies, and a token that never leaves its host.

Built on the standard library's http.client rather than on httpx2: reading a body into one large buffer takes a third of
the processor time, a stalled read notices a cancel within a tenth of a second, and nothing heavy is imported.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backends.errors import Cancelled
from backends.hubs import offices
from backends.hubs.offices import NoCertificates, ProxyTrouble
from specs.text import one_line

USER_AGENT = "modeldeck"
_TICK_SECONDS = 0.1
"""How long one wait on a socket lasts: the longest time until a cancel is noticed."""
_READ_AHEAD_BYTES = 64 << 10
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 8
_MOST_ERROR_BYTES = 64 << 10

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait for an answer."""

    connect_seconds: float = 10.0
    """For the name, the connection and the handshake together."""
    stall_seconds: float = 10.0
    """Longest silence while a body or a header is awaited."""
    deadline: float | None = None
    """time.monotonic() at which everything must be over; None: as long as bytes come."""
    cancel: threading.Event | None = None


class _PatientReader(io.RawIOBase):
    """A socket's bytes, read in short waits so that a cancel, a stall or a deadline ends the waiting."""

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        limits = self._limits
        started = time.monotonic()
        while True:
            if limits.cancel is not None and limits.cancel.is_set():
                raise Cancelled("stopped")
            try:
                return self._connection.recv_into(buffer)
            except TimeoutError:
                now = time.monotonic()
                if now - started >= limits.stall_seconds:
                    raise TimeoutError(f"no byte for {limits.stall_seconds:g} s") from None
                if limits.deadline is not None and now >= limits.deadline:
                    raise TimeoutError("no answer in time") from None
            if limits.deadline is not None and time.monotonic() >= limits.deadline:
                raise TimeoutError("no answer in time")


class _PatientSocket:
    """What http.client wants of a socket, with patient reading."""

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_PatientReader(self._connection, self._limits), _READ_AHEAD_BYTES)

    def sendall(self, content: bytes) -> None:
        self._connection.settimeout(self._limits.stall_seconds)
        self._connection.sendall(content)
        self._connection.settimeout(_TICK_SECONDS)

    def close(self) -> None:
        """Leave it open: http.client closes once it has read "Connection: close", and the body is still to come."""


@dataclass(slots=True)
class Answer:
    """A response whose body is still to be read."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    url: str
    """Where the answer came from, after redirects."""
    first: Mapping[str, str]
    """Headers of the hub's own answer, before any redirect to another host."""
    _response: http.client.HTTPResponse = field(repr=False)
    _connection: socket.socket = field(repr=False)
    _first_bytes: bool = True

    @property
    def length(self) -> int | None:
        """Bytes that the body is announced with."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdecimal() else None

    def readinto(self, view: memoryview) -> int:
        """Read what is there, at least one byte, without waiting for more; 0 at the announced end.

        Raises ConnectionError when the stream ends before it.
        """
        response = self._response
        if response.chunked or response.length is None:
            try:
                content = response.read1(len(view))
            except http.client.HTTPException as error:
                raise ConnectionError(f"broken answer: {error!r}") from error
            view[: len(content)] = content
            return len(content)
        if response.length <= 0 or not len(view):
            return 0
        # HTTPResponse.readinto() would wait until the view is full, and a kill would lose what it holds. The first
        # bytes came along with the headers: only read1() gives them without waiting for more.
        view = view[: min(len(view), response.length)]
        if self._first_bytes:
            self._first_bytes = False
            content = response.fp.read1(min(len(view), _READ_AHEAD_BYTES))
            view[: len(content)] = content
            count = len(content)
        else:
            count = response.fp.readinto1(view)
        if count == 0:
            raise ConnectionError("the stream ended early")
        response.length -= count
        return count

    def read(self, most_bytes: int) -> bytes:
        """The body, cut off at so many bytes."""
        parts: list[bytes] = []
        buffer = memoryview(bytearray(min(most_bytes, 1 << 20) or 1))
        left = most_bytes
        while left > 0 and (count := self.readinto(buffer[: min(left, len(buffer))])):
            parts.append(bytes(buffer[:count]))
            left -= count
        return b"".join(parts)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._response.close()
        with contextlib.suppress(OSError):
            self._connection.close()


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a token belongs to."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


@contextlib.contextmanager
def get(
    url: str, *, headers: Mapping[str, str] | None = None, token: str | None = None, limits: Limits | None = None
) -> Iterator[Answer]:
    """Ask for a URL, following redirects; the token goes to the first host only.

    Raises OSError for everything that the network does, Cancelled when limits.cancel is set.
    """
    answer = _get(url, dict(headers or {}), token, limits or Limits())
    try:
        yield answer
    finally:
        answer.close()


def _get(url: str, headers: dict[str, str], token: str | None, limits: Limits) -> Answer:
    home = origin(url)
    first: Mapping[str, str] | None = None
    for _ in range(_MOST_REDIRECTS):
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if token and origin(url) == home:
            sent["Authorization"] = f"Bearer {token}"
        answer = _ask(url, sent, limits)
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or not location:
            return Answer(
                answer.status, answer.headers, url, first or answer.headers, answer._response, answer._connection
            )
        target = urllib.parse.quote(urllib.parse.urljoin(url, location), safe="%/:?#[]@!$&'()*+,;=~")
        if origin(target) != origin(url) or "x-linked-etag" in answer.headers:
            first = first or answer.headers
        answer.close()
        if urllib.parse.urlsplit(target).scheme not in ("http", "https"):
            raise ConnectionError(f"redirected to something that is no web address: {target[:80]}")
        if url.startswith("https:") and target.startswith("http:"):
            raise ConnectionError("redirected from https to http, which is not followed")
        url = target
    raise ConnectionError(f"more than {_MOST_REDIRECTS} redirects")


def _ask(url: str, headers: Mapping[str, str], limits: Limits) -> Answer:
    parts = urllib.parse.urlsplit(url)
    deadline = time.monotonic() + limits.connect_seconds
    if limits.deadline is not None:
        deadline = min(deadline, limits.deadline)
    connection, by_proxy, extra = patiently(lambda: _connect(url, limits.connect_seconds), deadline, limits.cancel)
    connection.settimeout(_TICK_SECONDS)
    speaker = http.client.HTTPConnection(parts.hostname or "", parts.port)
    speaker.sock = _PatientSocket(connection, limits)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    host = parts.netloc.rpartition("@")[2]
    try:
        speaker.putrequest("GET", f"http://{host}{path}" if by_proxy else path, skip_host=True)
        for name, value in {"Host": host, **headers, **extra, "Connection": "close"}.items():
            speaker.putheader(name, value)
        speaker.endheaders()
        response = speaker.getresponse()
    except http.client.RemoteDisconnected:
        connection.close()
        raise
    except http.client.HTTPException as error:
        connection.close()
        raise ConnectionError(str(error) or type(error).__name__) from error
    except BaseException:
        connection.close()
        raise
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, url, {}, response, connection)


def patiently(work: Callable[[], Result], deadline: float, cancel: threading.Event | None = None) -> Result:
    """Run something that blocks and cannot be told to stop, such as a name lookup; leave it behind when late."""
    done = threading.Event()
    outcome: list[Result] = []
    failure: list[BaseException] = []
    late = threading.Event()

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 — raised again in the thread that asked
            failure.append(error)
        done.set()
        if late.is_set() and outcome:
            _close_all(outcome)

    threading.Thread(target=run, daemon=True, name="connect").start()
    while not done.wait(_TICK_SECONDS / 2):
        if cancel is not None and cancel.is_set():
            late.set()
            raise Cancelled("stopped")
        if time.monotonic() >= deadline:
            late.set()
            raise TimeoutError("no connection in time")
    if failure:
        raise failure[0]
    return outcome[0]


def _close_all(outcome: list[Any]) -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError, IndexError):
        outcome[0][0].close()


def _connect(url: str, timeout_seconds: float) -> tuple[socket.socket, bool, dict[str, str]]:
    """A connected socket, whether requests must name the whole URL, and headers for the proxy."""
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    proxy = offices.proxy_for(url)
    if proxy is None:
        return _secured(_plain(host, port, timeout_seconds), host, secure), False, {}
    try:
        connection = _plain(proxy.host, proxy.port, timeout_seconds)
    except OSError as error:
        raise ProxyTrouble(f"the proxy {proxy} does not answer ({reason(error)})") from error
    connection = _secured(connection, proxy.host, proxy.secure)
    if not secure:
        return connection, True, proxy.headers
    try:
        offices.tunnel(connection, proxy, host, port)
    except BaseException:
        connection.close()
        raise
    return _secured(connection, host, True), False, {}


def _plain(host: str, port: int, timeout_seconds: float) -> socket.socket:
    connection = socket.create_connection((host, port), timeout_seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _secured(connection: socket.socket, host: str, secure: bool) -> socket.socket:
    if not secure:
        return connection
    try:
        return offices.tls().wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


def error_text(answer: Answer) -> str:
    """What an error answer says, cut to a size that a line can hold."""
    import json

    said = answer.headers.get("x-error-message", "")
    if not said:
        with contextlib.suppress(OSError):
            body = answer.read(_MOST_ERROR_BYTES)
            try:
                said = str(json.loads(body).get("error", ""))
            except (ValueError, AttributeError):
                said = ""
    return one_line(said)[:200]


def reason(error: BaseException) -> str:
    """What the network did, in a few words without addresses or numbers of the system."""
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if isinstance(error, TimeoutError):
        return str(error).removeprefix("[Errno 110] ") or "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def cure(error: BaseException) -> str | None:
    """What helps against trouble between here and any hub; None: nothing in particular is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "where it is signed by an authority of your own, set SSL_CERT_FILE to the file of its certificate"
    if isinstance(error, NoCertificates):
        return "correct that variable, or unset it"
    if isinstance(error, ProxyTrouble):
        return "check HTTPS_PROXY, or put the hub into NO_PROXY"
    return None
