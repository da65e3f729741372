"""A server that speaks OpenAI's protocol and answers from a script, on the loopback."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


GONE = object()
"""In the place of a piece: the server goes away here."""
RESET = object()
"""The same, and the connection is broken off as by a crash."""


class OpenAiStandin:
    """Streams `pieces` to every question. An Event among them holds the answer until it is set.

    pieces: strings, {"reasoning_content": …} deltas, events, or GONE, after which nothing follows; refuse: names of settings that a strict server refuses;
    fault: (status, body) for every question, a text being a page of HTML; raw: what is sent of a stream, as it stands.
    """

    def __init__(
        self, pieces: Sequence[Any] = ("Hello", " there", "."), models: Sequence[dict[str, Any]] | None = None
    ):
        self.pieces = list(pieces)
        self.models = list(models or [{"id": "tiny", "max_model_len": 4096}])
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.refuse: tuple[str, ...] = ()
        self.fault: tuple[int, dict[str, Any] | str] | None = None
        self.raw: bytes | None = None
        self.counts = True
        """Whether an answer's tokens are told."""
        self.chunked = False
        """Whether the answer comes in HTTP chunks, which tell a client when one is missing."""
        self.left = threading.Event()
        """Set when a client went away in the middle of an answer."""
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def answer(self, status: int, body: dict[str, Any] | str) -> None:
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                standin.keys.append(self.headers.get("Authorization", ""))
                if standin.fault:
                    return self.answer(*standin.fault)
                listed = [{"object": "model", "created": 0, "owned_by": "me", **model} for model in standin.models]
                return self.answer(200, {"object": "list", "data": listed})

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                standin.requests.append(asked)
                if standin.fault:
                    return self.answer(*standin.fault)
                for name in standin.refuse:
                    if name in asked:
                        return self.answer(400, {"error": {"message": f"Unrecognized request argument: {name}"}})
                chat = self.path.endswith("/chat/completions")
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                if standin.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.close_connection = True
                try:
                    if standin.raw is None:
                        standin.write(self.wfile, chat, asked)
                    else:
                        self.wfile.write(standin.raw)
                except OSError:
                    standin.left.set()
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def write(self, file: Any, chat: bool, asked: dict[str, Any]) -> None:
        def event(choices: list[dict[str, Any]], **more: Any) -> None:
            kind = "chat.completion.chunk" if chat else "text_completion"
            body = {"id": "1", "object": kind, "created": 0, "model": asked["model"], "choices": choices, **more}
            send(f"data: {json.dumps(body)}\n\n".encode())

        def send(said: bytes) -> None:
            file.write(b"%x\r\n%b\r\n" % (len(said), said) if self.chunked else said)
            file.flush()

        count = 0
        finish = "stop"
        for piece in self.pieces:
            if isinstance(piece, threading.Event):
                while not piece.wait(0.02):
                    send(b": waiting\n\n")  # notices a client that went away
                continue
            if piece is GONE:
                return
            if piece is RESET:
                # Closing with nothing lingering sends RST in the place of FIN.
                file._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                file._sock.close()
                raise ConnectionResetError
            if asked.get("max_tokens") is not None and count >= asked["max_tokens"]:
                finish = "length"
                break
            count += 1
            if chat:
                delta = piece if isinstance(piece, dict) else {"content": piece}
                choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None}
                if asked.get("logprobs"):
                    top = [
                        {"token": f"t{n}", "logprob": -float(n), "bytes": None} for n in range(asked["top_logprobs"])
                    ]
                    choice["logprobs"] = {
                        "content": [{"token": "t0", "logprob": 0.0, "bytes": None, "top_logprobs": top}]
                    }
            else:
                choice = {"index": 0, "text": piece, "finish_reason": None, "logprobs": None}
            event([choice])
        last = {"index": 0, "finish_reason": finish} | ({"delta": {}} if chat else {"text": "", "logprobs": None})
        event([last])
        usage = {"prompt_tokens": 11, "completion_tokens": count, "total_tokens": 11 + count}
        if self.counts:
            event([], usage=usage | {"prompt_tokens_details": {"cached_tokens": 8}})
        send(b"data: [DONE]\n\n")
        if self.chunked:
            send(b"")

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
