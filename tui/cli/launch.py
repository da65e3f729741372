"""The command `launch`: a chat pane, or one answer streamed to standard output."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from backends.engines.engine import Chunk, Engine, Sampling, Stats, Turn
from backends.engines.remote import REMOTE
from backends.errors import EngineError, NotFound
from backends.loaded import LoadRequest
from tui import units
from tui.cli import choose
from tui.cli.arguments import WrongUsage
from tui.cli.conversing import found, keep_turns
from tui.cli.loading import keep_measured, load, option_for, refuse_others_code, request_of, weights_here
from tui.cli.native import Screen, engine_output_in_log
from tui.cli.output import clean, document
from tui.cli.patience import interruptible, leave_at_once, work_is_left

if TYPE_CHECKING:
    from backends.conversation import Conversation
    from backends.machine.model import Machine

ENOUGH_TOKENS: Final = 32
"""Tokens that an answer must have before its speed is kept: the first ones say little."""


def launch(arguments: argparse.Namespace) -> int:
    """Open the app on the model, or answer one prompt."""
    if arguments.name and arguments.word:
        raise WrongUsage(f"two models are named, {arguments.word} and {arguments.name}; give one", "modeldeck launch")
    arguments.name = arguments.name or arguments.word
    if not arguments.name:
        raise WrongUsage("which model? name it, or give --model-name NAME; list names them all", "modeldeck launch")
    choose.ray_is_vllm_s(arguments, "modeldeck launch")
    talks = _talks_plainly(arguments)
    prompt = None if talks else _prompt(arguments)
    conversation = found(arguments.conversation) if arguments.conversation else None
    if arguments.url or arguments.engine == REMOTE:
        return _from_server(arguments, prompt, conversation, talks=talks)
    option, machine = option_for(arguments, force=arguments.force)
    refuse_others_code(option, arguments.trusted)
    if talks:
        from tui.cli.plain import talk

        path = weights_here(option.variant, hub=arguments.hub, yes=arguments.yes)
        return talk(arguments, request_of(option, path, arguments.trusted), conversation)
    if prompt is None:
        from tui.start import run_app

        opened = conversation.id if conversation else None
        if arguments.trusted is None:
            return run_app(specs=tuple(arguments.specs), launch=option, conversation=opened)
        # The app itself trusts no repository: it is given this one load, made here.
        path = weights_here(option.variant, hub=arguments.hub, yes=arguments.yes, may_ask=True)
        request = request_of(option, path, arguments.trusted)
        return run_app(specs=tuple(arguments.specs), request=request, conversation=opened)
    path = weights_here(option.variant, hub=arguments.hub, yes=arguments.yes, may_ask=not arguments.json)
    answer = _Answer(arguments, request_of(option, path, arguments.trusted), prompt, conversation)
    _run(answer)
    answer.keep_measured(machine)
    answer.keep_turns()
    if arguments.json:
        document(answer.document())
    return 0


def _from_server(
    arguments: argparse.Namespace, prompt: str | None, conversation: Conversation | None, *, talks: bool
) -> int:
    """Talk to a model of a server, or have it answer one prompt."""
    from backends.servers import models_of, remote_request, server_url

    settings = choose.settings()
    text = arguments.url or settings.remote_url or os.environ.get("OPENAI_BASE_URL")
    if not text:
        raise WrongUsage("--model-engine remote needs --url, such as http://box:8000/v1", "modeldeck launch")
    url = server_url(text)
    own = bool(settings.remote_url) and server_url(settings.remote_url) == url
    key_variable = arguments.key_env or (settings.remote_key_env if own else "") or None
    if key_variable and not os.environ.get(key_variable):
        raise EngineError(f"the environment variable {key_variable} holds no key; set it, or leave --key-env out")
    offered = models_of(url, key_variable)
    model = next((one for one in offered if one.name == arguments.name), None)
    if model is None:
        names = ", ".join(one.name for one in offered) or "none"
        raise NotFound(f"{url} does not serve {arguments.name}; it serves {clean(names)}")
    if arguments.context is not None:
        model = replace(model, context=min(arguments.context, model.context or arguments.context))
    request = remote_request(model, url, key_variable)
    if talks:
        from tui.cli.plain import talk

        return talk(arguments, request, conversation)
    if prompt is None:
        from tui.start import run_app

        return run_app(
            specs=tuple(arguments.specs), request=request, conversation=conversation.id if conversation else None
        )
    answer = _Answer(arguments, request, prompt, conversation)
    _run(answer)
    answer.keep_turns()
    if arguments.json:
        document(answer.document())
    return 0


def _run(answer: _Answer) -> None:
    """Run it, so that ctrl+c ends it at once.

    Raises:
        KeyboardInterrupt: The user ended it.
    """
    with engine_output_in_log() as screen:
        try:
            interruptible(lambda: answer.run(screen), answer.stop)
        except KeyboardInterrupt:
            if work_is_left():
                screen.passing("")
                screen.note("modeldeck launch: interrupted")
                leave_at_once(130)
            raise


def _talks_plainly(arguments: argparse.Namespace) -> bool:
    """Whether to chat line by line: asked for, or somebody types where the app cannot draw."""
    if arguments.prompt is not None or arguments.json:
        return False
    draws = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return bool(arguments.plain) or (sys.stdin.isatty() and not draws)


def _prompt(arguments: argparse.Namespace) -> str | None:
    """The prompt of the flag or of standard input; None: the user wants to chat."""
    if arguments.prompt is not None and arguments.prompt != "-":
        prompt = str(arguments.prompt)
    elif arguments.prompt == "-" or not sys.stdin.isatty():
        prompt = sys.stdin.buffer.read().decode("utf-8", errors="replace")
    elif arguments.json:
        raise WrongUsage("--json goes with one answer; give --prompt TEXT", "modeldeck launch")
    else:
        return None
    if not prompt.strip():
        raise WrongUsage("the prompt is empty; give --prompt TEXT, or text on standard input", "modeldeck launch")
    return prompt


class _Answer:
    """One prompt answered: the engine is loaded, asked and closed in one thread."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        request: LoadRequest,
        prompt: str,
        conversation: Conversation | None = None,
    ) -> None:
        self._conversation = conversation
        self._request = request
        self._prompt = prompt
        self._system: str | None = arguments.system
        self._quiet = bool(arguments.json)
        temperature = Sampling().temperature if arguments.temperature is None else arguments.temperature
        self._sampling = Sampling(max_tokens=arguments.max_tokens, temperature=temperature, seed=arguments.seed)
        self._engine: Engine | None = None
        self._stopped = False
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._stats: Stats | None = None
        self._load_seconds = 0.0
        self._measured_bytes: int | None = None

    def stop(self) -> None:
        """End the stream; may be called from another thread, before there is an engine too."""
        self._stopped = True
        if self._engine is not None:
            self._engine.stop()

    def run(self, screen: Screen) -> None:
        """Load, stream to the user, close."""
        engine, self._load_seconds = load(self._request, screen)
        self._engine = engine
        try:
            if engine.template_note and self._request.weights.chats:
                screen.note(engine.template_note)
            for chunk in () if self._stopped else self._chunks(engine):
                self._take(chunk, screen)
                if self._stopped:  # a stop that came before the stream began would be lost
                    break
            self._measured_bytes = engine.measured_bytes()
        finally:
            engine.close()
        if self._quiet:
            return
        if self._text and not self._text[-1].endswith("\n"):
            screen.out.write("\n")
        screen.out.flush()
        if screen.err_is_terminal and self._stats is not None and not self._stopped:
            screen.note(_summary(self._stats))

    def _chunks(self, engine: Engine) -> Iterator[Chunk]:
        if not self._request.weights.chats:
            if self._system:
                raise EngineError("this family continues a text and knows no turns, so --system has no place in it")
            before = "".join(turn.text for turn in self._before if turn.role != "system")
            return engine.complete(before + self._prompt, self._sampling)
        turns = [Turn("system", self._system)] if self._system else []
        if self._conversation is not None:
            turns += [turn for turn in self._before if not (self._system and turn.role == "system")]
        return engine.stream([*turns, Turn("user", self._prompt)], self._sampling)

    @property
    def _before(self) -> tuple[Turn, ...]:
        return self._conversation.turns() if self._conversation is not None else ()

    def keep_turns(self) -> None:
        """The prompt and its answer, at the end of the conversation that they belong to."""
        if self._conversation is not None:
            keep_turns(
                self._conversation,
                self._prompt,
                "".join(self._text),
                "".join(self._reasoning),
                self._stats,
                model=self._request.key,
            )

    def _take(self, chunk: Chunk, screen: Screen) -> None:
        if chunk.reasoning_so_far:
            self._reasoning += self._text
            self._text.clear()
        (self._reasoning if chunk.reasoning else self._text).append(chunk.text)
        if chunk.stats is not None:
            self._stats = chunk.stats
        if self._quiet or not chunk.text:
            return
        if not chunk.reasoning:
            screen.out.write(clean(chunk.text, newlines=True))
            screen.out.flush()
        elif screen.err_is_terminal:
            screen.err.write(clean(chunk.text, newlines=True))
            screen.err.flush()

    def keep_measured(self, machine: Machine) -> None:
        """What the load took, and the speed of an answer that is long enough to tell one."""
        stats = self._stats
        told = stats is not None and stats.decoded_tokens >= ENOUGH_TOKENS
        keep_measured(machine, self._request, self._measured_bytes, stats.tokens_per_second if stats and told else None)

    def document(self) -> dict[str, Any]:
        """What `launch --json` prints."""
        stats = self._stats
        return {
            "text": "".join(self._text),
            "reasoning": "".join(self._reasoning) or None,
            "engine": self._request.engine,
            "load_seconds": round(self._load_seconds, 3),
            "memory": {
                "predicted_bytes": self._request.predicted_bytes,
                "measured_bytes": self._measured_bytes,
            },
            "stats": stats_document(stats) if stats else None,
        }


def stats_document(stats: Stats) -> dict[str, Any]:
    """What one answer took, in the contract's names."""
    return {
        "prompt_tokens": stats.prompt_tokens,
        "cached_tokens": stats.cached_tokens,
        "prefill_seconds": round(stats.prefill_seconds, 6),
        "decoded_tokens": stats.decoded_tokens,
        "decode_seconds": round(stats.decode_seconds, 6),
        "stop_reason": stats.stop_reason,
    }


def _summary(stats: Stats) -> str:
    decoded = units.counted(stats.decoded_tokens, "token")
    return f"{decoded}, {units.tokens_per_second(stats.tokens_per_second)}, first after {stats.prefill_seconds:.2f} s"
