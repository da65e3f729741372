"""Messages that cross screens: what happened or is wanted, for the app to answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:  # the values of downloads bring HTTP along: 30 ms before the first frame
    from backends.downloads import Job
    from backends.fit import Option
    from backends.loaded import LoadRequest
    from specs.model import ModelFamily, Variant


class ChatWanted(Message):
    """The user wants to talk to a variant."""

    def __init__(self, option: Option, *, beside: bool = False, path: Path | None = None) -> None:
        super().__init__()
        self.option = option
        """The variant, its engine and the context to load it with."""
        self.path = path
        """Its weights on this disk; None: wherever the app finds them, or nowhere yet."""
        self.beside = beside
        """Whether in a new pane beside those that are open."""


class DownloadWanted(Message):
    """The user wants the weights of a variant."""

    def __init__(self, variant: Variant, hub: str | None = None) -> None:
        super().__init__()
        self.variant = variant
        self.hub = hub
        """The hub to ask; None: the first that lists it."""


class JobChanged(Message):
    """A download moved on. Posted from the queue's threads."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


class LibraryChanged(Message):
    """Weights arrived on this disk, or left it."""


class LoadAndTalk(Message):
    """Weights are on this disk and ready to load; the app answers ChatWanted with it, to the chat screen."""

    def __init__(self, option: Option, path: Path, *, beside: bool = False) -> None:
        super().__init__()
        self.option = option
        self.path = path
        """A GGUF file (the first part), or a folder."""
        self.beside = beside


class LoadWanted(Message):
    """A model that needs no weights on this disk is to be talked to, such as a server's; to the chat screen."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__()
        self.request = request


class FamilyShown(Message):
    """A family of a repository that the catalog may not have is to be shown on the browse screen."""

    def __init__(self, family: ModelFamily) -> None:
        super().__init__()
        self.family = family


class FamilyKept(Message):
    """The user wants a family written into their own catalog."""

    def __init__(self, family: ModelFamily) -> None:
        super().__init__()
        self.family = family


class FamilyStored(Message):
    """A family stands in the user's own catalog."""

    def __init__(self, family: ModelFamily) -> None:
        super().__init__()
        self.family = family


class FamilyWanted(Message):
    """A family of the catalog is to be shown on the browse screen."""

    def __init__(self, name: str, variant: Variant | None = None) -> None:
        super().__init__()
        self.name = name
        self.variant = variant
        """Where the cursor is to stand; None: where it suits."""
