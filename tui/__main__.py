"""The door: arguments to the app or to a command."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run modeldeck with these arguments; returns the exit code."""
    from tui.cli.main import run

    return run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
