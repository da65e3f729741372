"""What a person reads of a download: its speed, its silences, its waits."""

from __future__ import annotations

import math
import threading

import pytest

from backends.meter import Meter
from backends.plans import Progress


class Hand:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def seen() -> list[Progress]:
    return []


@pytest.fixture
def meter(hand: Hand, seen: list[Progress]) -> Meter:
    return Meter(1_000_000_000, 0, seen.append, hand)


def move(meter: Meter, hand: Hand, bytes_per_second: int, seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        hand.now += 0.1
        meter.moved(bytes_per_second // 10)


def test_a_steady_speed_is_told_right_after_the_first_second(meter: Meter, hand: Hand) -> None:
    hand.now += 2.0  # asking and connecting is no part of the speed
    move(meter, hand, 20_000_000, 1.2)
    progress = meter.progress()
    assert progress.bytes_per_second == pytest.approx(20_000_000, rel=0.02)
    assert progress.seconds_left == pytest.approx((1_000_000_000 - 24_000_000) / 20_000_000, rel=0.02)


def test_a_change_of_speed_is_followed_over_some_seconds(meter: Meter, hand: Hand) -> None:
    move(meter, hand, 20_000_000, 30)
    move(meter, hand, 5_000_000, 5)
    expected = 5_000_000 + 15_000_000 * math.exp(-1)
    assert meter.progress().bytes_per_second == pytest.approx(expected, rel=0.02)


def test_a_silence_is_told_instead_of_the_speed_before_it(meter: Meter, hand: Hand) -> None:
    move(meter, hand, 20_000_000, 5)
    hand.now += 4.0
    meter.report()
    progress = meter.progress()
    assert (progress.bytes_per_second, progress.seconds_left, progress.note) == (None, None, "no byte for 4 s")
    move(meter, hand, 20_000_000, 0.1)
    assert meter.progress().note is None


def test_a_wait_is_counted_down_and_the_speed_begins_anew(meter: Meter, hand: Hand) -> None:
    move(meter, hand, 20_000_000, 5)
    meter.wait("connection reset", 8.0)
    hand.now += 5.5
    progress = meter.progress()
    assert (progress.bytes_per_second, progress.note) == (None, "next try in 3 s: connection reset")
    meter.say(None)
    move(meter, hand, 4_000_000, 2)
    assert meter.progress().bytes_per_second == pytest.approx(4_000_000, rel=0.02)


def test_reports_come_at_most_ten_times_a_second_and_bytes_never_go_backwards(
    meter: Meter, hand: Hand, seen: list[Progress]
) -> None:
    for _ in range(1000):
        hand.now += 0.001
        meter.moved(1000)
    assert len(seen) <= 11
    counts = [progress.done_bytes for progress in seen]
    assert counts == sorted(counts)


def test_while_nothing_else_reports_the_meter_does_so_itself() -> None:
    reported = threading.Event()
    meter = Meter(1_000, 0, lambda progress: reported.set())
    with meter.beating(0.01):
        assert reported.wait(20)


def test_a_long_wait_is_counted_in_minutes_and_what_comes_after_it_is_said_to_be_tried(
    meter: Meter, hand: Hand
) -> None:
    meter.wait("no more requests just now", 125.0)
    assert (meter.progress().next_try_seconds, meter.progress().note) == (
        125.0,
        "next try in 2 min 05 s: no more requests just now",
    )
    hand.now += 125.0
    assert (meter.progress().next_try_seconds, meter.progress().note) == (
        None,
        "trying again: no more requests just now",
    )
