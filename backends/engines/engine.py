"""The contract of an engine: load, stream, stop, close."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]
StopReason = Literal["end", "length", "stop", "cancelled"]
"""Its own end token, the token limit, a stop string, or the user."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen."""

    max_tokens: int | None = None
    """None: as many as the context still holds."""
    temperature: float = 0.7
    """0: always the most probable token."""
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repetition_penalty: float = 1.0
    seed: int | None = None
    """None: another answer each time. The same seed gives the same text where the engine can promise it, and may cost a
    part of the prefix cache for that."""
    stop: tuple[str, ...] = ()
    logprobs: int = 0
    """Alternatives to report for each token, with their probabilities; 0: none."""
    thinking: bool | None = None
    """Asks the template for reasoning or against it; None: the model's own default."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have stood here."""

    text: str
    token: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Stats:
    """What one answer took."""

    prompt_tokens: int | None
    """None: the server does not say."""
    cached_tokens: int | None
    """Prompt tokens whose KV was taken from the turn before; None: the server does not say."""
    prefill_seconds: float
    """From the call to the first token."""
    decoded_tokens: int
    decode_seconds: float
    """From the first token to the last."""
    stop_reason: StopReason

    @property
    def tokens_per_second(self) -> float | None:
        """Decode speed; None before the second token."""
        if self.decoded_tokens < 2 or self.decode_seconds <= 0:
            return None
        return (self.decoded_tokens - 1) / self.decode_seconds


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer: whole characters, never half of one. The last one carries stats."""

    text: str = ""
    reasoning: bool = False
    """Whether the text belongs to the model's thinking."""
    tokens: int = 0
    """Tokens that this piece was made of."""
    alternatives: tuple[tuple[Alternative, ...], ...] = ()
    """By token of this piece, when sampling.logprobs asks for them: the most probable first, as many as asked for,
    and the token that was chosen behind them if it is none of them."""
    stats: Stats | None = None
    reasoning_so_far: bool = False
    """Whether all text up to here was thinking after all: a closing tag came without its opening one."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a model thinks of one token that another answer has here."""

    token: int
    text: str
    """The token's text; half a character is the replacement sign."""
    logprob: float
    """Of this token, natural logarithm, before any sampler."""
    first: Alternative
    """The model's own first choice here."""
    likely: tuple[tuple[int, float], ...] = ()
    """Its most probable tokens with their logprobs, best first; the rest of the distribution is what they leave."""
    divergence: float | None = None
    """Kullback-Leibler divergence in nats from the reference's distribution, over its likely tokens with all others
    as one; never more than over the whole vocabulary. None: there was no reference."""
    reasoning: bool = False
    """Whether the token belongs to the thinking before the answer."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights on this disk, and what the catalog knows of how to talk to them."""

    path: Path
    """A GGUF file (the first part), or a folder with safetensors, configuration and tokenizer."""
    name: str
    """What to call the model in messages."""
    format: str
    quantization: str
    chats: bool = True
    chat_template: str | None = None
    """Stands above the template in the weights; None: theirs."""
    reasoning_tags: tuple[str, str] | None = None
    """Start and end tag of the thinking; None: the usual ones."""
    stop: tuple[str, ...] = ()
    key: str | None = None
    """What the catalog calls the variant, for messages that name a command; None: it is in none."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load. The fit fills it; every engine takes what concerns it."""

    context: int
    """Tokens of one conversation."""
    gpu_layers: int | None = None
    """llama.cpp: layers on the GPU; None: all that the build can."""
    tensor_split: tuple[float, ...] = ()
    """Shares of the cards, in the engine's order."""
    kv_cache_type: str = "f16"
    threads: int | None = None
    """None: physical cores."""
    device: str | None = None
    """"cuda:0", "mps", "cpu"; None: the engine's best."""
    memory_share: float | None = None
    """vLLM and SGLang: share of the card that they may take."""
    trust_remote_code: bool = False
    """Runs Python code out of the repository: only when the user asked for it by name."""
    tensor_parallel: int = 1
    """vLLM and SGLang: cards that share every layer; they stand in one machine and their number divides the heads."""
    pipeline_parallel: int = 1
    """vLLM and SGLang: stages of whole layers one behind the other, as over several machines; times tensor_parallel
    it is the number of cards."""
    ray_address: str | None = None
    """vLLM: the Ray cluster whose cards it takes, "auto" for the one that this machine belongs to, else "host:port".
    The weights must lie at the same path on each of its machines. None: this machine's cards."""
    server: str | None = None
    """remote: where the server's API begins, as "http://box:8000/v1"."""
    server_key_variable: str | None = None
    """remote: the environment variable that holds the server's key; None: it wants none."""


@dataclass(frozen=True, slots=True)
class Lack:
    """A format for which an installed engine wants a further library."""

    format: str
    quantizations: tuple[str, ...] | None
    """In lower case; None: any."""
    reason: str
    install_line: str

    def concerns(self, model_format: str, quantization: str) -> bool:
        """Whether these weights cannot be loaded without it."""
        return model_format == self.format and (
            self.quantizations is None or quantization.lower() in self.quantizations
        )


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether an adapter's library can be used here."""

    status: Literal["ready", "not-installed", "unsupported"]
    reason: str | None = None
    """One line for every status but "ready"; for that one what it cannot do here, as "this build has no CUDA: …"."""
    install_line: str | None = None
    version: str | None = None
    accelerators: tuple[str, ...] | None = None
    """Kinds of accelerator that the installed library can use, in the words of Accelerator.kind; (): the CPU alone;
    None: whatever the engine is made for."""
    lacking: tuple[Lack, ...] = ()

    def of(self, model_format: str, quantization: str) -> EngineStatus:
        """The status for weights of one kind."""
        lack = next((one for one in self.lacking if one.concerns(model_format, quantization)), None)
        if self.status != "ready" or lack is None:
            return self
        return EngineStatus("not-installed", lack.reason, lack.install_line, self.version, self.accelerators)


Progress = Callable[[float, str], None]
"""Called while loading with a share of 0 to 1 and what is being done; from any thread.

An exception that it raises ends the load and comes out of load(): raise Cancelled to stop one."""


class Engine(Protocol):
    """A loaded model. One thread at a time may stream; stop() and close() may come from any thread."""

    name: str
    """The engine's name, as "llama.cpp"."""
    context: int
    """Tokens that one conversation may hold."""
    where: str
    """Where it runs, in words: "GPU", "split 28/33", "CPU"."""
    template_note: str | None
    """A line when the template is not the model's own; None: it is, or there is none to apply."""

    def stream(self, turns: Sequence[Turn], sampling: Sampling) -> Iterator[Chunk]:
        """Answer a conversation through the chat template. The last chunk carries stats, after a stop too.

        Where the last turn is the assistant's own, its text goes on from where it ends, in the same turn.
        """
        ...

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Chunk]:
        """Continue a text as it stands."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        ...

    def prompt_tokens(self, turns: Sequence[Turn]) -> int:
        """Tokens that these turns take in the context, template included."""
        ...

    def stop(self) -> None:
        """End the running stream at once, in prefill too; does nothing when none runs."""
        ...

    def measured_bytes(self) -> int | None:
        """Memory that the load took, by the engine's own report or the process's growth; None: not known."""
        ...

    def close(self) -> None:
        """Give the memory back; later calls do nothing."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """An engine that can say what it thinks of an answer which is not its own. Not every engine can."""

    def score(
        self, asked: Sequence[Turn] | str, answer: str, reasoning: str = "", reference: Sequence[Score] = ()
    ) -> tuple[Score, ...]:
        """Score an answer token by token; fewer than it has after a stop or where the context ends.

        Args:
            asked: The turns before the answer, or the text that it continues.
            answer: Text, cut into tokens by the model's own vocabulary.
            reasoning: The thinking before it, scored as well; the tags around it are not.
            reference: Scores of the same answer by another variant: its tokens are taken, and each place gets its
                divergence.
        """
        ...


class Adapter(Protocol):
    """One engine library. Importing an adapter's module imports no library; load() does.

    It may have a `prefers_isolation`, True or a function of the Weights, where its load would hold Python's lock so
    long that a key pressed meanwhile waits: the app then loads in a process of its own. `may_be_isolated = False`
    forbids that.
    """

    name: str

    def status(self) -> EngineStatus:
        """Whether it can run here, found without importing the library; never raises."""
        ...

    def load(self, weights: Weights, options: LoadOptions, on_progress: Progress | None = None) -> Engine:
        """Load the weights, or raise EngineError."""
        ...
