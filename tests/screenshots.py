"""The pictures of the documentation, drawn by the app itself: `make screenshots`.

Catalog, judging and screens are the real ones. The machine is a fixed one, so that a picture says something and comes
out the same everywhere; engines, downloads and the answer are stand-ins.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "standins")]
DOCS = ROOT / "docs"
SIZE = (120, 36)
GIB = 1 << 30
ANSWER = """\
Sunlight holds **all colours**. Air scatters the short waves of it far more than the long ones, with the fourth power \
of the frequency, so that blue light reaches us from *every* direction:

| colour | wavelength | scattered |
|---|---|---|
| red | 700 nm | 1.0 x |
| green | 530 nm | 3.0 x |
| blue | 450 nm | 5.9 x |

In the evening the way through the air is long, and what is left is red.
"""


def machine() -> Any:
    """A desktop with an RTX 4090, some of its memory in use."""
    from backends.machine.model import Cpu, Memory
    from backends.machine.presets import preset

    found = preset("RTX 4090")
    (card,) = found.accelerators
    return replace(
        found,
        label=None,
        warnings=(),
        cpu=Cpu("AMD Ryzen 9 7950X", 16, 32),
        memory=Memory(62 * GIB, 47 * GIB),
        accelerators=(replace(card, free_bytes=card.total_bytes - 2 * GIB),),
    )


def chosen(family: Any, size: float, quantization: str, format_name: str = "ggufv2") -> Any:
    """One variant of a family."""
    return next(
        variant
        for variant in family.variants()
        if (variant.spec.size_in_billions, variant.quantization, variant.spec.format)
        == (size, quantization, format_name)
    )


class Here:
    """A library that holds these variants."""

    def __init__(self, variants: Sequence[Any]) -> None:
        self._keys = {variant.key for variant in variants}

    def checked(self, variant: Any) -> str | None:
        return "sum" if self.path(variant) is not None else None

    def path(self, variant: Any) -> Path | None:
        if variant.key not in self._keys:
            return None
        folder = f"models--{variant.model_id.replace('/', '--')}"
        return Path("~/.cache/huggingface/hub") / folder


def deck(queue: Any, here: Sequence[Any]) -> Any:
    """The app on that machine."""
    from backends.engines.engine import EngineStatus
    from backends.engines.scripted import ManualClock, ScriptedAdapter, ScriptedEngine
    from tui.app import Deck
    from tui.services import Measured, Services

    statuses = {
        "llama.cpp": EngineStatus("ready", version="0.3.36", accelerators=("cuda",)),
        "Transformers": EngineStatus("ready", version="5.23", accelerators=("cuda",)),
        "vLLM": EngineStatus("not-installed", "vLLM is not installed", "uv pip install 'modeldeck[vllm]'"),
        "SGLang": EngineStatus("not-installed", "SGLang is not installed", "uv pip install 'modeldeck[sglang]'"),
        "MLX": EngineStatus("unsupported", "MLX needs Apple Silicon"),
        "OpenAI": EngineStatus("not-installed", "the client is not installed", "uv pip install 'modeldeck[remote]'"),
    }
    adapter = ScriptedAdapter(ANSWER, tokens_per_second=128.0, clock=ManualClock(), prefill_seconds=0.09)
    ScriptedEngine.where = "GPU"
    services = replace(
        Services(),
        detect_machine=machine,
        statuses=lambda: statuses,
        local_index=lambda: Here(here),
        knowledge=lambda variants: {},
        hub_knowledge=lambda variants: {},
        measured=lambda machine: Measured(),
        record_load=lambda machine, load: None,
        as_built=lambda option, *rest: option,
        adapter=lambda name: adapter,
        open_queue=lambda on_change: queue,
        disk_free_bytes=lambda: 212_000_000_000,
        background=lambda work: work(),
        settle_seconds=0.0,
        refresh_seconds=0.0,
    )
    app = Deck(services)
    app.animation_level = "none"
    return app


def without_fonts_from_elsewhere(svg: str) -> str:
    """Rich names a font server; a picture in a repository should load nothing."""
    svg = re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono")
    # Its names are numbers of the process: the same picture should be the same file.
    marks = dict.fromkeys(re.findall(r"terminal-\d+", svg))
    for mark in marks:
        svg = svg.replace(mark, "terminal-modeldeck")
    return svg


async def until(pilot: Any, condition: Callable[[], object]) -> None:
    """Let the app run until something is so."""
    while not condition():
        await pilot.pause(0.01)
    await pilot.pause()


async def draw() -> None:
    """All pictures, one after the other."""
    import fake_services as fake

    from specs.catalog import load_catalog

    catalog = load_catalog()
    llama = catalog.family("llama-3.1-instruct")
    qwen = catalog.family("qwen3")
    queue = fake.FakeQueue(lambda job: None)
    here = [chosen(llama, 8, "Q4_K_M"), chosen(qwen, 8, "Q4_K_M")]

    async def shoot(name: str, act: Callable[[Any, Any], Any]) -> None:
        app = deck(queue, here)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.catalog is not None and app.library is not None)
            await act(app, pilot)
            await pilot.pause()
            svg = without_fonts_from_elsewhere(app.export_screenshot(title="modeldeck"))
            (DOCS / f"{name}.svg").write_text(svg)

    async def browse(app: Any, pilot: Any) -> None:
        await pilot.press("slash", *"llama-3", "enter")
        await pilot.pause()
        app.open_family("llama-3.1-instruct")
        await pilot.press("tab", "slash", *"llama", "enter")

    async def chat(app: Any, pilot: Any) -> None:
        app.open_family("llama-3.1-instruct")
        await until(pilot, lambda: app.screen.option is not None)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.query("ChatPane") and app.screen.active_pane.state == "ready")
        pane = app.screen.active_pane
        app.screen.prompt.area.insert("Why is the sky blue, and red in the evening?")
        await pilot.press("enter")
        await until(pilot, lambda: pane.conversation.nodes and pane.generation is None)

    async def downloads(app: Any, pilot: Any) -> None:
        mistral = catalog.family("mistral-nemo-instruct")
        gemma = catalog.family("gemma-3-it")
        for variant in (
            chosen(llama, 8, "Q4_K_M"),
            chosen(qwen, 14, "Q4_K_M"),
            next(v for v in mistral.variants() if v.quantization == "Q4_K_M"),
            next(v for v in gemma.variants() if v.quantization == "none"),
        ):
            queue.add(fake.plan(variant, variant.hub_names[0]))
        done, running, waiting, gated = (job.id for job in queue.jobs())
        totals = {job.id: job.plan.total_bytes for job in queue.jobs()}
        queue.progress(done, state="done", done_bytes=totals[done])
        queue.progress(running, state="running", done_bytes=totals[running] * 56 // 100, bytes_per_second=84e6,
                       seconds_left=totals[running] * 0.44 / 84e6)  # fmt: skip
        page = f"https://huggingface.co/{queue.jobs()[3].plan.model_id}"
        queue.progress(gated, state="failed", note=f"gated: accept its licence at {page}", refused="gated", page=page)
        assert waiting
        await pilot.press("f6", "down", "down", "down")

    await shoot("browse", browse)
    await shoot("chat", chat)
    await shoot("downloads", downloads)


def main() -> int:
    """Draw into docs/, with a home of their own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(MODELDECK_HOME=folder, HF_HOME=f"{folder}/hf", MODELDECK_ASCII="0")
        from tui import glyphs

        glyphs.choose(False)
        DOCS.mkdir(exist_ok=True)
        asyncio.run(draw())
    return 0


if __name__ == "__main__":
    sys.exit(main())
