"""A stop ends what it was meant for, whenever it comes, and nothing else."""

from __future__ import annotations

import threading

from backends.engines.scripted import ScriptedEngine
from backends.stoppable import Stoppable


class Counting(ScriptedEngine):
    """Counts the stops that reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.stops = threading.Semaphore(0)
        self.count = 0

    def stop(self) -> None:
        self.count += 1
        self.stops.release()


def test_what_waits_its_turn_never_begins_and_the_engine_is_left_alone() -> None:
    engine, work = Counting(), Stoppable()
    assert work.stop(engine) is False
    assert work.begin() is False
    assert (engine.count, work.begun, work.stopping) == (0, False, True)


def test_a_stop_is_given_again_until_the_end_because_the_engine_may_not_have_begun() -> None:
    engine, work = Counting(), Stoppable()
    assert work.begin()
    assert work.stop(engine) is True
    for _ in range(4):
        assert engine.stops.acquire(timeout=20)
    work.end()
    assert work._stopper is not None
    work._stopper.join(20)
    assert not work._stopper.is_alive()


def test_a_stop_that_comes_after_the_end_does_not_hit_what_the_engine_does_next() -> None:
    engine, work = Counting(), Stoppable()
    assert work.begin()
    work.end()
    assert work.stop(engine) is True
    assert engine.count == 0


def test_many_stops_are_given_by_one_thread() -> None:
    engine, work = Counting(), Stoppable()
    assert work.begin()
    work.stop(engine)
    stopper = work._stopper
    work.stop(engine)
    assert work._stopper is stopper
    work.end()
