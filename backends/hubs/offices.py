"""What offices put between a machine and the hubs: a proxy, and certificates by an authority of their own."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_MOST_HEAD_BYTES = 64 << 10


class ProxyTrouble(ConnectionError):
    """The proxy does not let us through."""


class NoCertificates(OSError):
    """The bundle of certificates that the environment names cannot be used."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy is. Written out it shows no password."""

    host: str
    port: int
    secure: bool
    """Whether it is spoken to in TLS."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    """Who we are, for a proxy that asks."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def proxy_for(url: str) -> Proxy | None:
    """The proxy that the environment (or macOS) names for an address; None: it is asked directly.

    Raises ProxyTrouble for a kind of proxy that we do not speak.
    """
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    proxies = urllib.request.getproxies()
    address = proxies.get(parts.scheme) or proxies.get("all")
    if not address or urllib.request.proxy_bypass(f"{host}:{port}") or urllib.request.proxy_bypass(host):
        return None
    gate = urllib.parse.urlsplit(address if "//" in address else f"//{address}", scheme="http")
    if gate.scheme not in ("http", "https"):
        raise ProxyTrouble(f"a {gate.scheme} proxy is not supported, only an http one")
    if gate.scheme == parts.scheme == "https":
        # TLS inside TLS: the standard library wraps no socket twice.
        raise ProxyTrouble("a proxy that is itself spoken to in TLS is not supported; its address begins with http://")
    headers = {}
    if gate.username:
        word = f"{urllib.parse.unquote(gate.username)}:{urllib.parse.unquote(gate.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(word.encode()).decode()
    secure = gate.scheme == "https"
    return Proxy(gate.hostname or "", gate.port or (443 if secure else 8080), secure, headers)


def tunnel(connection: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have a proxy put us through to a host. Raises ProxyTrouble when it does not."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *(f"{name}: {v}" for name, v in proxy.headers.items())]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte: what comes after the empty line is the host's own.
        piece = connection.recv(1)
        if not piece or len(head) > _MOST_HEAD_BYTES:
            raise ProxyTrouble(f"the proxy {proxy} broke off instead of putting us through to {host}")
        head += piece
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
    status = words[1] if len(words) > 1 else ""
    if not status.startswith("2"):
        raise refused(proxy, status)


def refused(proxy: Proxy | None, status: str) -> ProxyTrouble:
    """The error of a proxy that answers a wish to be put through with this status."""
    if status == "407":
        return ProxyTrouble(
            f"the proxy {proxy} wants another user and password than http://user:password@host:port (407)"
        )
    return ProxyTrouble(f"the proxy {proxy} does not put us through ({status or 'no status'})")


def bundle() -> str | None:
    """The file or folder of certificates that the environment names; None: the system's own store."""
    return next(filter(None, map(os.environ.get, _BUNDLES)), None)


def tls() -> ssl.SSLContext:
    """What to trust: the bundle that the user names, else the system's store, as huggingface_hub's client does.

    Raises NoCertificates when the bundle cannot be read.
    """
    named = bundle()
    try:
        return _context(named, _as_of(named))
    except OSError as error:
        variable = next((name for name in _BUNDLES if os.environ.get(name) == named), _BUNDLES[0])
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else (error.strerror or str(error)).lower()
        raise NoCertificates(f"the certificates of {variable} cannot be read: {named} ({why})") from error


def _as_of(named: str | None) -> int | None:
    return Path(named).stat().st_mtime_ns if named else None


@lru_cache(maxsize=4)
def _context(named: str | None, _as_of: int | None) -> ssl.SSLContext:
    if named:
        folder = Path(named).is_dir()
        return ssl.create_default_context(capath=named if folder else None, cafile=None if folder else named)
    try:
        import truststore  # comes with huggingface_hub
    except ImportError:
        return ssl.create_default_context()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def understood(error: BaseException, url: str) -> OSError | None:
    """What lies behind an exception of requests: trouble with certificates, the proxy, or the connection."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        at = at.__cause__ or at.__context__
    for one in reversed(seen):
        if isinstance(one, ssl.SSLCertVerificationError | ProxyTrouble | NoCertificates):
            return one
    if any(type(one).__name__ == "ProxyError" for one in seen):
        proxy = proxy_for(url)
        status = next((text.split()[3] for text in map(str, seen) if text.startswith("Tunnel connection failed: ")), "")
        return refused(proxy, status) if status else ProxyTrouble(f"the proxy {proxy} does not answer")
    root = seen[-1]
    return root if isinstance(root, OSError) else None
