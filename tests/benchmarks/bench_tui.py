"""What the app costs on a terminal: start, keys, a live filter over 20,000 variants, doing nothing, quitting.

Measured in a pseudo-terminal as a person would see it, beside a bare Textual app in the same run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchrow import row
from ttybench import TtySession, encode_key, now, pct

ROOT = Path(__file__).parents[2]
ROUNDS = 7
FIRST_FRAME_MS = 60.0
KEY_BOUND = 1.25
"""Of the time to the first key that works, against a bare Textual app's."""
LIST = (0, 1, 43, 38)
"""Column, row, width and height of the list at 120x40."""
MOVE_BOUND_MS = 15.0
PAGE_BOUND_MS = 20.0
FILTER_BOUND_MS = 40.0
MOVE_BOUND_BYTES = 600.0
IDLE_BOUND_PERCENT = 1.0
LONGEST_START_SECONDS = 30.0
CALM_WINDOWS = 3
"""Of two seconds in a row: the start's last work, as looking for engines, begins only after the first ones."""
QUIT_BOUND_MS = 400.0
LOW_BANDWIDTH_BOUND = 0.5
HELD_KEYS = 60
HELD_RATE = 30.0
"""Keys a second of a key that is held down."""

HELLO = """
from textual.app import App
from textual.widgets import Label

class Hello(App):
    def compose(self):
        yield Label("Ready")

    def on_key(self, event):
        self.query_one(Label).update("answered")

Hello().run()
"""
PEERS = {
    "llmfit": (["llmfit"], "Fit|fit", b"j", "(?=.)"),
    "elia": (["elia"], "Welcome to Elia", b"x", "│ +x +│"),
    "harlequin": (["harlequin"], "Query Editor", b"x", "1 +x"),
}
"""Other programs of the kind, measured where they are on the path: command, a frame of theirs, a key, its answer."""
LARGE = """
import os
if os.environ.get("MODELDECK_LOW_BANDWIDTH"):
    os.environ["TEXTUAL_FPS"] = "8"  # as the app's own start does, before Textual is imported
from dataclasses import replace
from pathlib import Path
from specs.catalog import Catalog, load_catalog
from tui.terminal import claim_terminal
claim_terminal(Path({log!r}))
from tui.app import Deck
from tui.services import Services

def large():
    catalog = load_catalog()
    families, total, turn = [], 0, 0
    while total < 20_000:
        for family in catalog.families:
            families.append(replace(family, name=f"{{family.name}}-{{turn}}"))
            total += sum(len(spec.quantizations) for spec in family.specs)
        turn += 1
    return Catalog(tuple(families))

from tui.settings import load_settings

deck = Deck(Services(load_catalog=large))
deck.adopt_settings(load_settings())
deck.run()
"""


def start(
    command: list[str], ready: str, home: Path, *, typed: bytes = b"", **environment: str
) -> tuple[TtySession, float]:
    """The program, and the milliseconds until the ready text stood on the screen.

    Args:
        typed: What the user could not wait to type.
    """
    base = {"MODELDECK_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    base |= {"TEXTUAL_ANIMATIONS": "none", "LANG": "C.UTF-8", "MODELDECK_ASCII": "0"}
    program = command if shutil.which(command[0]) else [sys.executable, *command]
    session = TtySession(program, 120, 40, env=base | environment)
    if typed:
        session.send(typed)
    at = session.wait_for(ready, 60)
    if at is None:
        raise RuntimeError(f"{' '.join(command)} did not show {ready!r}:\n{session.dump_text()}")
    return session, (at - session.t0) * 1000


def first_frame_ms(command: list[str], frame: str, home: Path) -> tuple[float, float | None]:
    """Milliseconds until the frame stands, and until the program has quit after ctrl+q."""
    session, at_ms = start(command, frame, home)
    session.quiesce(0.3, 20)
    return at_ms, session.close("ctrl+q")


def first_key_ms(command: list[str], typed: bytes, answer: str, home: Path, frame: str = "(?=.)") -> float:
    """Milliseconds until a key is answered on the screen; it is pressed at once, or when a frame of theirs stands."""
    session, _ = start(command, frame, home, typed=typed if frame == "(?=.)" else b"")
    if frame != "(?=.)":
        session.send(typed)
    at = session.wait_for(answer, 20)
    if at is None:
        raise RuntimeError(f"{' '.join(command)} did not answer with {answer!r}:\n{session.dump_text()}")
    session.quiesce(0.3, 20)
    session.close("ctrl+q")
    return (at - session.t0) * 1000


def held_bytes(session: TtySession) -> float:
    """Bytes a second over the line while a key is held down at the list's end, where every row moves."""
    session.send(encode_key("home"))
    session.quiesce(0.5, 10)
    for _ in range(40):
        session.send(encode_key("down"))
        session.pump(0.02)
    session.quiesce(0.5, 10)
    before, began = session.total_bytes, now()
    for n in range(HELD_KEYS):
        session.send(encode_key("down"))
        session.pump(max(0.0, began + (n + 1) / HELD_RATE - now()))
    session.quiesce(0.5, 10)
    return (session.total_bytes - before) / (HELD_KEYS / HELD_RATE)


def keys_ms(session: TtySession, keys: list[bytes]) -> tuple[list[float], list[int]]:
    """Milliseconds from each key to the last change that it made, and bytes that it cost."""
    settled, sent_bytes = [], []
    for key in keys:
        sample = session.key(key, settle=0.12, limit=3)
        sent_bytes.append(sample.bytes)
        if sample.settled_ms is not None:
            settled.append(sample.settled_ms)
    return settled, sent_bytes


def bounded(name: str, ours: float, bound: float, unit: str) -> bool:
    """A row whose baseline is a bound of ours."""
    return row(name, ours, bound, unit, at_most=1.0, baseline_name="the bound")


def starts(home: Path) -> list[bool]:
    """The way to the first frame and to the first key that works, beside a bare Textual app and peers."""
    hello = home / "hello.py"
    hello.write_text(HELLO)
    programs = {"ours": (["-m", "tui"], b"/", "/ ▏"), "bare": ([str(hello)], b"/", "answered")}
    peers = {name: peer for name, peer in PEERS.items() if shutil.which(peer[0][0])}
    outlines, frames, bare_frames, quits = [], [], [], []
    keys: dict[str, list[float]] = {name: [] for name in (*programs, *peers)}
    for _ in range(ROUNDS):  # in turn, so that what else the machine does meets all alike
        outlines.append(first_frame_ms(["-m", "tui"], "modeldeck", home)[0])
        at, quit_ms = first_frame_ms(["-m", "tui"], "ctrl.q quit", home)
        frames.append(at)
        bare_frames.append(first_frame_ms([str(hello)], "Ready", home)[0])
        quits += [quit_ms] if quit_ms is not None else []
        for name, (command, typed, answer) in programs.items():
            keys[name].append(first_key_ms(command, typed, answer, home))
        for name, (command, frame, typed, answer) in peers.items():
            with contextlib.suppress(RuntimeError):  # one that does not start is no measure of ours
                keys[name].append(first_key_ms(command, typed, answer, home, frame))
    middle = {name: statistics.median(found) for name, found in keys.items() if found}
    beside = "a bare Textual app"
    kept = [
        bounded("app: first frame, the outline", statistics.median(outlines), FIRST_FRAME_MS, "ms"),
        row("app: first key", middle["ours"], middle["bare"], "ms", at_most=KEY_BOUND, baseline_name=beside),
        bounded("app: quit", statistics.median(quits), QUIT_BOUND_MS, "ms"),
    ]
    whole, bare = statistics.median(frames), statistics.median(bare_frames)
    row("app: the whole screen", whole, bare, "ms", baseline_name=beside)
    for name in peers:
        if name in middle:
            row(f"app: first key beside {name}", middle["ours"], middle[name], "ms", baseline_name=name)
    return kept


def until_idle(session: TtySession) -> float:
    """Wait until the start's last work is done, as looking for engines; its seconds of a core.

    An app that never rests is measured after LONGEST_START_SECONDS as it is.
    """
    began = session.cpu_time()
    deadline, calm = time.monotonic() + LONGEST_START_SECONDS, 0
    while calm < CALM_WINDOWS and time.monotonic() < deadline:
        before = session.cpu_time()
        session.pump(2.0)
        calm = calm + 1 if session.cpu_time() - before <= 0.02 else 0
    return session.cpu_time() - began


def lists(home: Path) -> list[bool]:
    """Moving, paging and filtering in 20,000 variants, and what it costs on the line."""
    large = home / "large.py"
    large.write_text(LARGE.format(log=str(home / "log" / "large.log")))
    session, _ = start([str(large)], r"[,\d]+ families", home)
    with session:
        session.wait_for(r"[●◐○✕] \w", 60)
        session.quiesce(0.5, 60)
        after_start = until_idle(session)
        print(f"  {after_start * 1000:.0f} ms of work after the last thing that the start painted")
        before = session.cpu_time()
        session.pump(10.0)
        idle = (session.cpu_time() - before) * 10
        usual = held_bytes(session)
        # Of the list alone: the family's side follows when the hand rests, and would count for the next key.
        session.emu.region = LIST
        session.emu.lines.clear()
        session.send(encode_key("home"))
        session.quiesce(0.5, 10)
        keys_ms(session, [encode_key("down")] * 5)
        moves, move_bytes = keys_ms(session, [encode_key("down")] * 25)
        pages, _ = keys_ms(session, [encode_key("pagedown")] * 25)
        session.send(encode_key("home"))
        session.quiesce(0.5, 10)
        session.send(b"/")
        session.quiesce()
        filters, _ = keys_ms(session, [letter.encode() for letter in "qwen3 instruct"] + [b"\x7f"] * 14)
    session, _ = start([str(large)], r"[,\d]+ families", home, MODELDECK_LOW_BANDWIDTH="true")
    with session:
        session.wait_for(r"[●◐○✕] \w", 60)
        session.quiesce(0.5, 60)
        calm = held_bytes(session)
    return [
        bounded("app: idle, per cent of a core", idle, IDLE_BOUND_PERCENT, "%"),
        bounded("app: a row down, p95", pct(moves, 0.95) or 0, MOVE_BOUND_MS, "ms"),
        bounded("app: a row down, over the line", statistics.median(move_bytes), MOVE_BOUND_BYTES, "bytes"),
        bounded("app: a page down, p95", pct(pages, 0.95) or 0, PAGE_BOUND_MS, "ms"),
        bounded("app: filter 20,000 variants, p95", pct(filters, 0.95) or 0, FILTER_BOUND_MS, "ms"),
        row(
            "app: a key held down with --low-bandwidth",
            calm / 1000,
            usual / 1000,
            "kB/s",
            at_most=LOW_BANDWIDTH_BOUND,
            baseline_name="without it",
        ),
    ]


def main() -> int:
    """Print a line a measure; 1 when a bound was missed."""
    with tempfile.TemporaryDirectory(prefix="modeldeck-bench-") as folder:
        home = Path(folder)
        (home / "tour-was-shown").touch()
        kept = starts(home) + lists(home)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    os.environ.setdefault("TERM", "xterm-256color")
    raise SystemExit(main())
