"""The way into the app: the terminal is claimed before Textual is imported, and given back after."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from backends.fit import Option
    from backends.loaded import LoadRequest
    from tui.app import Deck

LOW_BANDWIDTH_FPS = "8"


def run_app(
    *,
    specs: tuple[Path, ...] = (),
    launch: Option | None = None,
    request: LoadRequest | None = None,
    conversation: str | None = None,
) -> int:
    """Run the app on this terminal.

    Args:
        specs: Spec files and folders to add for this call.
        launch: An option to talk to at once.
        request: A server's model to talk to at once.
        conversation: ID of the conversation to open with it; None: a new one.

    Returns:
        The exit code: 0 after quitting, 1 after an error that the app could not show, 130 when interrupted.
    """
    from backends.home import log_file
    from tui import first_frame
    from tui.terminal import claim_terminal

    # Most objects made from here to the first frame live as long as the app: collecting among them is for nothing.
    gc.disable()
    log_path = log_file()
    release = claim_terminal(log_path)
    before = signal.signal(signal.SIGTERM, _end)  # until the app listens itself
    take_away = first_frame.draw()
    try:
        try:
            deck, mouse = _deck(specs, launch, request, conversation, release)
        except BaseException:
            take_away()
            raise
        deck.run(mouse=mouse)
        code = deck.return_code or 0
    except KeyboardInterrupt:
        code = 130
    finally:
        release()
        gc.enable()
        signal.signal(signal.SIGTERM, before)
    if code == 1:
        sys.stderr.write(f"modeldeck: the app ended with an error; the details are in {log_path}\n")
    if threading.active_count() > 1:
        _leave(code)
    return code


def _first_run() -> bool:
    """Whether the app was never opened with this home; from now on it was."""
    from backends.home import private_folder, tour_file

    path = tour_file()
    try:
        private_folder(path.parent)
        path.touch(mode=0o600, exist_ok=False)
    except OSError:  # there already, or nothing can be remembered: rather no tour than one every time
        return False
    return True


def _leave(code: int) -> NoReturn:
    """End the process at once: engines and hubs that are still busy would hold the user's shell for seconds.

    Nothing is lost by it: conversations and the queue are written when they change, weights when they are whole.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _end(number: int, frame: object) -> NoReturn:  # noqa: ARG001
    """Leave by way of what puts the terminal in order."""
    raise SystemExit(128 + number)


def _deck(
    specs: tuple[Path, ...],
    launch: Option | None,
    request: LoadRequest | None,
    conversation: str | None,
    release: Callable[[], None],
) -> tuple[Deck, bool]:
    from dataclasses import replace
    from functools import partial

    from tui.settings import load_settings

    settings = load_settings()
    if settings.low_bandwidth:
        # Textual reads it when it is imported: at most so many repaints a second instead of sixty.
        os.environ.setdefault("TEXTUAL_FPS", LOW_BANDWIDTH_FPS)

    from tui import glyphs
    from tui.app import Deck
    from tui.services import (
        Services,
        adapter_with,
        knowledge_with,
        load_catalog_with,
        local_index_with,
        open_queue_with,
        options_on_cluster,
        quick_verdicts_on_cluster,
    )

    glyphs.choose(settings.ascii)
    services = replace(
        Services(),
        load_catalog=partial(load_catalog_with, specs),
        open_queue=partial(open_queue_with, at_once=settings.parallel_downloads),
        adapter=partial(adapter_with, isolated=settings.engine_isolation == "process"),
        local_index=partial(local_index_with, settings.library_folders),
        knowledge=partial(knowledge_with, folders=settings.library_folders),
    )
    if settings.ray_address:
        services = replace(
            services,
            options=partial(options_on_cluster, settings.ray_address),
            quick_verdicts=partial(quick_verdicts_on_cluster, settings.ray_address),
        )
    deck = Deck(services, theme=settings.theme, launch=launch, request=request, conversation=conversation)
    deck.adopt_settings(settings)
    deck.tour_wanted = launch is None and request is None and conversation is None and _first_run()

    def leave(code: int) -> NoReturn:
        release()
        _leave(code)

    deck.leave = leave
    return deck, settings.mouse
