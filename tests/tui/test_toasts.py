"""What is said in a corner: never more than there is room for, and gone when it is over."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import fake_services as fake
import pytest
from textual.geometry import Size
from textual.notifications import Notification, Notifications
from textual.widgets._toast import Toast, ToastHolder
from ttybench import TtySession
from waiting import until

from tui.app import Deck
from tui.toasts import MOST, make_room

ROOT = Path(__file__).resolve().parents[2]
LONG = "a download that failed for a reason that takes three lines to tell, of which the last one says what to do"


@pytest.mark.parametrize(("size", "kept"), [(Size(120, 40), MOST - 1), (Size(80, 24), MOST - 1), (Size(60, 16), 0)])
def test_the_oldest_make_room_for_the_newest(size: Size, kept: int) -> None:
    shown = Notifications()
    for n in range(6):
        shown.add(Notification(f"{n} {LONG}"))
    make_room(shown, Notification(LONG), size)
    assert [one.message[0] for one in shown] == [str(n) for n in range(6 - kept, 6)]


async def test_what_is_over_leaves_nothing_behind_on_any_screen() -> None:
    deck = Deck(fake.services())
    async with deck.run_test(size=(80, 24), notifications=True) as pilot:
        for n in range(6):
            deck.notify(f"{n} before", timeout=0.05)
            await pilot.press(("f6", "f5")[n % 2])
            await pilot.pause(0.1)
        deck.notify("the last")
        await pilot.pause(0.1)
        screens = [screen for stack in deck._screen_stacks.values() for screen in stack]
        left = [toast.render().plain for screen in screens for toast in screen.query(Toast)]
        assert left == ["the last"]
        assert sum(len(screen.query(ToastHolder)) for screen in screens) == 1


def test_a_low_screen_is_whole_again_after_many_toasts(tmp_path: Path) -> None:
    script = f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "standins")!r}]
        import fake_services as fake
        from tui.app import Deck

        deck = Deck(fake.services())
        deck.action_help = lambda: [deck.notify({LONG!r}, timeout=0.5 + n / 10) for n in range(8)]
        deck.run()
    """
    path = tmp_path / "toasts.py"
    path.write_text(textwrap.dedent(script))
    with TtySession([sys.executable, str(path)], 80, 24, env={"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}) as session:
        assert session.wait_for("llama-3.1", 30) is not None, session.dump_text()
        session.quiesce(0.5, 10)
        before = session.dump_text()
        session.send(b"?")
        assert session.wait_for("a download that failed", 10) is not None
        session.pump(3.0)
        session.quiesce(0.5, 10)
        assert session.dump_text() == before


async def test_an_answer_and_the_prompt_stay_free_of_what_is_said_in_passing() -> None:
    deck = Deck(fake.services())
    async with deck.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("f7")
        for n in range(MOST):
            deck.say(f"{n} {LONG}")
        await until(pilot, lambda: len([one for one in deck.screen.query(Toast) if one.region.height]) == MOST)
        toasts = [toast.region for toast in deck.screen.query(Toast)]
        assert all(toast.y > 1 and toast.bottom < 24 // 2 for toast in toasts)


async def test_what_is_said_in_passing_leaves_the_keys_free_and_half_of_the_screen() -> None:
    deck = Deck(fake.services())
    async with deck.run_test(size=(80, 24), notifications=True) as pilot:
        for n in range(MOST):
            deck.say(f"{n} {LONG}")
        await until(pilot, lambda: len([one for one in deck.screen.query(Toast) if one.region.height]) == MOST)
        toasts = [toast.region for toast in deck.screen.query(Toast)]
        assert all(toast.y > 24 // 2 and toast.bottom <= 23 for toast in toasts)


async def test_what_ends_a_wait_stands_instead_of_it() -> None:
    deck = Deck(fake.services())
    async with deck.run_test(size=(80, 24), notifications=True) as pilot:
        deck.say("asking the hub for [one] of it")
        deck.say("something else")
        await until(pilot, lambda: len(deck.screen.query(Toast)) == 2)
        deck.say("253 MB to fetch", instead_of="asking the hub for [one] of it")

        def said() -> list[str]:
            return [toast.render().plain for toast in deck.screen.query(Toast)]

        await until(pilot, lambda: said() == ["something else", "253 MB to fetch"])
