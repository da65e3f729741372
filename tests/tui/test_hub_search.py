"""Searching the hubs, and giving a token, by the keys that a user presses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_services as fake
from textual.pilot import Pilot
from textual.widgets import Input
from waiting import until

from backends.downloads import Job, Plan
from backends.errors import AccessDenied
from backends.hubs.hub import RepoSummary
from backends.hubs.repository import Found
from specs.model import ModelFamily, Variant
from tui.app import Deck
from tui.messages import FamilyKept, FamilyShown
from tui.screens.ask_token import AskToken
from tui.screens.browse import Browse
from tui.screens.notices import Notices
from tui.widgets.fit_matrix import FitMatrix
from tui.widgets.hit_list import count_words

HITS = (
    RepoSummary("huggingface", "stand-in/tiny-poet-GGUF", 1_234_567, 321, ("gguf", "en", "license:mit")),
    RepoSummary("modelscope", "stand-in/poet-7b", 950, None, (), "manual"),
)
POET = replace(fake.family("tiny-poet-gguf", fake.gguf(1, "Q4_K_M", "Q8_0")), source="huggingface:stand-in/tiny-poet")
PAGE = "https://huggingface.co/stand-in/tiny-poet"
GATED = AccessDenied(f"stand-in/tiny-poet is gated: accept its licence at {PAGE}", "gated", PAGE)


def screen_text(app: Deck) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def press(pilot: Pilot[int], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await pilot.pause()
    await pilot.pause()


def deck(**rest: object) -> Deck:
    found = Found(HITS, ("modelscope: no answer within 10 s",))
    services = {"search_hubs": lambda query: found, "fetch_family": lambda hit: POET, **rest}
    return Deck(fake.services(**services))


def test_counts_are_short() -> None:
    assert [count_words(n) for n in (None, 950, 12_345, 123_456, 1_234_567)] == ["", "950", "12.3k", "123k", "1.2M"]


async def test_repositories_are_listed_with_downloads_likes_and_gates() -> None:
    app = deck()
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f4", *"poet")
        lines = screen_text(app).splitlines()
        assert any("stand-in/tiny-poet-GGUF" in one and "1.2M" in one and "321" in one for one in lines)
        assert any("stand-in/poet-7b" in one and "950" in one and "on request" in one for one in lines)
        assert any("modelscope: no answer within 10 s" in one for one in lines)
        assert "2 found" in lines[1]


async def test_what_the_list_was_filtered_by_is_searched_for() -> None:
    asked: list[str] = []

    def search(query: str) -> Found:
        asked.append(query)
        return Found(HITS, ())

    app = deck(search_hubs=search)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "slash", *"poet", "f4")
        assert asked == ["poet"]
        await press(pilot, "f5", "slash", "backspace", "f4")
        assert asked[-1] == "poe"


async def test_a_repository_is_judged_in_the_matrix_kept_and_downloaded() -> None:
    kept: list[ModelFamily] = []
    queue = fake.FakeQueue(lambda job: None)

    def open_queue(on_change: Callable[[Job], None]) -> fake.FakeQueue:
        queue.on_change = on_change
        return queue

    def keep(family: ModelFamily) -> Path:
        kept.append(family)
        return Path("/specs/tiny-poet.toml")

    def catalog() -> fake.FakeCatalog:
        return fake.FakeCatalog((*fake.FAMILIES, *kept), ())

    app = deck(keep_family=keep, load_catalog=catalog, open_queue=open_queue)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f4", *"poet", "enter")
        assert isinstance(app.screen, Browse)
        assert app.screen.query_one(FitMatrix).has_focus
        text = screen_text(app)
        assert "tiny-poet-gguf" in text
        assert "7 families" in text
        assert "s keep" in text.splitlines()[-1]
        await press(pilot, "d")
        assert [job.plan.variant.family for job in queue.jobs()] == [POET]
        await press(pilot, "s")
        assert kept == [POET]
        assert app.guests == ()
        assert "7 families" in screen_text(app)
        assert "s keep" not in screen_text(app).splitlines()[-1]


async def test_a_repository_called_like_a_family_of_the_catalog_keeps_its_owner() -> None:
    twin = replace(POET, name="llama-3-instruct", source="huggingface:Somebody/llama-3-instruct")
    app = deck(fetch_family=lambda hit: twin)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f4", *"poet", "enter")
        assert "somebody/llama-3-instruct" in screen_text(app)


async def test_a_gated_repository_says_where_its_licence_is_and_takes_a_token() -> None:
    kept: list[str] = []

    def keep_token(text: str, hub: str) -> str:
        if text == "hf_wrong":
            raise AccessDenied("the hub does not take this token", "token")
        kept.append(text)
        return "ada"

    def fetch(hit: RepoSummary) -> ModelFamily:
        if not kept:
            raise GATED
        return POET

    app = deck(fetch_family=fetch, keep_token=keep_token)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f4", *"poet", "enter")
        assert isinstance(app.screen, AskToken)
        assert PAGE in screen_text(app)
        await press(pilot, *"hf_wrong")
        assert "hf_wrong" not in screen_text(app)
        await press(pilot, "enter")
        assert "does not take this token" in screen_text(app)
        assert app.screen.query_one(Input).value == ""
        await press(pilot, *"hf_right", "enter")
        assert kept == ["hf_right"]
        assert isinstance(app.screen, Browse)
        assert "tiny-poet-gguf" in screen_text(app)


async def test_a_download_that_the_hub_refuses_takes_a_token_and_goes_on() -> None:
    queue = fake.FakeQueue(lambda job: None)
    queue.add(fake.plan(fake.variant(fake.LLAMA3, 8, "Q4_K_M"), "huggingface"))
    queue.progress("job-1", state="failed", note=str(GATED), refused="gated", page=PAGE)

    def open_queue(on_change: Callable[[Job], None]) -> fake.FakeQueue:
        queue.on_change = on_change
        return queue

    app = deck(open_queue=open_queue, keep_token=lambda text, hub: "ada")
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, "f6")
        text = screen_text(app)
        assert PAGE in text
        assert "t gives a token, r tries again" in text
        await press(pilot, "t", *"hf_secret", "enter")
        assert queue.calls == [("resume", "job-1")]
        assert "hf_secret" not in screen_text(app)


async def test_a_plan_that_the_hub_refuses_takes_a_token_and_asks_again() -> None:
    kept: list[str] = []

    def plan(variant: Variant, hub: str | None) -> Plan:
        if not kept:
            raise GATED
        return fake.plan(variant, hub)

    def keep_token(text: str, hub: str) -> str:
        kept.append(text)
        return "ada"

    app = deck(plan=plan, keep_token=keep_token)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "slash", *"3-inst", "enter", "enter", "d")
        assert isinstance(app.screen, AskToken)
        await press(pilot, *"hf_right", "enter")
        assert len(app.jobs) == 1


async def test_a_repository_that_fails_in_an_unforeseen_way_does_not_block_the_next() -> None:
    tries: list[str] = []

    def fetch(hit: RepoSummary) -> ModelFamily:
        tries.append(hit.model_id)
        if len(tries) == 1:
            raise ValueError("config.json is a list")
        return POET

    app = deck(fetch_family=fetch)
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f4", *"poet", "enter")
        await until(pilot, lambda: any("config.json is a list" in one.message for one in app._notifications))
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Browse))
        assert len(tries) == 2


async def test_keeping_a_family_leaves_one_that_is_shown_meanwhile() -> None:
    other = replace(POET, name="other-poet", source="huggingface:stand-in/other")

    def keep(family: ModelFamily) -> Path:
        app.post_message(FamilyShown(other))
        return Path("/home/me/specs/tiny-poet.toml")

    app = deck(keep_family=keep)
    async with app.run_test(size=(120, 30)) as pilot:
        app.post_message(FamilyShown(POET))
        await until(pilot, lambda: POET in app.guests)
        app.post_message(FamilyKept(POET))
        await until(pilot, lambda: POET not in app.guests)
        assert app.guests == (other,)


async def test_f5_and_f7_leave_the_notices() -> None:
    app = deck()
    async with app.run_test(size=(120, 30)) as pilot:
        await press(pilot, "f6", "f8")
        assert isinstance(app.screen, Notices)
        await press(pilot, "f5")
        assert isinstance(app.screen, Browse)
        await press(pilot, "f8", "f6")
        assert app.current_mode == "downloads"
        assert len(app.screen_stack) == 1
