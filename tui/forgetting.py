"""Taking back what loads measured, once the user has seen what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backends.fit import Correction, Option
    from tui.state import State


def ask_to_forget(app: State, option: Option, correction: Correction) -> None:
    """Ask whether to take the estimates of an engine and format as they were before anything was loaded here."""
    from tui.screens.ask import Ask

    machine = app.machine
    if machine is None:
        return
    engine, format_name = option.engine, option.variant.spec.format

    def answered(yes: bool | None) -> None:
        if not yes:
            return

        def work() -> None:
            app.services.forget_loads(machine, engine, format_name)
            app.read_measured()

        app.in_background(work, "forgetting measured loads")

    count = len(correction.loads)
    loads = "1 load" if count == 1 else f"{count} loads"
    question = f"{loads} of {format_name} with {engine} took {correction.ratio:.2f} times what was predicted."
    app.push_screen(Ask("Forget what was measured here?", f"{question} Forget it?"), answered)
