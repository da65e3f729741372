"""What stands between a client and a hub in offices: TLS with an authority of one's own, and a proxy.

Both are relays on the loopback interface. tls/ holds a certificate for localhost, 127.0.0.1 and hub.test, signed by an
authority that nobody trusts but who is told to; its keys are made for these tests and protect nothing.
"""

from __future__ import annotations

import base64
import contextlib
import re
import select
import socket
import ssl
import threading
import urllib.parse
from pathlib import Path

TLS = Path(__file__).with_name("tls")
AUTHORITY = TLS / "authority.pem"
HUB_NAME = "hub.test"
"""A name that no resolver knows: who reaches it went through the proxy."""
_BLOCK_BYTES = 256 << 10


class Relay:
    """Listens on a free port and hands every connection to serve() in a thread of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._served, args=(client,), daemon=True).start()

    def _served(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            self.serve(client)

    def serve(self, client: socket.socket) -> None:
        raise NotImplementedError

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class TlsFront(Relay):
    """Speaks TLS for a hub that speaks plain HTTP."""

    def __init__(self, hub_port: int) -> None:
        self._hub_port = hub_port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(TLS / "server.pem")
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        with (
            self._context.wrap_socket(client, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", self._hub_port)) as hub,
        ):
            _both_ways(secure, hub)


class Proxy(Relay):
    """An HTTP proxy: CONNECT for HTTPS, whole URLs for HTTP. hub.test leads to this machine.

    Args:
        user: user:password that it asks for; None: it takes everybody.
    """

    def __init__(self, user: str | None = None) -> None:
        self._user = user
        self.asked: list[str] = []
        """"CONNECT host:port" or "GET http://…" of every request that was let through."""
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        head = _head(client)
        method, target, _ = head.partition(b"\r\n")[0].decode().split(" ", 2)
        if self._user is not None:
            word = base64.b64encode(self._user.encode()).decode()
            if f"proxy-authorization: basic {word}".lower() not in head.decode("latin-1").lower():
                client.sendall(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n"
                    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
        self.asked.append(f"{method} {target.partition('?')[0]}")
        parts = urllib.parse.urlsplit(f"//{target}" if method == "CONNECT" else target)
        host = "127.0.0.1" if parts.hostname == HUB_NAME else parts.hostname or ""
        with socket.create_connection((host, parts.port or 80)) as server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
                server.sendall(_closing(head.replace(target.encode(), path.encode(), 1)))
                client.sendall(_closing(_head(server)))
            _both_ways(client, server)


def _head(client: socket.socket) -> bytes:
    """A request or answer up to its empty line."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = client.recv(1)
        if not piece:
            raise ConnectionResetError
        head += piece
    return head


def _closing(head: bytes) -> bytes:
    """A request or answer after which the connection ends: one through this proxy carries no second."""
    head = re.sub(rb"(?im)^(proxy-)?connection:.*\r\n", b"", head)
    return head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


def _both_ways(one: socket.socket, other: socket.socket) -> None:
    """Copy until either side ends. In one thread: OpenSSL takes no two at one connection."""
    peers = {one: other, other: one}
    while True:
        waiting = [end for end in peers if isinstance(end, ssl.SSLSocket) and end.pending()]
        for end in waiting or select.select(list(peers), [], [])[0]:
            end.settimeout(0)
            try:
                block = end.recv(_BLOCK_BYTES)
            except (ssl.SSLWantReadError, BlockingIOError):
                continue  # a record of TLS's own
            finally:
                end.settimeout(None)
            if not block:
                return
            peers[end].sendall(block)
