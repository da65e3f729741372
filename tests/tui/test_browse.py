"""The browse screen, by the keys that a user presses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import fake_services as fake
import pytest
from textual import events
from textual.geometry import Size
from textual.pilot import Pilot
from waiting import until

from backends.engines.engine import EngineStatus
from backends.fit import Compute, Correction, Knowledge
from backends.loaded import LoadRequest
from backends.machine.model import Holder
from backends.machine.presets import PRESETS, preset
from specs.model import ModelFamily, Variant
from tui import units
from tui.app import Deck
from tui.family_rows import FamilyRows, Filter
from tui.judging import SLICE_VARIANTS
from tui.messages import ChatWanted, LibraryChanged
from tui.screens.ask import Ask
from tui.screens.browse import Browse
from tui.screens.hardware import Hardware
from tui.screens.help import Help
from tui.services import Measured
from tui.widgets.cell_detail import CellDetail
from tui.widgets.family_list import FamilyList
from tui.widgets.fit_matrix import FitMatrix
from tui.widgets.key_line import KeyLine

Q4 = fake.variant(fake.LLAMA3, 8, "Q4_K_M")


def screen_text(app: Deck) -> str:
    """All that is on the screen, line by line."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    assert len(lines) == height
    return "\n".join(strip.text[:width] for strip in lines)


def browse(app: Deck) -> Browse:
    assert isinstance(app.screen, Browse)
    return app.screen


async def press(pilot: Pilot[int], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await pilot.pause()


async def choose_llama(pilot: Pilot[int]) -> None:
    """Search for llama-3-instruct and go to its matrix."""
    await press(pilot, "slash", *"3-inst", "enter", "enter")


async def test_the_list_shows_the_best_verdict_sizes_and_abilities_of_every_family() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        text = screen_text(app)
        assert "● llama-3-instruct" in text
        assert "✕ giant" in text
        assert "8 70 405" in text
        assert "6 families" in text


async def test_the_filter_narrows_with_every_letter_and_escape_shows_all() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "slash", "l", "l", "a", "m", "a")
        assert "3 of 6 families" in screen_text(app)
        await press(pilot, "-", "3", ".")
        assert "1 of 6 families" in screen_text(app)
        await press(pilot, "escape")
        assert "6 families" in screen_text(app)
        assert app.query_one(FamilyList).query_text == ""


async def test_the_first_frame_after_a_letter_shows_the_rows_and_lays_out_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    painted: list[set[str]] = []
    laid_out: list[bool] = []
    refresh, layout = Browse._compositor_refresh, Browse._refresh_layout

    def recorded(screen: Browse) -> None:
        painted.append({type(widget).__name__ for widget in screen._dirty_widgets})
        refresh(screen)

    def counted(screen: Browse, size: Size | None = None, scroll: bool = False) -> None:
        laid_out.append(True)
        layout(screen, size, scroll)

    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "slash")
        monkeypatch.setattr(Browse, "_compositor_refresh", recorded)
        monkeypatch.setattr(Browse, "_refresh_layout", counted)
        for keys in ("g", "backspace"):  # with both the keys below the screen change too
            painted.clear()
            laid_out.clear()
            await press(pilot, keys)
            await until(pilot, lambda: bool(painted))
            assert "FamilyList" in painted[0]
            assert not laid_out


async def test_guests_from_the_hubs_are_filtered_behind_the_catalogs_families() -> None:
    guest = fake.family("llama-guest", fake.gguf(7, "Q4_K_M"))
    rows = FamilyRows(fake.FakeCatalog(fake.FAMILIES), (guest, fake.FAMILIES[0]))  # type: ignore[arg-type]
    count = len(fake.FAMILIES)
    assert rows.families == (*fake.FAMILIES, guest)
    named = [index for index, family in enumerate(fake.FAMILIES) if "lama" in family.name]
    assert list(rows.shown(Filter("lama"))) == [*named, count]
    assert list(rows.shown(Filter("guest llama"))) == [count]


async def test_letters_go_to_the_filter_while_it_is_open_and_are_keys_otherwise() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "slash", "m", "f", "d")
        assert app.query_one(FamilyList).query_text == "mfd"
        assert not browse(app).fits_only
        await press(pilot, "escape", "f")
        assert browse(app).fits_only
        assert "giant" not in screen_text(app)


async def test_enter_is_named_after_what_the_family_does() -> None:
    base = fake.family("base", fake.gguf(7, "Q4_K_M"), abilities=("generate",))
    app = Deck(fake.services(families=(*fake.FAMILIES, base)))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "tab", "enter")
        assert "↵ chat" in screen_text(app)
        app.open_family("base")
        await pilot.pause()
        assert "↵ complete" in screen_text(app)
        assert "↵ chat" not in screen_text(app)


async def test_the_matrix_puts_similar_rows_under_one_header() -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        lines = screen_text(app).splitlines()
        gguf = next(line for line in lines if "IQ1_M" in line)
        assert "Q8_0" in gguf
        other = next(line for line in lines if "4-bit" in line)
        assert "none" in other
        assert "Int4" in other
        assert any("4.9⤓" in line for line in lines)


async def test_the_cursor_goes_cell_by_cell_over_what_is_not_published() -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        matrix = app.query_one(FitMatrix)
        assert matrix.variant == Q4
        await press(pilot, "left")
        assert matrix.variant == fake.variant(fake.LLAMA3, 8, "IQ3_M")
        await press(pilot, "down")
        assert matrix.variant == fake.variant(fake.LLAMA3, 70, "IQ2_XS")
        await press(pilot, "left", "left")
        assert app.query_one(FamilyList).has_focus


async def test_the_reason_under_the_matrix_says_where_and_how_far() -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        text = screen_text(app)
        assert "on the RTX 4090, all 33 layers" in text
        assert "context up to 71,680" in text
        assert "about 128 tok/s" in text
        assert "memory from the weights' own header" in text
        await press(pilot, "end", "down")
        option = app.query_one(CellDetail).option
        assert option is not None
        assert option.verdict == "split"


async def test_a_cell_that_does_not_fit_says_by_how_much_and_the_cure() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "slash", *"giant", "enter", "enter")
        text = screen_text(app)
        assert "GiB too much" in text
        assert "would fit" in text


async def test_brackets_change_the_context_and_the_memory_bar_follows() -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        before = app.query_one(CellDetail).option
        await press(pilot, "left_square_bracket")
        after = app.query_one(CellDetail).option
        assert before is not None
        assert after is not None
        assert "ctx 4,096" in screen_text(app)
        assert after.context == 4096
        assert (after.memory.kv_cache_bytes or 0) < (before.memory.kv_cache_bytes or 0)


async def test_a_context_beyond_the_familys_own_is_judged_at_the_familys() -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "right_square_bracket")
        option = app.query_one(CellDetail).option
        assert option is not None
        assert option.context == fake.LLAMA3.context_length


async def test_the_next_engine_judges_the_matrix() -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "e")
        option = app.query_one(CellDetail).option
        assert option is not None
        assert option.engine == "vLLM"
        said = [one.message for one in app._notifications]
        assert any(line.startswith("vLLM, 2 of 2: ") for line in said), said


async def test_another_machine_judges_everything_and_says_that_it_is_not_this_one() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "down")
        before = app.query_one(CellDetail).option
        await press(pilot, "m", "down", "enter")
        after = app.query_one(CellDetail).option
        assert "what if: 8x H100, not this machine" in screen_text(app)
        assert before is not None
        assert after is not None
        assert (before.verdict, after.verdict) == ("split", "gpu")
        await press(pilot, "m", "up", "enter")
        assert "what if" not in screen_text(app)


async def test_a_long_name_of_a_card_hides_no_memory() -> None:
    app = Deck(fake.services(presets=lambda: [preset(name) for name in PRESETS]))
    async with app.run_test(size=(120, 60)) as pilot:
        await press(pilot, "m", *"blackwell")
        row = next(line for line in screen_text(app).splitlines() if "RTX PRO 6000 Blackw…" in line)
        assert "95.6 GiB · RAM 256.0 GiB" in row


async def test_the_footer_names_the_key_that_opens_the_help_where_letters_are_typed() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert " ? help " in screen_text(app).splitlines()[-1]
        await press(pilot, "f7")
        last = screen_text(app).splitlines()[-1]
        assert " f1 help " in last
        assert " f3 history " in last
        await press(pilot, "f1")
        assert isinstance(app.screen, Help)


async def test_a_machine_may_be_described_in_words() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "m", *"M5", "enter")
        assert "no machine is called" in screen_text(app)
        await press(pilot, "backspace", *"4 Pro 48 GB")
        await press(pilot, "enter")
        assert "what if: M4 Pro 48 GB" in screen_text(app)


async def test_enter_offers_the_download_of_what_is_not_here() -> None:
    queues: list[fake.FakeQueue] = []

    def open_queue(on_change: object) -> fake.FakeQueue:
        queues.append(fake.FakeQueue(on_change))  # type: ignore[arg-type]
        return queues[-1]

    app = Deck(fake.services(open_queue=open_queue))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "enter")
        assert isinstance(app.screen, Ask)
        await press(pilot, "enter")
        await pilot.pause()
        assert [job.plan.variant.family.name for job in queues[0].jobs()] == ["llama-3-instruct"]


async def test_progress_of_a_download_stands_in_its_cell() -> None:
    queue = fake.FakeQueue(lambda job: None)

    def open_queue(on_change: object) -> fake.FakeQueue:
        queue.on_change = on_change  # type: ignore[assignment]
        return queue

    app = Deck(fake.services(open_queue=open_queue))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "d")
        job = queue.jobs()[0]
        queue.progress(job.id, state="running", done_bytes=job.plan.total_bytes * 56 // 100)
        await pilot.pause()
        assert "56%" in screen_text(app)


async def test_an_engine_that_is_missing_says_how_to_get_it() -> None:
    statuses = {
        **fake.STATUSES,
        "llama.cpp": EngineStatus("not-installed", "llama.cpp is not installed", "pip install x"),
    }
    app = Deck(fake.services(statuses=lambda: statuses, on_disk=(Q4,)))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "enter")
        await pilot.pause()
        assert any("pip install x" in notification.message for notification in app._notifications)
        assert isinstance(app.screen, Browse)


async def test_problems_of_spec_files_are_counted_and_can_be_read() -> None:
    app = Deck(fake.services(problems=("my.toml:3: context_length must be a number",)))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "1 notice" in screen_text(app)
        await press(pilot, "f8")
        assert "my.toml:3: context_length must be a number" in screen_text(app)


async def test_background_work_that_fails_is_shown_and_nothing_else_suffers() -> None:
    def broken() -> object:
        raise OSError("the driver is gone")

    app = Deck(fake.services(statuses=broken))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        text = screen_text(app)
        assert "1 notice" in text
        assert "llama-3-instruct" in text


HOSTILE = "\x1b[31mred\x1b]0;owned\x07[bold]x[/bold]\u202eevil"


async def test_names_and_descriptions_are_shown_and_never_interpreted() -> None:
    hostile = replace(
        fake.family(HOSTILE, fake.gguf(8, "[red]Q4[/red]", "Q8_0\x1b[0m")),
        description=HOSTILE,
        languages=(HOSTILE,),
        abilities=("chat", HOSTILE),
    )
    app = Deck(fake.services(families=(hostile, *fake.FAMILIES)))
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "home", "enter")
        text = screen_text(app)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[bold]x" in text
        assert "[red]Q4" in text
        await press(pilot, "d", "f6")
        assert "\x1b" not in screen_text(app)


@pytest.mark.parametrize("size", [(20, 5), (39, 9), (1, 1), (40, 10), (80, 24), (300, 100)])
async def test_every_terminal_size_shows_something_sane(size: tuple[int, int]) -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    async with app.run_test(size=size) as pilot:
        await press(pilot, "down", "enter", "right", "right_square_bracket", "escape")
        text = screen_text(app)
        if size == (20, 5):
            assert "enlarge to 40x10" in text
        if size[0] >= 40:
            assert "families" in text


async def test_at_80_columns_enter_shows_the_family_over_the_list_and_escape_goes_back() -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "Q4_K_M" not in screen_text(app)
        await choose_llama(pilot)
        text = screen_text(app)
        assert "Q4_K_M" in text
        assert "weights" in text
        await press(pilot, "escape")
        assert "families" in screen_text(app)


async def test_the_footer_names_what_the_focused_side_can_do() -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        last = screen_text(app).splitlines()[-1]
        for words in ("↵ chat", "d download", "e engine", "[ ] context", "? help", "ctrl+q quit"):
            assert words in last


async def test_a_key_map_of_the_user_changes_key_and_footer() -> None:
    app = Deck(fake.services(on_disk=(Q4,)))
    app.set_keymap({"browse.fits": "z"})
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "z")
        assert browse(app).fits_only
        assert any(shown == "z" for _, shown, _, _ in app.screen.query_one(KeyLine).items())


async def test_the_palette_finds_families_and_actions() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await press(pilot, "ctrl+p", *"qwen3")
        await pilot.pause(0.2)
        await press(pilot, "enter")
        await pilot.pause(0.2)
        assert app.query_one(FamilyList).family is next(f for f in fake.FAMILIES if f.name == "qwen3")


async def test_the_help_explains_the_signs_and_every_key() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 60)) as pilot:
        await press(pilot, "question_mark")
        text = screen_text(app)
        assert "runs on the GPU" in text
        assert "KV cache: grows with the context length" in text
        await press(pilot, "escape")
        assert isinstance(app.screen, Browse)


async def test_an_empty_catalog_says_what_to_do() -> None:
    none: tuple[ModelFamily, ...] = ()
    app = Deck(fake.services(families=none))
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "down", "enter", "d", "e", "enter", "right_square_bracket")
        assert "specs import" in screen_text(app)


async def test_quitting_closes_what_was_opened() -> None:
    closed: list[str] = []
    app = Deck(fake.services())
    async with app.run_test(size=(80, 24)) as pilot:
        app.at_end(lambda: closed.append("engine"))
        await press(pilot, "ctrl+q")
    assert closed == ["engine"]


async def test_a_live_look_at_the_machine_changes_the_strip_only() -> None:
    judged: list[int] = []

    def counted(variants: Sequence[Variant], *rest: object) -> list[str]:
        judged.append(len(variants))
        return fake.quick_verdicts(variants, *rest)  # type: ignore[arg-type]

    app = Deck(fake.services(quick_verdicts=counted))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        before = list(judged)
        first = fake.MACHINE.accelerators[0]
        less = replace(first, free_bytes=(first.free_bytes or 0) - (100 << 20))
        app.machine = replace(fake.MACHINE, accelerators=(less, *fake.MACHINE.accelerators[1:]))
        await pilot.pause()
        assert before
        assert judged == before
        assert "15.1/24" in screen_text(app)


async def test_the_list_is_judged_in_slices_and_never_on_the_screens_thread() -> None:
    calls: list[tuple[int, int]] = []

    def noted(variants: Sequence[Variant], *rest: object) -> list[str]:
        calls.append((threading.get_ident(), len(variants)))
        return fake.quick_verdicts(variants, *rest)  # type: ignore[arg-type]

    many = (*fake.FAMILIES, replace(fake.LLAMA3, name="zephyr", specs=fake.LLAMA3.specs * 300))

    def apart(work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    app = Deck(fake.services(families=many, quick_verdicts=noted, background=apart))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        before = len(calls)
        await press(pilot, "right_square_bracket")
        await pilot.pause()
        assert len(calls) > before > 1
        assert threading.get_ident() not in {thread for thread, _ in calls}
        assert max(length for _, length in calls) <= SLICE_VARIANTS


async def test_a_machine_that_is_no_preset_is_described_before_it_is_chosen() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "m", *"RTX 9")
        assert 'no machine is called "RTX 9"' in screen_text(app)
        await press(pilot, *["backspace"] * 5, *"M4 Pro 48 GB")
        assert "M4 Pro 36.0 GiB" in screen_text(app)
        await press(pilot, "enter")
        assert "what if: M4 Pro 48 GB, not this machine" in screen_text(app)


async def test_the_memory_is_measured_after_the_start_and_stays_known() -> None:
    app = Deck(fake.services(measure_bandwidth=lambda machine: 45_000_000_000, bandwidth_seconds=0.001))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause(0.05)
        app.machine = replace(fake.MACHINE, warnings=("a look that measured nothing",))
        await press(pilot, "w")
        assert isinstance(app.screen, Hardware)
        assert "45 GB/s measured" in screen_text(app)


async def test_ascii_glyphs_say_the_same() -> None:
    from tui import glyphs

    glyphs.choose(True)
    try:
        app = Deck(fake.services(on_disk=(Q4,)))
        async with app.run_test(size=(120, 40)) as pilot:
            await choose_llama(pilot)
            text = screen_text(app)
            assert "# llama-3-instruct" in text
            assert "4.9v" in text
            assert text.isascii()
    finally:
        glyphs.choose(None)


async def test_letters_typed_ahead_of_the_screen_all_reach_the_filter() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        families = app.query_one(FamilyList)
        for key, character in (("slash", "/"), ("m", "m"), ("f", "f"), ("d", "d")):
            families.post_message(events.Key(key, character))
        await pilot.pause()
        await pilot.pause()
        assert families.query_text == "mfd"


async def test_a_wide_matrix_scrolls_under_its_first_column_and_other_groups_stay() -> None:
    names = [f"Q{bits}_{tail}" for bits in (2, 3, 4, 5, 6, 8) for tail in ("K_S", "K_M", "K_L")]
    wide = fake.family("wide", *(fake.gguf(size, *names) for size in range(1, 31)), fake.spec("pytorch", 1, "none"))
    app = Deck(fake.services(families=(wide,)))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await press(pilot, "enter")
        await press(pilot, "end")
        text = screen_text(app)
        assert "Q8_K_L" in text
        assert "ggufv2" in text
        assert "‹" in text
        await press(pilot, *["up"] * 30)
        await press(pilot, *["down"] * 29)
        text = screen_text(app)
        assert "30B" in text
        assert "Q8_K_L" in text  # the header stays while rows scroll
        await press(pilot, "down")
        assert app.query_one(FitMatrix).variant == fake.variant(wide, 1, "none", "pytorch")
        assert "pytorch" in screen_text(app)


class Disk:
    """A disk that weights come onto while the app runs, read when a test lets it be read."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def read(self) -> fake.FakeLibrary:
        return fake.FakeLibrary(*self.keys)


class Held:
    """Background work that waits for the test where a test wants it to."""

    def __init__(self) -> None:
        self.holding = False
        self.waiting: list[object] = []

    def __call__(self, work: object) -> None:
        if self.holding:
            self.waiting.append(work)
        else:
            work()  # type: ignore[operator]

    def let_go(self) -> None:
        self.holding = False
        for work in self.waiting:
            work()  # type: ignore[operator]
        self.waiting.clear()


def journey(disk: Disk, **rest: object) -> tuple[Deck, fake.FakeQueue, list[ChatWanted]]:
    """An app whose chats are counted instead of opened."""
    queue = fake.FakeQueue(lambda job: None)

    def open_queue(on_change: object) -> fake.FakeQueue:
        queue.on_change = on_change  # type: ignore[assignment]
        return queue

    app = Deck(fake.services(open_queue=open_queue, local_index=disk.read, **rest))
    talked: list[ChatWanted] = []
    app._talk = lambda option, path, beside: talked.append(ChatWanted(option, beside=beside))  # type: ignore[method-assign]
    return app, queue, talked


async def arrive(pilot: Pilot[int], disk: Disk, queue: fake.FakeQueue) -> None:
    """The download is whole."""
    disk.keys.add(queue.jobs()[0].plan.variant.key)
    queue.progress(queue.jobs()[0].id, state="done", done_bytes=queue.jobs()[0].plan.total_bytes)
    await pilot.pause()
    await pilot.pause()


async def test_d_in_the_list_downloads_the_cell_that_is_shown_beside_it() -> None:
    app, queue, _ = journey(Disk())
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "slash", *"3-inst", "enter")
        assert app.query_one(FamilyList).has_focus
        assert "d download" in screen_text(app).splitlines()[-1]
        await press(pilot, "d")
        assert [job.plan.variant for job in queue.jobs()] == [Q4]


async def test_d_in_a_list_that_stands_alone_shows_the_cell_first() -> None:
    app, queue, _ = journey(Disk())
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "slash", *"3-inst", "enter", "d")
        assert app.query_one(FitMatrix).has_focus
        assert queue.jobs() == ()
        await press(pilot, "d")
        assert [job.plan.variant for job in queue.jobs()] == [Q4]


async def test_the_chat_opens_by_itself_when_its_download_is_whole() -> None:
    disk = Disk()
    app, queue, talked = journey(disk)
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "enter")
        assert "4.90 GB, then chat?" in screen_text(app)
        await press(pilot, "enter", "f6")
        assert talked == []
        await arrive(pilot, disk, queue)
        assert [message.option.variant for message in talked] == [Q4]


@pytest.mark.parametrize("keys", [("left",), ("slash", "q"), ("f8",)])
async def test_the_chat_stays_closed_when_the_user_has_moved_on(keys: tuple[str, ...]) -> None:
    disk = Disk()
    app, queue, talked = journey(disk)
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "enter", "enter", *keys)
        await arrive(pilot, disk, queue)
        assert talked == []


@pytest.mark.parametrize("ours", [True, False])
async def test_what_does_not_fit_beside_our_own_models_is_for_the_chat_to_ask(ours: bool) -> None:
    disk = Disk()
    disk.keys.add(Q4.key)
    app, _, talked = journey(disk)
    option = replace(
        fake.options([Q4], fake.MACHINE, fake.Wish(), fake.STATUSES, {})[0], verdict="no", reason="2 GiB short"
    )

    class Holding:
        def has_room_to_make(self, request: LoadRequest) -> bool:
            assert request.short_bytes == max(0, option.memory.total_bytes - (option.budget_bytes or 0))
            return ours

    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        app._chat_screen = Holding()  # type: ignore[assignment]
        app.retitle = lambda: None  # type: ignore[method-assign]
        app.post_message(ChatWanted(option))
        await pilot.pause()
        await pilot.pause()
        assert isinstance(app.screen, Ask) is not ours
        assert len(talked) == ours
        if not ours:
            assert "2 GiB short. Load it all the same?" in screen_text(app)
        app._chat_screen = None


@pytest.mark.parametrize("ours", [True, False])
async def test_a_cell_that_our_own_models_leave_no_room_for_says_so_before_all_other_cures(ours: bool) -> None:
    reason = "2 GiB short; a machine such as RTX 4090 runs it"
    lacking = replace(fake.options([Q4], fake.MACHINE, fake.Wish(), fake.STATUSES, {})[0], verdict="no", reason=reason)

    class Holding:
        def has_room_to_make(self, request: LoadRequest) -> bool:
            return ours

    app, _, _ = journey(Disk())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        app._chat_screen = Holding()  # type: ignore[assignment]
        note = app.room_note(lacking)
        assert bool(note) is ours
        assert app.room_note(replace(lacking, verdict="gpu")) == ""
        detail = app.screen.query_one(CellDetail)
        detail.show(lacking, room_note=note)
        await pilot.pause()
        text = screen_text(app)
        assert ("enter asks which of them" in text) is ours
        if ours:
            assert text.index("enter asks which") < text.index("2 GiB short")
        app._chat_screen = None


async def test_a_question_closes_when_the_weights_have_come_meanwhile() -> None:
    disk = Disk()
    app, _, talked = journey(disk)
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "enter")
        assert isinstance(app.screen, Ask)
        disk.keys.add(Q4.key)
        app.post_message(LibraryChanged())
        await pilot.pause()
        await pilot.pause()
        assert isinstance(app.screen, Browse)
        assert [message.option.variant for message in talked] == [Q4]


async def test_a_launch_waits_until_the_disk_is_read_before_it_offers_a_download() -> None:
    disk = Disk()
    disk.keys.add(Q4.key)
    held = Held()
    app, _, talked = journey(disk, background=held)
    held.holding = True
    app._launch = fake.options([Q4], fake.MACHINE, fake.Wish(), fake.STATUSES, {})[0]
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert isinstance(app.screen, Browse)
        held.let_go()
        await pilot.pause()
        await pilot.pause()
        assert len(talked) == 1


async def test_what_loads_here_took_is_asked_for_and_can_be_forgotten() -> None:
    forgotten: list[tuple[str, str]] = []

    def measured(machine: object) -> Measured:
        return Measured() if forgotten else Measured({("llama.cpp", "ggufv2"): Correction(((1000, 1300),) * 7)})

    def forget(machine: object, engine: str, format_name: str) -> int:
        forgotten.append((engine, format_name))
        return 7

    seen: list[Measured] = []

    def options(*arguments: object) -> list[object]:
        seen.append(arguments[-1])  # type: ignore[arg-type]
        return fake.options(*arguments)  # type: ignore[arg-type,return-value]

    app = Deck(fake.services(on_disk=(Q4,), measured=measured, forget_loads=forget, options=options))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        assert seen[-1].corrections
        await press(pilot, "x")
        assert "7 loads of ggufv2 with llama.cpp took 1.30 times what was predicted" in screen_text(app)
        await press(pilot, "enter")
        assert forgotten == [("llama.cpp", "ggufv2")]
        assert not seen[-1].corrections
        await press(pilot, "x")
        assert isinstance(app.screen, Browse)


def answering(asked: list[tuple[str, str, bool]]) -> object:
    """A service that answers for llama.cpp as the library does, and keeps what it was asked."""

    def answer(variant: Variant, known: Knowledge, path: Path | None, cache_type: str) -> Knowledge:
        asked.append((variant.quantization, cache_type, path is not None))
        return replace(known, compute=Compute(cache_type, 0, 0.0, 77 << 20, 0.0, "0.3.36"))

    return answer


async def test_llama_cpp_is_asked_once_about_the_cell_on_this_disk_and_its_answer_is_told() -> None:
    asked: list[tuple[str, str, bool]] = []
    app = Deck(fake.services(on_disk=(Q4,), engine_answer=answering(asked), options=fake.answered_options))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        assert asked == [("Q4_K_M", "f16", True)]
        assert "compute by llama.cpp 0.3.36 itself" in " ".join(screen_text(app).split())
        await press(pilot, "right", "left")
        assert asked.count(("Q4_K_M", "f16", True)) == 1


async def test_a_header_on_the_hub_is_read_only_once_its_family_was_opened() -> None:
    asked: list[tuple[str, str, bool]] = []
    app = Deck(fake.services(engine_answer=answering(asked), options=fake.answered_options))
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "slash", *"3-inst", "enter")
        assert asked == []
        await press(pilot, "enter")
        assert len(asked) == 1
        assert asked[0][1:] == ("f16", False)


async def test_another_cache_type_is_another_question() -> None:
    asked: list[tuple[str, str, bool]] = []
    app = Deck(fake.services(on_disk=(Q4,), engine_answer=answering(asked), options=fake.answered_options))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        browse(app).kv_cache_type = "q8_0"
        await pilot.pause()
        assert asked == [("Q4_K_M", "f16", True), ("Q4_K_M", "q8_0", True)]


async def test_without_an_answer_the_formula_stays_and_nobody_is_asked_again() -> None:
    asked: list[str] = []

    def silent(variant: Variant, *_: object) -> None:
        asked.append(variant.quantization)

    app = Deck(fake.services(on_disk=(Q4,), engine_answer=silent))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose_llama(pilot)
        await press(pilot, "right", "left")
        assert asked.count("Q4_K_M") == 1
        assert "itself" not in screen_text(app)


def test_the_parts_of_the_bar_are_told_in_the_unit_of_their_sum() -> None:
    gib = 1 << 30
    assert units.memory_like(int(4.62 * gib), 7 * gib) == "4.6"
    assert units.memory_like(300 << 20, 7 * gib) == "0.3"
    assert units.memory_like(12 << 20, 7 * gib) == "0.01"
    assert units.memory_like(39 << 20, 300 << 20) == "39 MiB"
    assert units.memory_like(None, 7 * gib) == "unknown"


async def test_the_hardware_page_is_live_and_names_who_holds_memory() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await press(pilot, "w")
        assert isinstance(app.screen, Hardware)
        assert app.screen.shows_machine  # so the app goes on looking
        card = fake.MACHINE.accelerators[0]
        busy = replace(card, free_bytes=1 << 30, load_percent=97, holders=(Holder(4321, "python3", "ada", 14 << 30),))
        app.machine = replace(fake.MACHINE, accelerators=(busy, *fake.MACHINE.accelerators[1:]))
        await pilot.pause()
        text = screen_text(app)
        assert "1.0 GiB of 24.0 GiB free" in text
        assert "97 % busy" in text
        assert "14.0 GiB held by python3, pid 4321, ada" in text
        await press(pilot, "escape")
        assert " 97 %" in screen_text(app).splitlines()[0]


async def test_the_hardware_page_of_another_machine_stands_still() -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        browse(app).what_if = fake.PRESET
        await press(pilot, "w")
        assert isinstance(app.screen, Hardware)
        assert not app.screen.shows_machine
        app.machine = replace(fake.MACHINE, accelerators=())
        await pilot.pause()
        assert "not this machine" in screen_text(app)


async def test_a_long_path_is_told_by_its_end_in_one_line() -> None:
    class Deep(fake.FakeLibrary):
        def path(self, variant: Variant) -> Path | None:
            return Path("/" + "hub/models--publisher/snapshots/" * 4 + "the-file.gguf") if variant == Q4 else None

    app = Deck(fake.services(on_disk=(Q4,), local_index=lambda: Deep(Q4.key)))
    async with app.run_test(size=(80, 24)) as pilot:
        await choose_llama(pilot)
        lines = screen_text(app).splitlines()
        told = next(line for line in lines if "on this disk" in line)
        assert "the-file.gguf" in told
        assert any("memory from" in line for line in lines)


def keys_below(app: Deck) -> str:
    return app.screen._compositor.render_strips()[-1].text


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_way_back_stands_below_as_long_as_there_is_one(size: tuple[int, int]) -> None:
    app = Deck(fake.services())
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "↵ open" in keys_below(app))
        assert "esc" not in keys_below(app)
        await pilot.press("enter")
        await until(pilot, lambda: "esc back" in keys_below(app))
        await pilot.press("escape")
        await until(pilot, lambda: "esc" not in keys_below(app))
        await pilot.press("slash", "q", "enter")
        await until(pilot, lambda: "esc back" in keys_below(app))
        await pilot.press("escape")
        await until(pilot, lambda: "esc" not in keys_below(app))
