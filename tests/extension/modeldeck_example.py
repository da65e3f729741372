"""An engine that echoes, a hub that is a plain web folder, and spec files in INI: all that modeldeck lets others add.

Nothing heavy stands up here: modeldeck imports this module when one of the three is used, and a library belongs into
the method that needs it.
"""

from __future__ import annotations

import configparser
import json
import os
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence

from backends.engines.engine import Chunk, Engine, EngineStatus, LoadOptions, Progress, Sampling, Stats, Turn, Weights
from backends.errors import EngineError, NotFound
from backends.hubs.hub import Listing, RepoFile, RepoSummary
from specs.model import HubSource, ModelFamily, ModelSpec, SpecError
from specs.readers.values import Reading


class EchoAdapter:
    """The engine `Echo`: made without arguments; status() imports no library and load() does."""

    name = "Echo"

    def status(self) -> EngineStatus:
        """Whether it can run here."""
        return EngineStatus("ready", version="1.0", accelerators=())

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> Engine:
        """Read the weights' first bytes, as a real engine would read all of them."""
        try:
            with weights.path.open("rb") as file:
                head = file.read(4)
        except OSError as error:
            raise EngineError(f"{weights.path} cannot be read: {error.strerror}") from error
        if on_progress is not None:
            on_progress(1.0, "there is nothing to load")
        return EchoEngine(options.context, head)


class EchoEngine:
    """A model that says what it was told, one word after the other."""

    name = "Echo"
    where = "CPU"
    template_note = None

    def __init__(self, context: int, head: bytes) -> None:
        self.context = context
        self._head = head
        self._stopped = threading.Event()

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        """Answer with the last turn."""
        return self.complete(turns[-1].text, sampling)

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        """One chunk a word, and the stats behind the last one, after a stop too."""
        self._stopped.clear()
        started = time.monotonic()
        words = prompt.split()
        most = len(words) if sampling.max_tokens is None else min(len(words), sampling.max_tokens)
        told = 0
        for word in words[:most]:
            if self._stopped.is_set():
                break
            yield Chunk(f"{' ' if told else ''}{word}", tokens=1)
            told += 1
        reason = "cancelled" if self._stopped.is_set() else "length" if told < len(words) else "end"
        yield Chunk(stats=Stats(len(words), 0, 0.0, told, time.monotonic() - started, reason))

    def count_tokens(self, text: str) -> int:
        """A word is a token."""
        return len(text.split())

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        """Tokens of all turns."""
        return sum(self.count_tokens(turn.text) for turn in turns)

    def stop(self) -> None:
        """End the running answer."""
        self._stopped.set()

    def measured_bytes(self) -> int | None:
        """Nothing that could be measured."""
        return None

    def close(self) -> None:
        """Nothing to give back."""


class ShelfHub:
    """The hub `shelf`: a web folder with an index.json in it and one in each repository's folder.

    modeldeck transfers the files itself: it resumes them, compares their sums and keeps them in its own folders. The
    bytes are asked for at file_url(), and token() is sent to that host and to no other.
    """

    title = "The Shelf"

    def listing(self, model_id: str, revision: str | None = None, *, timeout_seconds: float = 10.0) -> Listing:
        """Files, sizes and sums."""
        found = self._json(f"{model_id}/index.json", timeout_seconds)
        files = tuple(RepoFile(one["name"], one["bytes"], one["sha256"]) for one in found["files"])
        return Listing("shelf", model_id, found["revision"], files)

    def file_url(self, model_id: str, revision: str, name: str) -> str:
        """Where the bytes of a file are."""
        return f"{self._address()}/{model_id}/{urllib.parse.quote(name)}"

    def token(self) -> str | None:
        """Sent as a bearer token with every request for a file."""
        return os.environ.get("SHELF_TOKEN")

    def search(self, query: str, *, limit: int = 50) -> tuple[RepoSummary, ...]:
        """Repositories whose name holds the query."""
        names = [name for name in self._json("index.json", 10.0) if query.lower() in name.lower()]
        return tuple(RepoSummary("shelf", name, None, None) for name in names[:limit])

    def _json(self, path: str, timeout_seconds: float):
        request = urllib.request.Request(f"{self._address()}/{path}")
        if token := self.token():
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise NotFound(f"the shelf has no {path} ({error.code})") from error

    def _address(self) -> str:
        return os.environ.get("SHELF_ENDPOINT", "http://127.0.0.1:9").rstrip("/")


def read_ini(text: str, file: str, source: str) -> Reading:
    """The spec files that end in .ini: a section a family.

    Args:
        text: The file's content.
        file: What to call it in an error.
        source: What the families say of where they come from.

    Raises:
        SpecError: with the line where one is known.
    """
    parser = configparser.ConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise SpecError(file, getattr(error, "lineno", None), error.message.splitlines()[0]) from error
    families = []
    for name in parser.sections():
        section = parser[name]
        try:
            hub = HubSource("shelf", section["id"], section["file"])
            spec = ModelSpec("ggufv2", section.getfloat("size_in_billions"), (section["quantization"],), (hub,))
        except (KeyError, ValueError) as error:
            raise SpecError(file, None, f"[{name}]: {error}") from error
        families.append(ModelFamily(name, section.getint("context_length"), ("en",), ("chat",), (spec,), source=source))
    return Reading(tuple(families))
