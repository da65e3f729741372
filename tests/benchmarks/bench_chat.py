"""What talking costs: keys while answers stream, tokens that reach the pane, long answers and long conversations.

The scripted engine gives tokens at a fixed rate on its thread, so that what is measured is the screen. Each figure
stands beside its own baseline of the same run.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchrow import row
from ttybench import TtySession, pct

ROOT = Path(__file__).parents[2]
COLUMNS, ROWS = 120, 40
KEYS = 40
ROUNDS = 3
KEY_BOUND_MS = {1: 60.0, 4: 120.0}
DECODE_BOUND = 0.97
FLAT_BOUND = 1.5
OPEN_BOUND_MS = 300.0
SCROLL_BOUND_MS = 30.0
TURNS = 2_000

APP = """
import os, sys
from pathlib import Path
from tui.terminal import claim_terminal
release = claim_terminal(Path(os.environ["MODELDECK_HOME"]) / "log")
import chat_app
from backends.engines.scripted import ScriptedAdapter
PARAGRAPH = "Sunlight holds **all colours**, and air scatters `short` waves more than long ones.\\n\\n"
CODE = "```python\\ndef scattered(wavelength):\\n    return (650 / wavelength) ** 4\\n```\\n\\n- one\\n- two\\n\\n"
adapter = ScriptedAdapter((PARAGRAPH * 6 + CODE) * 400, tokens_per_second={rate})
class App(chat_app.ChatApp):
    CSS_PATH = chat_app.ChatApp.CSS_PATH
    async def on_ready(self):
        names = ["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"][:{panes}]
        for name in names:
            await self.screen.load(chat_app.load_request(quantization=name), beside=True)
        self.screen.broadcast = len(names) > 1
        if {turns}:
            self.screen.active_pane.open(chat_app.long_conversation({turns}))
App(adapter).run()
release()
"""


def chat_session(home: Path, name: str, *, rate: float, panes: int, turns: int) -> TtySession:
    """The chat screen in a pseudo-terminal."""
    script = home / name
    script.write_text(APP.format(rate=rate, panes=panes, turns=turns))
    environment = {
        "MODELDECK_HOME": str(home),
        "MODELDECK_ASCII": "0",
        "LANG": "C.UTF-8",
        "TEXTUAL_ANIMATIONS": "none",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'standins'}",
    }
    return TtySession([sys.executable, str(script)], COLUMNS, ROWS, env=environment)


def key_latency(panes: int, rate: float, home: Path) -> tuple[float, float]:
    """p95 milliseconds from a key to its letter in the prompt: idle, then while every pane streams."""
    with chat_session(home, f"app{panes}.py", rate=rate, panes=panes, turns=0) as session:
        if session.wait_for(r"to (all|llama)", 60) is None:
            raise RuntimeError(session.dump_text())
        session.quiesce(0.5, 10)
        # Only the line of the prompt counts: everything above it changes by itself.
        session.emu.region = (1, ROWS - 3, COLUMNS - 2, 1)
        idle = letters(session)
        session.send(b"\r")
        session.pump(3.0)
        return idle, letters(session)


def letters(session: TtySession) -> float:
    """p95 of some letters, typed as fast as they appear."""
    samples = []
    for n in range(KEYS):
        sample = session.key(b"abcdefghij"[n % 10 : n % 10 + 1], settle=0.03, limit=2)
        if sample.first_ms is not None:
            samples.append(sample.first_ms)
        session.pump(0.02)
    return pct(samples, 0.95) or 0.0


async def decode(rate: float, tokens: int) -> tuple[float, float]:
    """Tokens a second through the pane, and of the same engine alone."""
    from chat_app import Chat, ChatApp

    from backends.engines.engine import Sampling, Turn
    from backends.engines.scripted import ScriptedAdapter, ScriptedEngine

    text = "word " * tokens
    alone = ScriptedEngine(text, rate)
    stats = [chunk.stats for chunk in alone.stream([Turn("user", "go")], Sampling()) if chunk.stats is not None][-1]
    app = ChatApp(ScriptedAdapter(text, rate))
    async with app.run_test(size=(120, 40)) as pilot:
        c = Chat(app, pilot, app.adapter)
        await pilot.pause()
        await c.load()
        await c.type("go")
        await pilot.press("enter")
        while c.pane.generation is not None or len(c.pane.conversation.nodes) < 2:
            await asyncio.sleep(0.05)
        return c.pane.conversation.path()[-1].tokens_per_second or 0.0, stats.tokens_per_second or 0.0


def token_cost() -> tuple[float, float]:
    """Microseconds to draw a further token: near the end of 8,000 tokens, and of 500."""
    from textual.color import Color

    from tui.widgets.entry import Entry
    from tui.widgets.palette import Palette

    palette = Palette({"foreground": "#ffffff"}, Color.parse("#000000"))
    block = "Sunlight holds **all colours** and `code`.\n\n- an item\n\n```python\nx = 1\n```\n\n"
    pieces = [block[at : at + 5] for at in range(0, len(block), 5)]
    costs = []
    for length in (8_000, 500):
        entry = Entry("a", "assistant")
        entry.streaming = True
        for n in range(length):
            entry.append(pieces[n % len(pieces)])
        entry.draw(100, palette)
        took = []
        for n in range(300):
            entry.append(pieces[(length + n) % len(pieces)])
            begun = time.perf_counter()
            entry.draw(100, palette)
            took.append(time.perf_counter() - begun)
        costs.append(statistics.mean(took) * 1e6)
    return costs[0], costs[1]


async def opening() -> float:
    """Milliseconds to open a conversation of 2,000 turns."""
    from chat_app import Chat, ChatApp, long_conversation

    from backends.engines.scripted import ScriptedAdapter

    made = long_conversation(TURNS)
    app = ChatApp(ScriptedAdapter())
    async with app.run_test(size=(120, 40)) as pilot:
        c = Chat(app, pilot, app.adapter)
        await pilot.pause()
        pane = await c.load()
        begun = time.perf_counter()
        pane.open(made)
        await pilot.pause()
        return (time.perf_counter() - begun) * 1000


def paging(home: Path) -> float:
    """p95 milliseconds from page up to its first change, in a conversation of 2,000 turns."""
    with chat_session(home, f"pages{TURNS}.py", rate=200.0, panes=1, turns=TURNS) as session:
        if session.wait_for(f"{TURNS - 1} Sunlight", 60) is None:
            raise RuntimeError(session.dump_text())
        session.send(b"\t")
        session.quiesce(0.5, 10)
        samples = [session.key(b"\x1b[5~", settle=0.05, limit=2).first_ms for _ in range(KEYS)]
        return pct([sample for sample in samples if sample is not None], 0.95) or 0.0


def main() -> int:
    """Print a line a measure; 1 when a bound was missed."""
    kept = []
    with tempfile.TemporaryDirectory(prefix="modeldeck-bench-") as folder:
        os.environ["MODELDECK_HOME"] = folder
        os.environ["MODELDECK_ASCII"] = "0"
        for panes, rate in ((1, 200.0), (4, 50.0)):
            idle, streaming = key_latency(panes, rate, Path(folder))
            name = f"chat: a key while {panes} stream{'s' if panes == 1 else ''}, p95"
            bound = KEY_BOUND_MS[panes]
            kept.append(row(name, streaming, bound, "ms", at_most=1.0, baseline_name="the bound"))
            row(f"{name} beside idle", streaming, idle, "ms", baseline_name="the same keys idle")
        # In turn, so that what else the machine does meets both alike.
        rounds = [asyncio.run(decode(200.0, 300)) for _ in range(ROUNDS)]
        ours, alone = sorted(rounds, key=lambda pair: pair[0] / pair[1])[ROUNDS // 2]
        kept.append(
            row(
                "chat: decode in the pane",
                ours,
                alone,
                "tok/s",
                at_least=DECODE_BOUND,
                baseline_name="the engine alone",
            )
        )
        late, early = token_cost()
        kept.append(
            row("chat: drawing token 8,000", late, early, "us", at_most=FLAT_BOUND, baseline_name="drawing token 500")
        )
        opened = statistics.median(asyncio.run(opening()) for _ in range(ROUNDS))
        page = paging(Path(folder))
        kept.append(row("chat: open 2,000 turns", opened, OPEN_BOUND_MS, "ms", at_most=1.0, baseline_name="the bound"))
        kept.append(
            row("chat: a page up in them, p95", page, SCROLL_BOUND_MS, "ms", at_most=1.0, baseline_name="the bound")
        )
    return 0 if all(kept) else 1


if __name__ == "__main__":
    os.environ.setdefault("TERM", "xterm-256color")
    raise SystemExit(main())
