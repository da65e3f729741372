"""The command `download`: the weights of one variant, whole or not at all."""

from __future__ import annotations

import argparse
import getpass
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from backends.downloads import Downloaded, Plan, Progress
from backends.errors import AccessDenied
from specs.model import Variant
from tui import units
from tui.cli import choose
from tui.cli.output import Column, clean, document, lines, moves_on_error, note, table
from tui.cli.patience import interruptible

T = TypeVar("T")

HUB_NAMES: Final = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}


def download(arguments: argparse.Namespace) -> int:
    """Fetch what is missing, with progress on standard error."""
    variant = choose.one_variant(choose.family(arguments), arguments)
    may_ask = not arguments.json
    planned = plan_of(variant, arguments.hub, may_ask=may_ask)
    if arguments.dry_run:
        _print_plan(planned, as_json=arguments.json)
        return 0
    done = fetch_with_progress(planned, may_ask=may_ask)
    if arguments.json:
        document(downloaded_document(done))
    else:
        print(clean(done.path))
    return 0


def plan_of(variant: Variant, hub: str | None = None, *, may_ask: bool = False) -> Plan:
    """What a download would fetch; asks the hub, and the user for a token where it refuses and may_ask allows it."""
    from backends.downloads import plan

    source = variant.source(hub)
    asked = source.hub if may_ask and source is not None else None
    return _with_token(lambda: interruptible(lambda: plan(variant, hub), lambda: None), asked)


def fetch_with_progress(planned: Plan, *, may_ask: bool = False) -> Downloaded:
    """Download with a line of progress on standard error; ctrl+c leaves what is there for the next time."""
    return _with_token(lambda: _fetch(planned), planned.hub if may_ask else None)


def _with_token(work: Callable[[], T], hub: str | None) -> T:
    """Work that a hub may refuse: a user at a terminal may type a token, which is neither shown nor written elsewhere.

    Args:
        work: What may raise AccessDenied.
        hub: Whose token may be asked for; None: nobody is to be asked. Hubs of other packages have ways of their own.
    """
    try:
        return work()
    except AccessDenied as error:
        if hub not in HUB_NAMES or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        note(clean(str(error)))
        if error.url and error.url not in str(error):
            note(clean(error.url))
        typed = getpass.getpass(f"a token for {HUB_NAMES[hub]}, which is not shown (enter gives up): ", sys.stderr)
        if not typed.strip():
            raise
    from backends.hubs.token import keep_token

    user = interruptible(lambda: keep_token(typed, hub), lambda: None)
    note(f"kept in the hub's own store, readable by you alone: you are {clean(user)}")
    return work()


def _fetch(planned: Plan) -> Downloaded:
    from backends.downloads import Patience, fetch
    from tui.cli import next_try

    cancel = threading.Event()
    place = f"{HUB_NAMES.get(planned.hub, planned.hub)}, {planned.model_id}"
    if planned.missing_bytes:
        note(f"downloading {units.file_size(planned.missing_bytes)} from {place}")
    show, finish = _progress_line() if moves_on_error() else (_wait_lines(), lambda: None)
    try:
        done = interruptible(lambda: fetch(planned, show, cancel, patience=Patience(pause=next_try.pause)), cancel.set)
    except KeyboardInterrupt:
        finish()
        note("stopped; what is there stays, and the same command goes on from it")
        raise
    finally:
        finish()
    got = f"{units.file_size(done.transferred_bytes)} transferred" if done.transferred_bytes else "all of it was here"
    note(f"{units.file_size(done.total_bytes)} whole, {got}")
    return done


def downloaded_document(done: Downloaded) -> dict[str, Any]:
    """What `download --json` prints."""
    return {
        "path": str(done.path),
        "hub": done.hub,
        "model_id": done.model_id,
        "revision": done.revision,
        "total_bytes": done.total_bytes,
        "transferred_bytes": done.transferred_bytes,
        "files": [{"name": one.name, "bytes": one.file_bytes, "sha256": one.sha256} for one in done.files],
    }


def _print_plan(planned: Plan, *, as_json: bool) -> None:
    """The plan in the document's shape: nothing transferred, and what of it is missing."""
    if as_json:
        document(
            {
                "path": str(planned.path),
                "hub": planned.hub,
                "model_id": planned.model_id,
                "revision": planned.revision,
                "total_bytes": planned.total_bytes,
                "transferred_bytes": 0,
                "missing_bytes": planned.missing_bytes,
                "files": [
                    {
                        "name": one.name,
                        "bytes": one.file_bytes,
                        "sha256": one.sha256,
                        "present_bytes": one.present_bytes,
                    }
                    for one in planned.files
                ],
            }
        )
        return
    lines(
        (
            ("from", f"{HUB_NAMES.get(planned.hub, planned.hub)}, {planned.model_id}"),
            ("revision", planned.revision),
            ("to", str(planned.path)),
            ("in all", units.file_size(planned.total_bytes)),
            ("missing", units.file_size(planned.missing_bytes)),
        )
    )
    print()
    table(
        [Column("FILE", wide=True), Column("BYTES", right=True), Column("HERE", right=True)],
        [(one.name, units.count(one.file_bytes), units.count(one.present_bytes)) for one in planned.files],
    )


def _wait_lines() -> Callable[[Progress], None]:
    """A function that says each wait once: a log has no use for a bar, but its reader for why nothing comes."""
    waited = False

    def show(progress: Progress) -> None:
        nonlocal waited
        waits = progress.next_try_seconds is not None
        if waits and not waited and progress.note:
            note(clean(progress.note))
        waited = waits

    return show


def _progress_line() -> tuple[Callable[[Progress], None], Callable[[], None]]:
    """A function that draws one line again and again, and one that ends it."""
    import shutil

    from tui.cli.next_try import hears_enter
    from tui.glyphs import bar, glyphs

    signs = glyphs()
    drawn = 0.0
    waited = False

    def show(progress: Progress) -> None:
        nonlocal drawn, waited
        now = time.monotonic()
        if now - drawn < 0.1 and progress.done_bytes < progress.total_bytes:
            return
        drawn = now
        share = progress.done_bytes / progress.total_bytes if progress.total_bytes else 1.0
        words = [
            f"{share:4.0%}",
            f"{units.file_size(progress.done_bytes)} of {units.file_size(progress.total_bytes)}",
        ]
        if progress.state == "running":
            words += [units.speed(progress.bytes_per_second)] if progress.bytes_per_second else []
            words += [f"{units.duration(progress.seconds_left)} left"] if progress.seconds_left is not None else []
        else:
            words.append(progress.state)
        text = clean(progress.note) if progress.note else ""
        waits = progress.next_try_seconds is not None
        if waits:
            # The reason once and whole, on a line of its own: beside the countdown there is no room for it.
            text, _, reason = text.partition(": ")
            if not waited:
                finish()
                note(reason)
            text += ", enter tries now" if hears_enter() else ""
        waited = waits
        words += [text] if text else []
        width = shutil.get_terminal_size().columns - 1
        # At 80 columns the countdown needs the bar's room, and a wait moves no bar.
        drawing = "" if waits else f"{signs.bar_start}{bar(share, 20, signs)}{signs.bar_end} "
        text = drawing + "  ".join(words)
        sys.stderr.write("\r" + text[:width].ljust(width))
        sys.stderr.flush()

    def finish() -> None:
        if drawn:
            sys.stderr.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            sys.stderr.flush()

    return show, finish
