"""Something that an engine does for one pane, which a stop ends and nothing else."""

from __future__ import annotations

import threading

from backends.engines.engine import Engine

FIRST_WAIT_SECONDS = 0.005
LONGEST_WAIT_SECONDS = 0.25
"""Between two stops of one piece of work."""


class Stoppable:
    """Between the screen, which stops it, and the model's thread, which begins and ends it.

    An engine's stop ends whatever it does at that moment: of a model that panes share, perhaps the other pane's
    answer; and it is lost where the engine has not begun. So it is given between beginning and end alone, and again
    until the end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = False
        self._wanted = False
        self._ended = threading.Event()
        self._stopper: threading.Thread | None = None

    @property
    def begun(self) -> bool:
        """Whether the engine has begun; False: it waits its turn."""
        return self._begun

    @property
    def stopping(self) -> bool:
        """Whether somebody asked it to end."""
        return self._wanted

    def begin(self) -> bool:
        """On the model's thread, before anything else; False: it was stopped before and must not begin."""
        with self._lock:
            self._begun = not self._wanted
            return self._begun

    def end(self) -> None:
        """On the model's thread, before it does anything else: no stop of this reaches what comes next."""
        with self._lock:
            self._ended.set()

    def stop(self, engine: Engine | None) -> bool:
        """End it; False: it had not begun and never will."""
        with self._lock:
            self._wanted = True
            if not self._begun:
                return False
            if engine is None or self._ended.is_set():
                return True
            engine.stop()
            if self._stopper is None:
                self._stopper = threading.Thread(target=self._stop_again, args=(engine,), daemon=True, name="stop")
                self._stopper.start()
        return True

    def _stop_again(self, engine: Engine) -> None:
        """A stop that came before the engine took the work up was lost on it."""
        wait = FIRST_WAIT_SECONDS
        while not self._ended.wait(wait):
            with self._lock:
                if not self._ended.is_set():
                    engine.stop()
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
