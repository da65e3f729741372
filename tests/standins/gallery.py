"""Every screen and dialog in the states worth looking at: `python tests/standins/gallery.py FOLDER` draws them all."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "standins")]

import fake_services as fake  # noqa: E402
from chat_app import Chat, ChatApp, load_request  # noqa: E402
from waiting import screen_text, until  # noqa: E402

from backends.engines.engine import Chunk  # noqa: E402
from backends.engines.scripted import ScriptedAdapter  # noqa: E402
from backends.errors import EngineError  # noqa: E402
from backends.hubs.hub import RepoSummary  # noqa: E402
from backends.hubs.repository import Found  # noqa: E402
from backends.library import Duplicate, Entry, Library, StoredFile  # noqa: E402
from tui.app import Deck  # noqa: E402
from tui.screens.tour import Tour  # noqa: E402
from tui.themes import DARK, LIGHT  # noqa: E402

SIZES = ((80, 24), (120, 40), (200, 60))
Q4 = fake.variant(fake.LLAMA3, 8, "Q4_K_M")
INTO_LLAMA = ("slash", *"3-inst", "enter", "enter")
ANSWER = """Sunlight holds **all colours**, and air scatters `short` waves more than long ones.

| colour | wavelength | scattered |
|---|---:|---:|
| blue | 450 nm | 4.4 |
| red | 700 nm | 0.7 |

```python
def scattered(wavelength: float) -> float:
    return (650 / wavelength) ** 4  # of red light's
```

> The sky is blue where you look away from the sun.

1. It is red where the light has come [a long way](https://example.org).
"""
PLAIN = "Sunlight holds all colours and air scatters the short waves of blue light more than the long ones of red"


def _entry(owner: str, name: str, file_bytes: int, **rest: Any) -> Entry:
    path = Path("/models") / owner / name
    return Entry(owner, name, path, path.parent, (StoredFile(name, path, file_bytes),), "ggufv2", **rest)


def _stock() -> Library:
    known: dict[str, Any] = {"variants": (Q4.key,), "matched_by": "sum", "quantization": "Q4_K_M"}
    ours = _entry("Hugging Face cache", "llama-3-8b-Q4_K_M.gguf", 4_900_000_000, **known)
    theirs = _entry("Ollama", "llama3:8b", 4_900_000_000, **known)
    unknown = _entry("LM Studio", "mystery-7b-Q5_K_M.gguf", 5_100_000_000, quantization="Q5_K_M")
    broken = _entry("LM Studio", "half-Q8_0.gguf", 1_200_000_000, problem="half-Q8_0.gguf ends 3.1 GB too early")
    twice = Duplicate((ours.path, theirs.path), 4_900_000_000, True)
    return Library((ours, theirs, unknown, broken), (twice,), 16_100_000_000, 212_000_000_000)


def _found(query: str) -> Found:
    hits = (
        RepoSummary("huggingface", "stand-in/tiny-poet-GGUF", 1_234_567, 321, ("gguf", "en", "license:mit")),
        RepoSummary("huggingface", "stand-in/great-poet-of-many-words-and-a-long-name-GGUF", 12_345, 9, (), "auto"),
        RepoSummary("modelscope", "stand-in/poet-7b", 950, None, (), "manual"),
    )
    return Found(hits, ("modelscope.cn has not answered within 10 s",))


def _queue() -> fake.FakeQueue:
    queue = fake.FakeQueue(lambda job: None)
    for size, quantization in ((8, "Q5_K_M"), (8, "Q4_K_M"), (8, "Q8_0"), (70, "Q4_K_M"), (8, "IQ3_M")):
        queue.add(fake.plan(fake.variant(fake.LLAMA3, size, quantization)))
    queue.progress("job-1", state="done", done_bytes=5_700_000_000)
    queue.progress("job-2", state="running", done_bytes=2_744_000_000, bytes_per_second=84e6, seconds_left=26.0)
    queue.progress("job-4", state="failed", note="gated: read and accept the licence at the model's page")
    queue.progress("job-5", state="verifying", done_bytes=3_700_000_000)
    return queue


@dataclass(frozen=True)
class Picture:
    """One state of the app and how one gets there."""

    keys: tuple[str, ...] = ()
    services: Callable[[], dict[str, Any]] = dict
    then: Callable[[Deck, Any], Awaitable[None]] | None = None


async def _tour(app: Deck, pilot: Any) -> None:
    await app.push_screen(Tour())


async def _palette(app: Deck, pilot: Any) -> None:
    await pilot.press("ctrl+p", *"llama")
    await until(pilot, lambda: "llama-3.1 8B ggufv2" in screen_text(app))


async def _said(app: Deck, pilot: Any) -> None:
    app.say("the weights are on this disk now")
    app.say("the disk has no room for it", severity="warning")
    app.say("huggingface.co does not answer", severity="error")
    await until(pilot, lambda: "does not answer" in screen_text(app))


PICTURES: dict[str, Picture] = {
    "browse": Picture(("down", "down")),
    "browse-filter": Picture(("slash", *"llama")),
    "browse-nothing": Picture(("slash", *"zzz")),
    "family": Picture(INTO_LLAMA),
    "family-no": Picture((*INTO_LLAMA, *["down"] * 5)),
    "family-what-if": Picture((*INTO_LLAMA, "m", "down", "enter")),
    "machines": Picture(("m",)),
    "hardware": Picture(("w",)),
    "downloads": Picture(("f6", "down"), lambda: {"open_queue": lambda on_change: _queue()}),
    "downloads-failed": Picture(("f6", "down", "down", "down"), lambda: {"open_queue": lambda on_change: _queue()}),
    "downloads-empty": Picture(("f6",)),
    "downloads-ask": Picture(("f6", "down", "x"), lambda: {"open_queue": lambda on_change: _queue()}),
    "library": Picture(("f9", "down"), lambda: {"scan_library": lambda variants, folders: _stock()}),
    "library-broken": Picture(("f9", "down", "down", "down"), lambda: {"scan_library": lambda variants, folders: _stock()}),
    "library-empty": Picture(("f9",), lambda: {"scan_library": lambda variants, folders: Library((), (), 0, 212_000_000_000)}),
    "library-adopt": Picture(("f9", "a"), lambda: {"scan_library": lambda variants, folders: _stock()}),
    "hubs": Picture(("f4", *"poet", "down"), lambda: {"search_hubs": _found}),
    "hubs-empty": Picture(("f4",)),
    "chat-empty": Picture(("f7",)),
    "help": Picture(("question_mark",)),
    "help-search": Picture(("question_mark", *"token")),
    "notices": Picture(("f8",), lambda: {"problems": ("my.toml:3: there is no format 'gguf'; did you mean ggufv2?",)}),
    "tour": Picture((), then=_tour),
    "palette": Picture((), then=_palette),
    "toasts": Picture((), then=_said),
}  # fmt: skip


async def _answer(c: Chat) -> None:
    await c.load()
    await c.say("Why is the sky blue?")


async def _settings(c: Chat) -> None:
    await c.load()
    await c.pilot.press("f2")


async def _loading(c: Chat) -> None:
    pane = await c.screen.load(load_request())
    await c.until(lambda: pane.model is not None and pane.model.share > 0)


async def _panes(c: Chat, *quantizations: str) -> None:
    for quantization in quantizations:
        await c.load(load_request(quantization=quantization), beside=True)
    await c.pilot.press("ctrl+b")
    await c.say("Why is the sky blue?")


async def _two(c: Chat) -> None:
    await _panes(c, "Q4_K_M", "Q8_0")


async def _four(c: Chat) -> None:
    await _panes(c, "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")


async def _duel(c: Chat) -> None:
    await c.load(load_request(quantization="Q8_0"))
    second = await c.load(load_request(), beside=True)
    await c.pilot.press("f9")
    await c.say("Why is the sky blue?")
    await c.pilot.press("ctrl+s")
    await c.until(lambda: second.duel is not None)
    c.screen.activate(second)
    second.transcript.focus()
    await c.pilot.press("right")


async def _completion(c: Chat) -> None:
    await c.load(load_request("llama-3.1 8B", chats=False))
    await c.say("The lighthouse stood on the cliff and")


async def _conversations(c: Chat) -> None:
    await c.load()
    await c.say("Why is the sky blue?")
    await c.pilot.press("f3")
    await c.pilot.pause()


async def _in_memory(c: Chat) -> None:
    await c.load()
    await c.pilot.press("f4")


def _markdown() -> ScriptedAdapter:
    thought = Chunk("The user asks about scattering.", reasoning=True, tokens=6)
    return ScriptedAdapter(lambda _: [thought, *ANSWER.splitlines(keepends=True)])


CHATS: dict[str, tuple[Callable[[], ScriptedAdapter], Callable[[Chat], Awaitable[None]]]] = {
    "chat": (_markdown, _answer),
    "chat-loading": (lambda: ScriptedAdapter(), _loading),
    "chat-died": (lambda: ScriptedAdapter(lambda _: ["Sun", EngineError("llama.cpp failed", "out of memory")]), _answer),
    "chat-two": (lambda: ScriptedAdapter(PLAIN), _two),
    "chat-four": (lambda: ScriptedAdapter(PLAIN), _four),
    "chat-duel": (lambda: ScriptedAdapter(PLAIN, choices={"Q4_K_M": {5: " the", 11: " violet"}}), _duel),
    "chat-completion": (lambda: ScriptedAdapter(PLAIN), _completion),
    "chat-settings": (lambda: ScriptedAdapter(), _settings),
    "chat-conversations": (lambda: ScriptedAdapter(PLAIN), _conversations),
    "chat-in-memory": (lambda: ScriptedAdapter(), _in_memory),
}  # fmt: skip
NAMES = (*PICTURES, *CHATS)


@asynccontextmanager
async def shown(name: str, theme: str, size: tuple[int, int]) -> AsyncIterator[Any]:
    """The app in that state."""
    if name in PICTURES:
        picture = PICTURES[name]
        app: Any = Deck(fake.services(on_disk=(Q4,), **picture.services()), theme=theme)
        app.animation_level = "none"
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            for key in picture.keys:
                await pilot.press(key)
                await pilot.pause()
            if picture.then is not None:
                await picture.then(app, pilot)
            await pilot.pause()
            yield app
        return
    make, act = CHATS[name]
    adapter = make()
    app = ChatApp(adapter)
    app.theme = theme
    app.animation_level = "none"
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await act(Chat(app, pilot, adapter))
        await pilot.pause()
        yield app


async def _draw(folder: Path, wanted: list[str]) -> None:
    from tui import glyphs

    glyphs.choose(False)
    for name in wanted or NAMES:
        for theme in (DARK, LIGHT):
            for size in SIZES:
                async with shown(name, theme, size) as app:
                    file = folder / f"{name}-{theme.removeprefix('modeldeck-')}-{size[0]}.svg"
                    file.write_text(app.export_screenshot(title=name))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(MODELDECK_HOME=home, HF_HOME=f"{home}/hf", MODELDECK_ASCII="0")
        asyncio.run(_draw(Path(sys.argv[1]), sys.argv[2:]))
