"""The library screen, by the keys that a user presses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fake_services as fake
import pytest
from textual.pilot import Pilot

from backends.errors import BackendError
from backends.library import Adopted, Duplicate, Entry, Library, RemovalPlan, StoredFile, Verification
from specs.model import ModelFamily
from tui.app import Deck
from tui.messages import ChatWanted
from tui.screens.ask import Ask
from tui.screens.ask_line import AskLine

Q4 = fake.variant(fake.LLAMA3, 8, "Q4_K_M")
CACHE = Path("/home/ada/.cache/huggingface/hub/models--stand-in--llama/snapshots/abc")


def entry(owner: str, name: str, file_bytes: int, **rest: object) -> Entry:
    path = Path("/models") / owner / name
    return Entry(owner, name, path, path.parent, (StoredFile(name, path, file_bytes),), "ggufv2", **rest)  # type: ignore[arg-type]


OURS = entry(
    "Hugging Face cache",
    "llama-3-8b-Q4_K_M.gguf",
    4_900_000_000,
    variants=(Q4.key,),
    matched_by="sum",
    quantization="Q4_K_M",
    hub="huggingface",
    model_id="stand-in/llama-3-8b-GGUF",
    revision="0" * 40,
)
THEIRS = entry("Ollama", "llama3:8b", 4_900_000_000, variants=(Q4.key,), matched_by="sum", quantization="Q4_K_M")
UNKNOWN = entry("LM Studio", "mystery-7b-Q5_K_M.gguf", 5_100_000_000, quantization="Q5_K_M")
BROKEN = entry("LM Studio", "half-Q8_0.gguf", 1_200_000_000, problem="half-Q8_0.gguf ends 3.1 GB too early")
STOCK = Library(
    (OURS, THEIRS, UNKNOWN, BROKEN),
    (Duplicate((OURS.path, THEIRS.path), 4_900_000_000, True),),
    16_100_000_000,
    212_000_000_000,
)


def screen_text(app: Deck) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def press(pilot: Pilot[int], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await pilot.pause()
    await pilot.pause()


def deck(**rest: object) -> tuple[Deck, list[tuple[ChatWanted, Path]]]:
    app = Deck(fake.services(**{"scan_library": lambda variants, folders: STOCK, **rest}))
    talked: list[tuple[ChatWanted, Path]] = []
    app._talk = lambda option, path, beside: talked.append((ChatWanted(option), path))  # type: ignore[method-assign]
    return app, talked


async def test_every_row_says_what_it_is_how_large_and_whose() -> None:
    app, _ = deck()
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f9")
        lines = screen_text(app).splitlines()
        assert any("llama-3-instruct 8B" in one and "4.90 GB" in one and "Hugging Face" in one for one in lines)
        assert any("mystery-7b" in one and "LM Studio" in one and "not in catalog" in one for one in lines)
        assert any("half-Q8_0" in one and "not whole" in one for one in lines)
        assert any("here twice" in one for one in lines)
        assert any("16.1 GB in all" in one and "4.90 GB of it twice" in one for one in lines)


async def test_the_lines_below_say_where_and_how_it_is_known() -> None:
    app, _ = deck()
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f9")
        text = screen_text(app)
        assert str(OURS.path) in text
        assert "its sum says so" in text
        assert "the same bytes lie at /models/Ollama/llama3:8b" in text


async def test_enter_talks_to_the_weights_where_they_lie() -> None:
    app, talked = deck()
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f9", "down", "enter")
        assert [(message.option.variant, path) for message, path in talked] == [(Q4, THEIRS.path)]


async def test_enter_is_named_after_what_the_weights_do() -> None:
    base = next(one for family in fake.FAMILIES if not family.chats for one in family.variants())
    theirs = entry("LM Studio", "base.gguf", 4_900_000_000, variants=(base.key,), matched_by="sum")
    stock = replace(STOCK, entries=(OURS, theirs), duplicates=())
    app, talked = deck(scan_library=lambda variants, folders: stock)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f9")
        assert screen_text(app).splitlines()[-1].startswith(" ↵ chat ")
        await press(pilot, "down")
        assert screen_text(app).splitlines()[-1].startswith(" ↵ complete ")
        await press(pilot, "enter")
        assert [path for _, path in talked] == [theirs.path]


async def test_removing_says_exactly_what_goes_and_asks() -> None:
    removed: list[RemovalPlan] = []

    def remove(plan: RemovalPlan, families: Sequence[ModelFamily]) -> int:
        removed.append(plan)
        return plan.freed_bytes

    def plan(chosen: Entry, others: Sequence[Entry]) -> RemovalPlan:
        return RemovalPlan(chosen, chosen.owner, chosen.owner == "Ollama", (chosen.path,), 4_900_000_000, ("x stays",))

    app, _ = deck(plan_removal=plan, remove_entry=remove)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f9", "x")
        assert isinstance(app.screen, Ask)
        assert "1 file will go, which frees 4.90 GB" in screen_text(app)
        assert "x stays" in screen_text(app)
        await press(pilot, "escape")
        assert removed == []
        await press(pilot, "down", "x")
        assert "This file is Ollama's own, and Ollama will miss it." in screen_text(app)
        await press(pilot, "enter")
        assert [plan.entry for plan in removed] == [THEIRS]


async def test_a_removal_that_fails_is_said() -> None:
    def remove(plan: RemovalPlan, families: Sequence[ModelFamily]) -> int:
        raise BackendError("cannot remove it (permission denied)")

    app, _ = deck(plan_removal=lambda chosen, others: RemovalPlan(chosen, "x", False, (), 0), remove_entry=remove)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f9", "x", "enter")
        assert any("permission denied" in notification.message for notification in app._notifications)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Verification(OURS, ("a",), (), ()), "sums are right"),
        (Verification(OURS, (), ("a: its sum is wrong; remove it and download it again",), ()), "damaged"),
        (Verification(OURS, (), (), ("a",)), "length is right"),
    ],
)
async def test_verifying_says_what_it_found(outcome: Verification, words: str) -> None:
    app, _ = deck(verify_entry=lambda chosen, on_bytes, cancel: outcome)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f9", "v")
        assert words in screen_text(app)
        assert not outcome.wrong or "its sum is wrong" in screen_text(app)


async def test_weights_outside_the_catalog_are_adopted_by_their_path() -> None:
    adopted: list[Path] = []

    def adopt(path: Path, families: Sequence[ModelFamily]) -> Adopted:
        assert fake.LLAMA3 in families
        adopted.append(path)
        return Adopted(path, Q4, Path("/specs/mystery.toml"))

    app, _ = deck(adopt=adopt)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f9", "down", "down", "a")
        assert isinstance(app.screen, AskLine)
        await press(pilot, "enter")
        assert adopted == [UNKNOWN.path]


async def test_enter_talks_to_weights_that_the_catalog_does_not_know() -> None:
    asked: list[tuple[Path, str]] = []

    def local_family(path: Path, name: str) -> ModelFamily:
        asked.append((path, name))
        return replace(fake.LLAMA3, specs=(replace(Q4.spec, quantizations=("Q4_K_M",)),))

    app, talked = deck(local_family=local_family)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f9", "down", "down", "enter")
        assert asked == [(UNKNOWN.path, UNKNOWN.name)]
        assert [path for _, path in talked] == [UNKNOWN.path]


async def test_an_empty_disk_says_how_to_begin() -> None:
    app, _ = deck(scan_library=lambda variants, folders: Library((), (), 0, None))
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "f9", "v", "x", "enter")
        assert "nothing here yet" in screen_text(app)
        await press(pilot, "escape")
        assert "families" in screen_text(app)
