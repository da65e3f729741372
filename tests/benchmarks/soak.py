"""The app under half an hour of scripted keys, downloads and chats in a pseudo-terminal: `make soak`.

Held at the end: memory is flat within ten per cent, the log holds no exception, and every screen equals a fresh paint
of itself. The machine, the queue, the library and the hubs' clients are the real ones, before a loopback hub; only
the engine answers from a script, so that what grows is ours.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import statistics
import struct
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STANDINS = ROOT / "tests" / "standins"
sys.path[:0] = [str(ROOT), str(STANDINS)]

import gguf_writer  # noqa: E402
import hubd  # noqa: E402
from ttybench import TtySession, now, parse_keys  # noqa: E402

MOVING = " 0123456789.█▉▊▋▌▍▎▏▕"
"""What the gauges are made of."""
GROWTH = 1.10
WARM_UP_SHARE = 0.2
"""Share of the time that fills caches: memory counts from its end."""
TOAST_SECONDS = 5.5
"""What is said in a corner is gone after so long."""
BYTES_PER_SECOND = 4_000_000
SIZES = ((120, 40), (80, 24), (200, 60))
REPOSITORY = "soak/soak-llama-GGUF"
SPEC = f"""\
name = "soak-llama"
description = "Weights that are only there to be downloaded, talked to and removed."
context_length = 8192
languages = ["en"]
abilities = ["chat"]

[[models]]
size_in_billions = 0.02

[[models.specs]]
format = "ggufv2"
quantizations = ["Q4_K_M", "Q8_0"]

[models.specs.hubs.huggingface]
id = "{REPOSITORY}"
file = "soak-llama-{{quantization}}.gguf"
"""
APP = """
import gc, json, os, signal, sys
from pathlib import Path
from tui.terminal import claim_terminal
home = Path(os.environ["MODELDECK_HOME"])
release = claim_terminal(home / "soak.log")
from dataclasses import replace
from backends.engines.scripted import ScriptedAdapter
from tui.app import Deck
from tui.services import Services
TEXT = ("Sunlight holds **all colours**, and air scatters `short` waves more than long ones.\\n\\n" * 5
        + "```python\\ndef scattered(wavelength):\\n    return (650 / wavelength) ** 4\\n```\\n\\n- one\\n- two\\n\\n")
adapter = ScriptedAdapter(TEXT, tokens_per_second=120)
deck = Deck(replace(Services(), adapter=lambda name: adapter, as_built=lambda option, *rest: option))
from tui.settings import load_settings
deck.adopt_settings(load_settings())

def told():
    # How many objects there are, and of which kinds the most.
    gc.collect()
    kinds = {}
    objects = gc.get_objects()
    for one in objects:
        kinds[type(one).__qualname__] = kinds.get(type(one).__qualname__, 0) + 1
    most = dict(sorted(kinds.items(), key=lambda pair: -pair[1])[:400])
    (home / "objects.json").write_text(json.dumps({"objects": len(objects), "kinds": most}))

def fresh():
    # Every widget drawn anew from what it knows, nothing from what it kept.
    for widget in deck.screen.walk_children(with_self=True):
        widget._styles_cache.clear()
        for kept in ("_kept", "_whole", "_strips"):
            if isinstance(lines := getattr(widget, kept, None), dict):
                lines.clear()
        widget.refresh()
    deck.screen.refresh(layout=True)

signal.signal(signal.SIGUSR1, lambda *_: deck.call_later(fresh))
signal.signal(signal.SIGUSR2, lambda *_: told())
deck.run()
release()
"""


class Soak:
    """The app under its script."""

    def __init__(self, session: TtySession, home: Path) -> None:
        self.session = session
        self.home = home
        self.troubles: list[str] = []
        self.memory: list[tuple[float, float, int]] = []
        """Seconds, MB and objects at the end of each round."""
        self.kinds: list[dict[str, int]] = []
        self.unlike: dict[str, int] = {}
        """Lines unlike a fresh paint, by screen and size."""

    def press(self, keys: str, pause: float = 0.03) -> None:
        """Keys, as fast as a hurried hand types them."""
        for kind, value in parse_keys(keys):
            if kind == "key":
                self.session.send(value)  # type: ignore[arg-type]
                # An escape that something follows at once is the beginning of another key.
                self.session.pump(0.15 if value == b"\x1b" else pause)
            else:
                self.session.pump(value)  # type: ignore[arg-type]

    def see(self, what: str, seconds: float = 20.0) -> bool:
        """Wait until something is shown."""
        if self.session.wait_for(what, seconds) is None:
            self.troubles.append(f"{what!r} was not shown:\n{self.session.dump_text()}")
            return False
        return True

    def resize(self, columns: int, rows: int) -> None:
        """Make the terminal another size."""
        session = self.session
        size = struct.pack("HHHH", rows, columns, columns * 10, rows * 20)
        session.emu.screen.resize(rows, columns)
        session.emu.cols, session.emu.rows, session.cols, session.rows = columns, rows, columns, rows
        fcntl.ioctl(session.master, termios.TIOCSWINSZ, size)
        session.quiesce(0.4, 10)

    def compare(self, name: str) -> None:
        """Count the lines that are others once every widget has drawn itself anew."""
        session = self.session
        session.pump(TOAST_SECONDS)
        session.quiesce(0.7, 10)
        before = picture(session)
        session.emu.screen.reset()
        session.emu.lines.clear()
        os.kill(session.pid, signal.SIGUSR1)
        session.wait_for("modeldeck(.*\\n)*.*quit", 20)
        session.quiesce(0.4, 10)
        after = picture(session)
        unlike = [y for y, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
        key = f"{name} {session.cols}x{session.rows}"
        self.unlike[key] = self.unlike.get(key, 0) + len(unlike)
        for y in unlike[:4]:
            texts = ("".join(cell[0] for cell in side[y]).rstrip() for side in (before, after))
            self.troubles.append(f"{key}, line {y}, before and after:\n  {next(texts)}\n  {next(texts)}")

    @property
    def log(self) -> str:
        """The end of what the app wrote to its log."""
        path = self.home / "soak.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def tell(self, began: float) -> None:
        """Note memory and objects."""
        path = self.home / "objects.json"
        path.unlink(missing_ok=True)
        os.kill(self.session.pid, signal.SIGUSR2)
        end = now() + 60
        while not path.exists() and now() < end:
            if not self.session._alive():
                raise RuntimeError(
                    f"the app is gone; its screen and its log were:\n{self.session.dump_text()}\n{self.log}"
                )
            self.session.pump(0.1)
        self.session.pump(0.3)
        told = json.loads(path.read_text())
        self.kinds.append(told["kinds"])
        self.memory.append((now() - began, self.session.proc.memory_info().rss / 2**20, told["objects"]))
        print(f"  {self.memory[-1][0]:6.0f} s  {self.memory[-1][1]:7.1f} MB  {told['objects']:,} objects", flush=True)

    def browse(self) -> None:
        """Lists, filters, the matrix, what-if, help and palette."""
        self.press("f5 esc esc wait:200 home down*25 pagedown*4 up*5 end home")
        self.press("/ type:llama wait:200 enter wait:200 enter right*4 down*3 left*2 ] ] [ [ v v v wait:200")
        self.press("esc esc f f o o wait:200 / type:qwen3␣inst backspace*14 esc wait:200")
        self.press("m wait:300 down*4 enter wait:500 down*3 m wait:300 home enter wait:500")
        self.press(
            "? wait:200 pagedown*3 esc ctrl+p wait:300 type:qwen wait:300 esc esc f8 wait:200 esc w wait:200 esc"
        )
        self.compare("browse")

    def find(self) -> None:
        """The family that the loopback hub serves."""
        self.press("f5 esc esc wait:100 / ctrl+u type:soak wait:200 enter wait:200 enter wait:400")
        self.see("soak-llama ")

    def download(self) -> None:
        """Fetch both weights, pause one on the way, and clear the list."""
        self.find()
        self.press("e wait:200 e wait:200 home d wait:500 right d wait:500 f6 wait:300 p wait:500 p")
        self.session.pump(6.0)
        if self.see(r"100% +done(?:.*\n){1,2}.*100% +done", 60):
            self.compare("downloads")
        self.press("home x wait:300 x wait:300")
        self.see("No downloads yet")

    def chat(self) -> None:
        """Turns, branches, panes beside each other, history; then close everything."""
        self.find()
        self.press("home enter")
        if not self.see("ready|Ask|send", 30):
            return
        self.session.quiesce(0.5, 10)
        for n in range(3):
            self.press(f"type:why␣is␣the␣sky␣blue␣{n} enter wait:300 pageup")
            self.see(r"tok/s · first", 30)
            self.session.quiesce(0.8, 20)
        self.press("ctrl+r wait:1500 esc wait:300 tab up*3 space wait:100 tab wait:100")
        self.session.quiesce(0.8, 20)
        self.press("ctrl+n wait:600 ctrl+b wait:100 type:both␣of␣you enter wait:500")
        self.session.quiesce(0.8, 20)
        self.press("f10 wait:200 f10 wait:200 f2 wait:300 esc wait:100 f4 wait:200 esc wait:100")
        self.compare("chat")
        self.press("f3 wait:500 down*5 up*3 esc wait:200 f12 wait:400 f12 wait:400")
        self.see("No model is loaded yet")

    def library(self) -> None:
        """Verify and remove what was fetched; search the hub."""
        self.press("f5 wait:100 f9 wait:800")
        self.see("soak-llama")
        self.press("v wait:600 wait:600")
        self.compare("library")
        for _ in range(2):
            self.press("home x wait:600 enter wait:800")
        self.press("f5 f4 wait:300 type:soak wait:1200 down up esc wait:200")

    def round(self, number: int) -> None:
        """All of it once, at one of the sizes."""
        self.resize(*SIZES[number % len(SIZES)])
        for part in (self.browse, self.download, self.chat, self.library):
            part()


def picture(session: TtySession) -> list[list[tuple[str, str, str, bool]]]:
    """Every cell as it is shown: character, colours, bold; a cursor that blinks is no difference."""
    screen = session.emu.screen
    lines = [
        [(cell.data, cell.fg, cell.bg, cell.bold) for cell in (screen.buffer[y][x] for x in range(session.cols))]
        for y in range(session.rows)
    ]
    # The strip on top follows the machine's memory, which is another one a second later.
    lines[0] = [("#" if cell[0] in MOVING else cell[0], cell[1], cell[2], cell[3]) for cell in lines[0]]
    return lines


def publish(folder: Path) -> None:
    """Small weights of the shape of a llama in a repository."""
    repository = folder / REPOSITORY
    repository.mkdir(parents=True)
    shape = {"general.architecture": "llama", "llama.block_count": 2, "llama.context_length": 8192}
    shape |= {"llama.embedding_length": 256, "llama.feed_forward_length": 512, "llama.attention.head_count": 4}
    shape |= {"llama.attention.head_count_kv": 2, "llama.vocab_size": 4096}
    for quantization, size in (("Q4_K_M", 6_000_000), ("Q8_0", 9_000_000)):
        tensors = [("token_embd.weight", (256, 4096), 0, size)]
        gguf_writer.write(repository / f"soak-llama-{quantization}.gguf", shape, tensors)
    about = {"downloads": 1, "tags": ["gguf"], "pipeline_tag": "text-generation", "license": "mit"}
    (repository / ".repo.json").write_text(json.dumps(about))


def start(home: Path, url: str) -> TtySession:
    """The app on a terminal, once its list is judged."""
    (home / "specs").mkdir(parents=True)
    (home / "specs" / "soak.toml").write_text(SPEC)
    script = home / "app.py"
    script.write_text(APP)
    environment = {
        "MODELDECK_HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "MODELSCOPE_CACHE": str(home / "ms"),
        "HF_ENDPOINT": url,
        "MODELSCOPE_ENDPOINT": url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MODELDECK_ASCII": "0",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{STANDINS}",
    }
    session = TtySession([sys.executable, str(script)], *SIZES[0], env=environment)
    if session.wait_for(r"[●◐○✕] \w", 60) is None:
        raise RuntimeError(session.dump_text())
    return session


def exceptions(log: Path) -> list[str]:
    """Lines of the log that an exception left."""
    if not log.exists():
        return []
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if line.startswith("Traceback") or "Error:" in line or "Exception:" in line]


def verdict(soak: Soak, raised: list[str]) -> int:
    """Say what held and what did not."""
    whole = soak.memory[-1][0]
    warm = [mb for at, mb, _ in soak.memory if at >= whole * WARM_UP_SHARE]
    third = max(1, len(warm) // 3)
    first, last = statistics.median(warm[:third]), statistics.median(warm[-third:])
    for trouble in soak.troubles[:20]:
        print(f"  trouble: {trouble}")
    if len(soak.kinds) > 2:
        grown = {kind: count - soak.kinds[1].get(kind, 0) for kind, count in soak.kinds[-1].items()}
        most = sorted(grown.items(), key=lambda pair: -pair[1])[:15]
        print("  objects more than after the second round: " + ", ".join(f"{kind} {more:+,}" for kind, more in most))
    held = {
        f"memory {first:.1f} MB, then {last:.1f} MB: {last / first:.3f} times, at most {GROWTH}": last
        <= first * GROWTH,
        f"{len(raised)} exceptions in the log {raised[:3] or ''}": not raised,
        f"{sum(soak.unlike.values())} lines unlike a fresh paint {soak.unlike}": not sum(soak.unlike.values()),
        f"{len(soak.troubles)} troubles in {len(soak.memory)} rounds of {whole:.0f} s": not soak.troubles,
    }
    for words, good in held.items():
        print(f"{'ok    ' if good else 'MISSED'} {words}")
    return 0 if all(held.values()) else 1


def served(folder: Path) -> tuple[str, Callable[[], None]]:
    """The loopback hub's URL, and what ends it."""
    publish(folder)
    server = hubd.make_server([str(folder), "--port", "0", "--rate", str(BYTES_PER_SECOND)])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}", server.shutdown


def main() -> int:
    """Soak for so many minutes; 1 when something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="modeldeck-soak-") as folder:
        url, end = served(Path(folder) / "hub")
        home = Path(folder) / "home"
        with start(home, url) as session:
            soak = Soak(session, home)
            began = now()
            number = 0
            while now() - began < minutes * 60 and session._alive():
                soak.round(number)
                soak.tell(began)
                number += 1
            took = session.close("ctrl+q")
            print(f"  quit in {took:.0f} ms" if took else "  it did not quit", flush=True)
        end()
        time.sleep(0.2)
        return verdict(soak, exceptions(home / "soak.log"))


if __name__ == "__main__":
    os.environ.setdefault("TERM", "xterm-256color")
    raise SystemExit(main())
