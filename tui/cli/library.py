"""The command `library`: what lies on this disk."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from backends.errors import BackendError


def library(arguments: argparse.Namespace) -> int:
    """List, verify, remove or adopt weights."""
    if find_spec("backends.library") is None:
        raise BackendError(
            "the library is not part of this version yet; modeldeck list --downloaded shows what is here"
        )
    return 0
