"""The chat in plain lines, for screen readers, pipes and scripts: no full screen, no colours, no cursor movement."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backends.conversation import Conversation, Node, conversation, node
from backends.engines.engine import Chunk, Engine, Sampling, Stats
from backends.errors import BackendError
from backends.home import open_privately
from tui.cli.native import Screen, engine_output_in_log
from tui.cli.output import clean, note
from tui.cli.patience import interruptible, leave_at_once, work_is_left

if TYPE_CHECKING:
    from backends.history import History
    from backends.loaded import LoadRequest

COMMANDS: Final = {
    "/again": "another answer to the last prompt",
    "/system TEXT": "what the model is told before the conversation; without a text says what that is",
    "/new": "begin a new conversation",
    "/save FILE": "write the conversation as Markdown",
    "/help": "these lines",
    "/quit": "leave, as ctrl+d does",
}
HINT: Final = "ctrl+c stops an answer; a line that begins with // is sent with one slash"
SENTENCE_ENDS: Final = (". ", "! ", "? ", ": ", "; ", "\n")
"""Where a screen reader may begin to read: words that come singly are read singly."""


def talk(arguments: argparse.Namespace, request: LoadRequest, going_on: Conversation | None) -> int:
    """Load the model, then answer line by line until the input ends.

    Returns:
        0, or 1 where standard input is no terminal and a turn failed: nobody was there to see it.
    """
    from backends.history import History
    from tui.cli.loading import load

    note(f"loading {request.weights.name}")
    engines: list[Engine] = []

    with engine_output_in_log() as screen:

        def loading() -> None:
            engines.append(load(request, screen)[0])

        _interruptible(loading, lambda: None)
    engine = engines[0]
    history = History()
    try:
        return _Chat(arguments, request, engine, history, going_on).run()
    finally:
        if not history.close(5.0):
            note(f"some of the conversation was not written to the history at {history.path}")
        with engine_output_in_log():
            engine.close()


def welcome(arguments: argparse.Namespace) -> int:
    """What lies on this disk, and what to type to talk to it; stands in for the app where it cannot draw."""
    from backends.downloads import local_index
    from tui.cli import choose

    catalog = choose.catalog(arguments)
    index = local_index(choose.folders())
    here = [variant for variant in catalog.variants() if index.path(variant) is not None]
    print("modeldeck, in plain lines.")
    if here:
        print("\nOn this disk; a line starts a chat:")
        for one in here:
            spec = one.spec
            words = [
                f"--model-name {one.family.name}",
                f"--size-in-billions {spec.size_in_billions:g}",
                f"--model-format {spec.format}",
                f"--quantization {one.quantization}",
            ]
            print(clean(f"  modeldeck launch --plain {' '.join(words)}"))
    else:
        print("\nNo weights of the catalog are on this disk yet.")
    print("\nWhat else to type:")
    for command, what in (
        ("modeldeck list --fits", "families that run on this machine"),
        ("modeldeck show NAME", "what a family comes as"),
        ("modeldeck fit NAME", "what of it runs here, how fast"),
        ("modeldeck download NAME ...", "put weights on this disk"),
        ("modeldeck --help", "every command"),
    ):
        print(f"  {command:<28} {what}")
    return 0


def _interruptible(work: Callable[[], None], stop: Callable[[], object]) -> None:
    """Run it; where ctrl+c leaves native code behind that does not end, the process ends at once."""
    try:
        interruptible(work, stop)
    except KeyboardInterrupt:
        if work_is_left():
            leave_at_once(130)
        raise


class _Chat:
    """One model, one conversation at a time, a line a turn."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        request: LoadRequest,
        engine: Engine,
        history: History,
        going_on: Conversation | None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._history = history
        self._chats = request.weights.chats
        temperature = Sampling().temperature if arguments.temperature is None else arguments.temperature
        self._sampling = Sampling(max_tokens=arguments.max_tokens, temperature=temperature, seed=arguments.seed)
        self._conversation = going_on or self._fresh(arguments.system or "")
        if going_on is not None and arguments.system:
            self._conversation = replace(going_on, system=arguments.system)
        self._person = sys.stdin.isatty()
        """Whether somebody types; else the lines come out of a pipe."""
        self._failed = False

    def _fresh(self, system: str) -> Conversation:
        return conversation("chat" if self._chats else "completion", self._request.key, system)

    def run(self) -> int:
        """Turns until the input ends."""
        if self._person:
            note(f"{self._request.weights.name} is loaded. Type a line; /help lists the commands, ctrl+d leaves.")
            if not self._chats:
                note("It knows no turns: it writes on from what you type.")
            if self._engine.template_note and self._chats:
                note(self._engine.template_note)
            with contextlib.suppress(ImportError):  # not every Python is built with it
                import readline  # noqa: F401 - editing and the lines before, by being imported
        for line in self._lines():
            if line.startswith("/") and not line.startswith("//"):
                if not self._obey(line):
                    break
                continue
            text = line[1:] if line.startswith("//") else line
            if text.strip():
                self._turn(text)
        return 1 if self._failed and not self._person else 0

    def _lines(self) -> Iterator[str]:
        while True:
            try:
                yield self._line()
            except EOFError:
                if self._person:
                    note("")
                return
            except KeyboardInterrupt:
                if not self._person:
                    raise
                note("\nctrl+d or /quit leaves")

    def _line(self) -> str:
        if self._person and sys.stdout.isatty():
            return input("> ")  # through readline
        if self._person:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    def _obey(self, line: str) -> bool:
        """Follow a command; False: it was the last one."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word in {"/quit", "/exit"}:
            return False
        if word == "/help":
            for command, what in COMMANDS.items():
                note(f"{command:<14} {what}")
            note(HINT)
        elif word == "/again":
            self._again()
        elif word == "/system":
            self._tell_system(rest)
        elif word == "/new":
            self._conversation = self._fresh(self._conversation.system)
            note("a new conversation")
        elif word == "/save":
            self._save(rest)
        else:
            note(f"there is no command {word}; /help lists them, // sends a slash")
            self._failed = True
        return True

    def _tell_system(self, text: str) -> None:
        if not self._chats:
            note("this model knows no turns, so a system prompt has no place in it")
        elif text:
            self._conversation = replace(self._conversation, system=text)
            note("the system prompt is set")
        else:
            note(self._conversation.system or "there is no system prompt")

    def _save(self, name: str) -> None:
        from backends.exports import to_markdown

        if not name:
            note("say where: /save FILE")
            return
        path = Path(name).expanduser()
        try:
            with open_privately(path, "x") as file:
                file.write(to_markdown(self._conversation))
        except OSError as error:
            note(f"{path}: {error.strerror}")
            self._failed = True
        else:
            note(f"written to {path}")

    def _turn(self, text: str) -> None:
        """Send a line, stream the answer."""
        asked = node("user", text, self._conversation.leaf)
        self._conversation = self._conversation.append(asked)
        self._answer(asked)

    def _again(self) -> None:
        prompts = [one for one in self._conversation.path() if one.role == "user"]
        if not prompts:
            note("nothing was asked yet")
            return
        self._conversation = self._conversation.standing_at(prompts[-1].id)
        self._answer(prompts[-1])

    def _answer(self, asked: Node) -> None:
        said = node("assistant", "", asked.id, model=self._request.key)
        pieces: list[str] = []
        thoughts: list[str] = []
        last: list[Stats] = []
        stopped: list[bool] = []
        self._history.save(self._conversation)
        self._history.save_node(self._conversation.id, asked)

        def stop() -> None:
            stopped.append(True)
            self._engine.stop()

        error: BackendError | None = None
        chunks = self._chunks()
        with engine_output_in_log() as screen:
            voice = _Voice(screen, whole_sentences=self._person)

            def work() -> None:
                for chunk in chunks:
                    if chunk.reasoning_so_far:
                        thoughts.extend(pieces)
                        pieces.clear()
                    (thoughts if chunk.reasoning else pieces).append(chunk.text)
                    voice.say(chunk.text, thinking=chunk.reasoning)
                    if chunk.stats is not None:
                        last.append(chunk.stats)
                    if stopped:
                        break

            try:
                _interruptible(work, stop)
            except KeyboardInterrupt:
                if not self._person:
                    raise
            except BackendError as raised:
                error = raised
            finally:
                voice.end()
                stats = last[-1] if last else None
                self._keep(
                    replace(
                        said,
                        text="".join(pieces),
                        reasoning="".join(thoughts),
                        decoded_tokens=stats.decoded_tokens if stats else None,
                        tokens_per_second=stats.tokens_per_second if stats else None,
                        first_seconds=stats.prefill_seconds if stats else None,
                        stop_reason="error" if error else stats.stop_reason if stats else "cancelled",
                        error=str(error or ""),
                    )
                )
        if stopped:
            note("stopped")
        if error is not None:
            note(f"modeldeck: {error}")
            self._failed = True

    def _keep(self, said: Node) -> None:
        before = self._conversation
        self._conversation = before.append(said)
        self._history.save_node(before.id, said)
        if not said.text:  # an empty answer is no turn that a model could go on from; it stays as a branch
            self._conversation = self._conversation.standing_at(before.node(str(said.parent)).parent)
        self._history.save(self._conversation)

    def _chunks(self) -> Iterator[Chunk]:
        turns = self._conversation.turns()
        if self._chats:
            return self._engine.stream(turns, self._sampling)
        return self._engine.complete("".join(turn.text for turn in turns if turn.role != "system"), self._sampling)


class _Voice:
    """An answer on its way out: to a person by sentences, to a pipe as it comes."""

    def __init__(self, screen: Screen, *, whole_sentences: bool) -> None:
        self._screen = screen
        self._whole_sentences = whole_sentences
        self._kept = ""
        self._said = ""
        self._thinking = False

    def say(self, text: str, *, thinking: bool) -> None:
        """More of the answer, or of the thinking before it, which goes to standard error."""
        if not text or (thinking and not self._whole_sentences):
            return
        if thinking != self._thinking:
            self._flush(self._kept)
            self._kept = ""
            self._screen.note("thinking:" if thinking else "\nanswer:")
            self._thinking = thinking
        self._kept += clean(text, newlines=True)
        if not self._whole_sentences:
            self._flush(self._kept)
            self._kept = ""
            return
        cut = max(self._kept.rfind(end) + len(end) if end in self._kept else 0 for end in SENTENCE_ENDS)
        if cut:
            self._flush(self._kept[:cut])
            self._kept = self._kept[cut:]

    def end(self) -> None:
        """What is left, and the line's end."""
        self._flush(self._kept)
        self._kept = ""
        if not self._said.endswith("\n"):
            self._screen.out.write("\n")
        self._screen.out.flush()

    def _flush(self, text: str) -> None:
        if text:
            stream = self._screen.err if self._thinking else self._screen.out
            stream.write(text)
            stream.flush()
            if not self._thinking:
                self._said = text
