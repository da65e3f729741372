"""A model on a server that speaks OpenAI's protocol: vLLM, SGLang, Xinference, llama-server, LM Studio, Ollama."""

from __future__ import annotations

import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backends.engines import installed
from backends.engines.answer import Answer
from backends.engines.engine import (
    Chunk,
    EngineStatus,
    LoadOptions,
    Progress,
    Sampling,
    Stats,
    StopReason,
    Turn,
    Weights,
)
from backends.engines.model_thread import Job, ModelThread
from backends.engines.remote_words import EventReader, own_words, refusal
from backends.engines.sampling import bounded
from backends.errors import EngineError, EngineMissing

if TYPE_CHECKING:
    import asyncio

REMOTE: Final = "remote"
BYTES_A_TOKEN: Final = 4
"""About so many in English text: for counting before the server has counted."""
EVERY_TOKEN: Final = 1 << 30
"""top_k for no limit, which SGLang itself uses: its -1 is refused by llama.cpp's servers, and their 0 by others."""
CONNECT_SECONDS: Final = 5.0
NO_KEY: Final = "none"
"""What is sent where a server wants none: the client insists on one."""
MOST_STOPS: Final = 4
"""Stop strings that the protocol has room for; further ones end the answer here."""
MOST_LOGPROBS: Final = 20
"""OpenAI's own, and vLLM's where nobody has raised it."""
CONTINUES: Final = {"continue_final_message": True, "add_generation_prompt": False}
"""How vLLM and SGLang are asked to go on inside the last turn; llama-server does so by itself. A server that knows
neither may begin a new turn."""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """One model that a server offers."""

    name: str
    context: int | None
    """Tokens, where the server tells."""


class RemoteAdapter:
    """Talks to one server."""

    name = REMOTE
    may_be_isolated = False
    """The model is in another process anyhow, and the key stays in this one."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        """
        Args:
            url: Where its API begins, as "http://box:8000/v1"; None: OPENAI_BASE_URL.
            key: Sent as bearer token; None: OPENAI_API_KEY to the server of OPENAI_BASE_URL, and no key to any other.
        """
        known = os.environ.get("OPENAI_BASE_URL")
        self._url = url or known
        own = os.environ.get("OPENAI_API_KEY") if self._url == known else None
        self._key = (key or own or "").strip() or NO_KEY

    def status(self) -> EngineStatus:
        if not installed.is_importable("openai"):
            return EngineStatus("not-installed", "the openai client is not installed", installed.extra_line("remote"))
        return EngineStatus("ready", version=installed.version(("openai",)))

    def models(self) -> tuple[RemoteModel, ...]:
        """What the server offers."""
        openai, client = self._client(asynchronous=False)
        try:
            listed = list(client.models.list().data)
            found = tuple(RemoteModel(model.id, _context(model)) for model in listed if model.id.strip())
        except openai.OpenAIError as error:
            raise refusal(openai, error, self._url or "", self._key) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise EngineError(
                f"{self._url} does not list its models as OpenAI's protocol has it; most such URLs end in /v1"
            ) from error
        finally:
            client.close()
        return found

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> RemoteEngine:
        """Connect to the model that weights.name names; its path is of no matter."""
        if options.server is not None and options.server != self._url:
            key = os.environ.get(options.server_key_variable) if options.server_key_variable else None
            return RemoteAdapter(options.server, key).load(weights, options, on_progress)
        offered = self.models()
        found = next((model for model in offered if model.name == weights.name), None)
        if found is None:
            names = ", ".join(model.name for model in offered[:8]) or "none"
            raise EngineError(f"{self._url} does not serve {weights.name}; it serves {names}")
        openai, client = self._client(asynchronous=True)
        engine = RemoteEngine(openai, client, self._url or "", self._key, weights, found.context or options.context)
        if on_progress is not None:
            on_progress(1.0, "connected")
        return engine

    def _client(self, *, asynchronous: bool) -> tuple[Any, Any]:
        if not self._url:
            raise EngineError("no server is named; give its URL, such as http://box:8000/v1")
        if not (self._key.isascii() and self._key.isprintable()):
            # The client's own error would quote it.
            raise EngineError(f"the key for {self._url} holds what no key can; look at the variable that it comes from")
        try:
            import openai
        except ImportError as error:
            raise EngineMissing("the openai client is not installed", installed.extra_line("remote")) from error
        kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        timeout = openai.Timeout(None, connect=CONNECT_SECONDS) if asynchronous else CONNECT_SECONDS
        return openai, kind(base_url=self._url, api_key=self._key, max_retries=0, timeout=timeout)


class RemoteEngine:
    """One model of a server. A thread with an event loop waits for it, so that a stop need not wait for the server."""

    name = REMOTE
    template_note = None

    def __init__(self, openai: Any, client: Any, url: str, key: str, weights: Weights, context: int) -> None:
        import asyncio

        self.context = context
        self.where = url
        self._openai = openai
        self._client = client
        self._url = url
        self._key = key
        self._weights = weights
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[Any] | None = None
        self._thread = ModelThread(weights.name, self._free, self._abort)

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        sampling = bounded(sampling)
        extra = _extra(sampling)
        if sampling.thinking is not None:
            extra["chat_template_kwargs"] = {"enable_thinking": sampling.thinking, "thinking": sampling.thinking}
        if turns and turns[-1].role == "assistant":
            extra |= CONTINUES
        asked = _common(sampling, self._weights) | {"messages": messages}
        if sampling.logprobs:
            asked |= {"logprobs": True, "top_logprobs": min(sampling.logprobs, MOST_LOGPROBS)}
        answer = Answer(_stops(sampling, self._weights), self._weights.reasoning_tags)
        create = self._client.chat.completions.create
        return self._thread.stream(lambda job: self._generate(job, create, asked, extra, answer))

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        sampling = bounded(sampling)
        asked = _common(sampling, self._weights) | {"prompt": prompt}
        if sampling.logprobs:
            asked["logprobs"] = min(sampling.logprobs, MOST_LOGPROBS)
        answer = Answer(_stops(sampling, self._weights), plain=True)
        create = self._client.completions.create
        return self._thread.stream(lambda job: self._generate(job, create, asked, _extra(sampling), answer))

    def count_tokens(self, text: str) -> int:
        """About: only the server knows its tokenizer."""
        return math.ceil(len(text.encode()) / BYTES_A_TOKEN)

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        """About, with four tokens for each turn's frame."""
        return sum(self.count_tokens(turn.text) + 4 for turn in turns)

    def stop(self) -> None:
        self._thread.stop()

    def measured_bytes(self) -> int | None:
        """None: the memory is the server's."""
        return None

    def close(self) -> None:
        self._thread.close()

    # On the thread

    def _abort(self, wanted: bool) -> None:
        task = self._task
        if wanted and task is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def _free(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def _generate(
        self, job: Job, create: Callable[..., Any], asked: dict[str, Any], extra: dict[str, Any], answer: Answer
    ) -> Iterator[Chunk]:
        import asyncio

        started = time.perf_counter()
        first = last = started
        reason: StopReason = "end"
        reader = EventReader(answer)
        events = self._events(create, asked, extra)
        try:
            while not answer.stopped:
                event = self._wait(job, anext(events, None))
                if event is None:
                    self._require_whole(reader, answer)
                    break
                chunks = reader.read(event)
                if chunks or answer.tokens:
                    last = time.perf_counter()
                    first = first if first != started else last
                yield from chunks
            if answer.stopped:
                reason = "stop"
            elif reader.finish == "length":
                reason = "length"
        except asyncio.CancelledError:
            reason = "cancelled"
        except self._openai.OpenAIError as error:
            raise refusal(self._openai, error, self._url, self._key) from error
        except ValueError as error:
            raise EngineError(f"{self._url} sent what is no JSON in its answer; have it answered again") from error
        finally:
            self._task = None
            self._loop.run_until_complete(events.aclose())
        yield from reader.finished()
        usage = reader.usage
        details = getattr(usage, "prompt_tokens_details", None)
        decoded = getattr(usage, "completion_tokens", None)
        yield Chunk(
            stats=Stats(
                prompt_tokens=getattr(usage, "prompt_tokens", None),
                cached_tokens=getattr(details, "cached_tokens", None),
                prefill_seconds=first - started,
                decoded_tokens=answer.tokens if decoded is None else decoded,
                decode_seconds=last - first,
                stop_reason=reason,
            )
        )

    def _require_whole(self, reader: EventReader, answer: Answer) -> None:
        """Refuse an answer whose connection has ended before it did."""
        if reader.finish is not None:
            return
        if not answer.tokens:
            raise EngineError(
                f"{self._url} ended the answer before it began and did not say why",
                f"its own log may; a prompt longer than its context ({self.context:,} tokens as far as is known) "
                "does that to some servers",
            )
        if reader.usage is None:
            # Without chunks of HTTP a connection that breaks looks like one that ends.
            raise EngineError(f"{self._url} went away in the middle of its answer; have it answered again")

    def _wait(self, job: Job, step: Any) -> Any:
        """Run one step of the connection; raises CancelledError when the job is stopped meanwhile."""

        async def run() -> Any:
            return await step

        self._task = self._loop.create_task(run())
        if job.cancelled:
            self._task.cancel()
        return self._loop.run_until_complete(self._task)

    async def _events(
        self, create: Callable[..., Any], asked: dict[str, Any], extra: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        settings = asked | {"model": self._weights.name, "stream": True, "stream_options": {"include_usage": True}}
        try:
            stream = await create(**settings, extra_body=extra)
        except (self._openai.BadRequestError, self._openai.UnprocessableEntityError) as error:
            # OpenAI's own protocol has no top_k, min_p or repetition_penalty, and a strict server refuses them: with
            # 400, or with 422 where FastAPI checks the request.
            if not extra or not any(name in str(error) for name in extra):
                raise
            if any(name in extra and name in str(error) for name in CONTINUES):
                raise EngineError(
                    f"{self._url} cannot go on inside an answer that was stopped; have it answered again instead",
                    own_words(error),
                ) from error
            stream = await create(**settings)
        try:
            async for event in stream:
                yield event
        finally:
            await stream.close()


def _common(sampling: Sampling, weights: Weights) -> dict[str, Any]:
    asked: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.max_tokens is not None:
        asked["max_tokens"] = sampling.max_tokens
    if sampling.seed is not None:
        asked["seed"] = sampling.seed
    if stop := _stops(sampling, weights):
        asked["stop"] = list(stop[:MOST_STOPS])
    return asked


def _stops(sampling: Sampling, weights: Weights) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*sampling.stop, *weights.stop)))


def _extra(sampling: Sampling) -> dict[str, Any]:
    """Settings beyond OpenAI's protocol, in the names of vLLM and SGLang and, for the penalty, llama-server's too."""
    extra: dict[str, Any] = {"top_k": sampling.top_k if sampling.top_k > 0 else EVERY_TOKEN, "min_p": sampling.min_p}
    if sampling.repetition_penalty != 1.0:
        extra |= {"repetition_penalty": sampling.repetition_penalty, "repeat_penalty": sampling.repetition_penalty}
    return extra


def _context(model: Any) -> int | None:
    """vLLM and SGLang say max_model_len, llama-server meta.n_ctx."""
    told = getattr(model, "max_model_len", None)
    if told is None:
        meta = getattr(model, "meta", None) or {}
        told = meta.get("n_ctx") if isinstance(meta, dict) else None
    return told if isinstance(told, int) else None
