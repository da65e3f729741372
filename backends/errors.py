"""Errors of everything below the screen; each message says what was tried, on what, and what to do."""

from __future__ import annotations

from typing import Literal

Cure = Literal["verify", "smaller", "apart", "install"]
"""What may help after an engine failed: check the weights' files; load with less context or fewer bits; load in a
process of its own; install what is missing."""


class BackendError(Exception):
    """Root of our errors. Its text is one line for the user's eye."""


class NotFound(BackendError):
    """A family, variant, repository, file or conversation that is not there."""


class HubError(BackendError):
    """A hub did not give what it was asked for."""


class HubUnreachable(HubError):
    """No answer from the hub: no network, a wrong end point, or offline mode."""


class AccessDenied(HubError):
    """A gated or private repository, or a token that the hub does not take.

    kind is "gated", "private" or "token"; url is the page where access is asked for, if there is one; complete: the
    message says all there is to say, as that of a hub whose ways of giving a token nobody here knows.
    """

    def __init__(self, message: str, kind: str, url: str | None = None, *, complete: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.complete = complete
        self.url = url


class HubTrouble(HubError):
    """The hub has trouble of its own, which may pass."""


class RateLimited(HubError):
    """The hub asks to wait; retry_after_seconds says how long, None when it does not say."""

    def __init__(self, message: str, retry_after_seconds: float | None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DownloadError(BackendError):
    """A transfer that ended without whole files."""


class WrongSum(DownloadError):
    """A file arrived whole in length and wrong in content."""


class DiskFull(DownloadError):
    """Not enough room; needed_bytes and free_bytes say how much is missing."""

    def __init__(self, message: str, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class Cancelled(BackendError):
    """Stopped because the user asked for it."""


class BadWeights(BackendError):
    """A weights file that is cut off, hostile or of a kind that nothing here reads."""


class CutOff(BadWeights):
    """A weights file that ends before its own header says."""


class EngineError(BackendError):
    """An engine failed; detail holds the library's own inner line, or None."""

    cure: Cure | None = None
    """What to offer; None: nothing is known to help."""

    def __init__(self, message: str, detail: str | None = None) -> None:
        super().__init__(f"{message}: {detail}" if detail else message)
        self.detail = detail


class DamagedWeights(EngineError):
    """The library could not read the weights as what they should be: less context would not help."""

    cure: Cure | None = "verify"


class OutOfMemory(EngineError):
    """The memory for the weights, the context or an answer was not there."""

    cure: Cure | None = "smaller"


class EngineCrashed(EngineError):
    """The process of an isolated engine ended by itself; detail holds the last telling line that it wrote."""

    cure: Cure | None = "apart"


class EngineMissing(EngineError):
    """The engine's library is not installed; install_line says how to get it."""

    cure: Cure | None = "install"

    def __init__(self, message: str, install_line: str) -> None:
        super().__init__(f"{message}; install it with: {install_line}")
        self.install_line = install_line


class PromptTooLong(EngineError):
    """More prompt tokens than the context holds; refused before anything ran."""

    def __init__(self, prompt_tokens: int, context: int) -> None:
        over = prompt_tokens - context + 1
        super().__init__(
            f"the prompt has {prompt_tokens:,} tokens and the context holds {context:,}: "
            f"{over:,} too many; shorten it or load with a longer context"
        )
        self.prompt_tokens = prompt_tokens
        self.context = context


class DoesNotFit(BackendError):
    """Refused because the machine is too small; the text says by how much, and the cheapest cure."""
