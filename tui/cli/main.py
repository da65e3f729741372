"""One call of modeldeck: arguments in, exit code out, every mistake one line on standard error."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from backends.errors import AccessDenied

DONE, FAILED, USAGE, NO_FIT, INTERRUPTED = 0, 1, 2, 3, 130


def run(arguments: list[str]) -> int:
    """Run the app or a command; returns the exit code and never shows a traceback."""
    _open_what_is_closed()
    try:
        code = _guarded(arguments)
        unwritable = _unwritable()
        if unwritable is not None:
            _say("modeldeck", _system_words(unwritable))
            return FAILED
    except BrokenPipeError:
        # The reader has what it wanted, as in `modeldeck list | head`.
        _write_nowhere()
        return DONE
    return code


def _unwritable() -> OSError | None:
    """Why standard output does not take what was printed; None: it does. What is left in the buffer goes nowhere."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _write_nowhere()
        return error
    return None


def _write_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_what_is_closed() -> None:
    """Have the three standard streams even where one was closed, as by `>&-`: it is empty, or goes nowhere.

    Else the next file that is opened would get its number, and what native code prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open while we run


def _guarded(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that is not UTF-8 gets "?" instead of an exception
            stream.reconfigure(errors="replace")
    if not arguments and _can_draw():  # the grammar costs 20 ms that the first frame need not wait for
        return _app()
    from backends.errors import AccessDenied, BackendError, Cancelled, DoesNotFit
    from specs.errors import SpecError
    from tui.cli.arguments import WrongUsage

    name = "modeldeck"
    try:
        parsed = _parse(arguments)
        if parsed.version:
            return _version()
        if parsed.plain:
            _go_plain()
        if parsed.low_bandwidth:
            os.environ["MODELDECK_LOW_BANDWIDTH"] = "true"
        parsed.specs = [*parsed.specs_before, *getattr(parsed, "specs", [])]
        if parsed.command is None:
            return _app(parsed)
        name = f"modeldeck {parsed.command}"
        return _function(parsed.command)(parsed)
    except SystemExit as wanted:  # argparse after --help
        return wanted.code if isinstance(wanted.code, int) else DONE
    except WrongUsage as error:
        command = error.command if error.command != "modeldeck" else name
        _say(command, error)
        print(f"{command} --help shows how", file=sys.stderr)
        return USAGE
    except DoesNotFit as error:
        _say(name, error, "--force loads it all the same")
        return NO_FIT
    except (KeyboardInterrupt, Cancelled):
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except AccessDenied as error:
        _say(name, error, _access(error))
    except (BackendError, SpecError) as error:
        _say(name, error)
    except BrokenPipeError:
        raise
    except LookupError as error:
        if type(error).__module__ != "specs.catalog":  # UnknownFamily and UnknownVariant; others are our mistakes
            return _unexpected(name, error)
        _say(name, error)
    except OSError as error:
        _say(name, _system_words(error))
    except Exception as error:  # noqa: BLE001 - the edge of the program: the traceback goes to the log
        return _unexpected(name, error)
    return FAILED


def _system_words(error: OSError) -> str:
    """An error of the system as a line; one of no room that names no file is of what is printed, as to `/dev/full`."""
    if not error.strerror:
        return str(error)
    place = error.filename or ("standard output" if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} else "")
    return f"{place}: {error.strerror}" if place else error.strerror


def _parse(arguments: list[str]) -> argparse.Namespace:
    from tui.cli.arguments import parser

    return parser().parse_args(arguments)


def _function(command: str) -> Callable[[argparse.Namespace], int]:
    import importlib

    from tui.cli.arguments import COMMANDS

    module, _, function = COMMANDS[command].partition(":")
    found: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(module), function)
    return found


def _can_draw() -> bool:
    return os.environ.get("TERM") != "dumb" and sys.stdin.isatty() and sys.stdout.isatty()


def _app(parsed: argparse.Namespace | None = None) -> int:
    if parsed is not None and not _can_draw():
        from tui.cli.plain import welcome

        return welcome(parsed)
    from tui.start import run_app

    return run_app(specs=tuple(parsed.specs) if parsed is not None else ())


def _go_plain() -> None:
    """Have everything, libraries and child processes too, take this terminal for one that only prints lines."""
    os.environ["TERM"] = "dumb"
    os.environ["NO_COLOR"] = "1"


def _version() -> int:
    from importlib.metadata import version

    print(f"modeldeck {version('modeldeck')}")
    return DONE


def _say(name: str, error: object, cure: str = "") -> None:
    from specs.text import printable

    text = " ".join(printable(str(error)).split())
    print(f"{name}: {text}{f'; {cure}' if cure else ''}", file=sys.stderr)


def _access(error: AccessDenied) -> str:
    """What the error itself does not say of the kind of refusal, the page, and how to give a token."""
    if error.complete:
        return ""
    text = str(error)
    parts = [] if error.kind in text else [{"private": "it may be private"}.get(error.kind, f"it is {error.kind}")]
    if error.url and error.url not in text:
        parts.append(f"its page is {error.url}")
    if not any(word in text for word in ("HF_TOKEN", "MODELSCOPE_API_TOKEN", "auth login")):
        ours = "modelscope" in text.lower()
        parts.append("a token is given by " + ("MODELSCOPE_API_TOKEN" if ours else "HF_TOKEN or `hf auth login`"))
    return "; ".join(parts)


def _unexpected(name: str, error: Exception) -> int:
    """One line and the path of the log, which holds the traceback."""
    import time
    import traceback

    from backends.home import log_file, open_privately, private_folder

    path = log_file()
    try:
        private_folder(path.parent)
        with open_privately(path, "a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {name}\n{''.join(traceback.format_exception(error))}\n")
        where = f"the details are in {path}"
    except OSError as unwritable:
        where = f"its details could not be written to {path}: {unwritable.strerror}"
    _say(name, f"a mistake of modeldeck's own: {type(error).__name__}: {error}; {where}")
    return FAILED
