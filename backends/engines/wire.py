"""Our errors as plain values, to be raised again on the other side of a process boundary."""

from __future__ import annotations

from typing import Any

from backends import errors
from backends.errors import BackendError, EngineError


def error_to(error: BaseException) -> dict[str, Any]:
    """What another process needs to raise the same error; a foreign one becomes an EngineError there."""
    if not isinstance(error, BackendError):
        text = " ".join(str(error).split())
        return {"kind": "EngineError", "text": f"the engine failed: {type(error).__name__}: {text}", "fields": {}}
    return {"kind": type(error).__name__, "text": str(error), "fields": dict(vars(error))}


def error_from(told: dict[str, Any]) -> BackendError:
    """The error again, with its fields; its text is not composed a second time."""
    kind = getattr(errors, told["kind"], EngineError)
    if not (isinstance(kind, type) and issubclass(kind, BackendError)):
        kind = EngineError
    error: BackendError = kind.__new__(kind)
    Exception.__init__(error, told["text"])
    if isinstance(error, EngineError):
        error.detail = None
    for name, value in told["fields"].items():
        setattr(error, name, value)
    return error
