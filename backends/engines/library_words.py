"""What the libraries say: kept off the screen, and one line of it for an error."""

from __future__ import annotations

import logging
from typing import Final

QUIET: Final = ("transformers", "bitsandbytes", "accelerate", "torch", "optimum", "gptqmodel", "py.warnings")
"""Loggers that would print on standard error, which is the screen."""
LONGEST_LINE: Final = 400


def quieten(*names: str) -> None:
    """Have everything that the libraries say go to Python's logging alone.

    Args:
        names: Further loggers.
    """
    logging.captureWarnings(True)
    for name in (*QUIET, *names):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
        logger.propagate = True
    # One warning for every matrix multiplication: 11,000 lines in one short answer.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def quieten_logbar() -> None:
    """The same for gptqmodel, which prints a banner, spinners and tables on standard output through a logger apart."""
    try:
        from logbar import LogBar
    except ImportError:
        return
    LogBar.shared().setLevel(logging.CRITICAL)


def inner_line(error: BaseException) -> str:
    """What a library's exception says, in one line: pydantic and torch write headings and boxes round it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [
        line for line in lines if "validation error" not in line and not line.startswith("For further information")
    ]
    if not lines:
        return type(error).__name__
    line = lines[0]
    if len(lines) > 1 and " " not in line:
        line = f"{line}: {lines[1]}"  # the name of a field, and what is wrong with it
    line = line.partition(" [type=")[0].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if isinstance(error, AssertionError | KeyError | AttributeError):
        line = f"{type(error).__name__}: {line}"
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"
