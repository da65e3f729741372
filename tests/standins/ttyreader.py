#!/usr/bin/env python3
"""ttyreader: the process of ttybench that reads a pseudo-terminal and stamps what arrives with its time.

A program of its own with few imports: it is there in 20 ms, and nothing that the measuring process does holds it up.
Arguments: the descriptors of the terminal and of the pipe, columns, rows, 1 to answer the terminal's queries.
The pipe gets one byte when the reader listens, then records of a time (double), a length (uint32) and the bytes.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import time

now = time.perf_counter  # CLOCK_MONOTONIC on Linux: comparable across processes

_QUERY = re.compile(
    rb"\x1b\[(?P<da>0?)c|\x1b\[>(?P<da2>0?)c|\x1b\[>(?P<xtv>0?)q|\x1b\[\?(?P<kk>)u"
    rb"|\x1b\[\?(?P<rqm>\d+)\$p|\x1b\](?P<osc>1[01]);\?(?:\x07|\x1b\\)"
    rb"|\x1b\[(?P<dsr>5)n|\x1b\[(?P<win>14|16|18)t|\x1bP\+q(?P<tcap>[0-9A-Fa-f;]*)\x1b\\"
)


def _answers(data: bytes, cols: int, rows: int) -> tuple[bytes, int]:
    """Replies for the terminal queries in data, and how far they were read."""
    out = b""
    end = 0
    for m in _QUERY.finditer(data):
        end = m.end()
        g = m.groupdict()
        if g["da"] is not None:
            out += b"\x1b[?62;22c"
        elif g["da2"] is not None:
            out += b"\x1b[>41;390;0c"
        elif g["xtv"] is not None:
            out += b"\x1bP>|ttybench 1.0\x1b\\"
        elif g["kk"] is not None:
            out += b"\x1b[?0u"
        elif g["rqm"] is not None:
            known = b"2" if g["rqm"] == b"2026" else b"0"
            out += b"\x1b[?" + g["rqm"] + b";" + known + b"$y"
        elif g["osc"] is not None:
            rgb = b"d0d0/d0d0/d0d0" if g["osc"] == b"10" else b"1010/1010/1010"
            out += b"\x1b]" + g["osc"] + b";rgb:" + rgb + b"\x1b\\"
        elif g["dsr"] is not None:
            out += b"\x1b[0n"
        elif g["win"] is not None:
            out += {
                b"14": b"\x1b[4;%d;%dt" % (rows * 20, cols * 10),
                b"16": b"\x1b[6;20;10t",
                b"18": b"\x1b[8;%d;%dt" % (rows, cols),
            }[g["win"]]
        elif g["tcap"] is not None:
            out += b"\x1bP0+r\x1b\\"
    return out, end


def _reader_main(master: int, pipe_w: int, cols: int, rows: int, answer: bool) -> None:
    """Time-stamps every chunk; never emulates.  Ends when the pty closes."""
    tail = b""
    while True:
        try:
            data = os.read(master, 65536)
        except (OSError, InterruptedError):
            break
        t = now()
        if not data:
            break
        if answer:
            tail = (tail + data)[-4096:] if len(data) < 4096 else data
            if b"\x1b" in tail:
                reply, end = _answers(tail, cols, rows)
                if end:
                    tail = tail[end:]
                if reply:
                    try:
                        os.write(master, reply)
                    except OSError:
                        pass
        buf = struct.pack("=dI", t, len(data)) + data
        view = memoryview(buf)
        while view:
            n = os.write(pipe_w, view)
            view = view[n:]
    os._exit(0)


if __name__ == "__main__":
    try:
        os.nice(-10)
    except OSError:
        pass
    master_fd, pipe_fd, columns, lines, answers = map(int, sys.argv[1:])
    os.write(pipe_fd, b"!")
    _reader_main(master_fd, pipe_fd, columns, lines, bool(answers))
