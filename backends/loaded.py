"""The models that are in memory: each on a thread of its own, shared by whoever talks to it."""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from backends.at_work import AtWork, Crashed
from backends.engines.engine import Adapter, Engine, LoadOptions, Weights
from backends.errors import BackendError, EngineError
from backends.fit import Option
from backends.memory.vllm import SHARE
from backends.stoppable import Stoppable
from specs.model import LLAMA_CPP, MLX, SGLANG, TRANSFORMERS, VLLM

if TYPE_CHECKING:  # with it comes SQLite, which the app's start does without
    from backends.measurements import Load

logger = logging.getLogger("modeldeck")

State = Literal["loading", "ready", "failed", "closed"]
SWITCH_SECONDS = 0.0005
CLOSE_SECONDS = 2.0
"""How long quitting waits for engines to give their memory back; the process's end does it for the rest."""


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """One model to load: which weights, with which engine, how."""

    engine: str
    weights: Weights
    options: LoadOptions
    key: str
    """The variant's key."""
    predicted_bytes: int | None = None
    where: str = ""
    """Where the fit says that it will run, until the engine says it."""
    max_context: int | None = None
    """Tokens up to which the fit says that it stays where it is; None: not known."""
    comparable_bytes: int | None = None
    """What the uncorrected estimate says of the parts that the engine's own report counts; None: they cannot be
    compared, as vLLM's and SGLang's, which take their share of a card whole."""
    short_bytes: int = field(default=0, compare=False)
    """What the fit found missing as memory stood then; 0: nothing. It makes no other model of it."""
    isolated: bool = False
    """In a process of its own whatever the settings say, as after a crash."""


def load_request(option: Option, path: Path) -> LoadRequest:
    """How the fit says that weights on this disk are to be loaded."""
    family, spec = option.variant.family, option.variant.spec
    tags = (family.reasoning_start_tag, family.reasoning_end_tag)
    weights = Weights(
        path,
        f"{family.name} {spec.size_in_billions}B",
        spec.format,
        option.variant.quantization,
        chats=family.chats,
        chat_template=family.chat_template,
        reasoning_tags=(tags[0], tags[1]) if tags[0] and tags[1] else None,
        stop=family.stop,
        key=option.variant.key,
    )
    return LoadRequest(
        option.engine,
        weights,
        _load_options(option),
        option.variant.key,
        option.memory.total_bytes,
        option.where,
        option.max_context,
        _comparable_bytes(option),
        short_bytes=_short_bytes(option),
    )


def _short_bytes(option: Option) -> int:
    if option.verdict != "no" or option.budget_bytes is None:
        return 0
    return max(0, option.memory.total_bytes - option.budget_bytes)


def asked_again(request: LoadRequest) -> LoadRequest:
    """The same load without what was allowed once: running code out of a repository."""
    return replace(request, options=replace(request.options, trust_remote_code=False))


def load_record(request: LoadRequest, measured_bytes: int | None, tokens_per_second: float | None = None) -> Load:
    """What one load took, as backends.measurements keeps it.

    Args:
        request: What was loaded.
        measured_bytes: What the engine says; None: it does not.
        tokens_per_second: Decode speed; None: nothing was decoded.
    """
    from backends.measurements import Load

    return Load(
        request.engine,
        request.weights.format,
        request.key,
        request.options.context,
        request.comparable_bytes,
        measured_bytes if request.comparable_bytes is not None else None,
        tokens_per_second,
    )


def _load_options(option: Option) -> LoadOptions:
    cards = dict(zip(option.card_indices, option.card_layers, strict=False))
    split: tuple[float, ...] = ()
    if option.engine == LLAMA_CPP and len(cards) > 1:
        split = tuple(float(cards.get(index, 0)) for index in range(max(cards) + 1))
    shared = option.engine in {VLLM, SGLANG}
    return LoadOptions(
        option.context,
        gpu_layers=option.gpu_layers,
        tensor_split=split,
        kv_cache_type=option.kv_cache_type,
        device=option.device,
        memory_share=_memory_share(option) if shared else None,
        tensor_parallel=max(option.tensor_parallel, len(cards)) if shared else 1,
        pipeline_parallel=option.pipeline_parallel if shared else 1,
        ray_address=option.ray_address if option.engine == VLLM else None,
    )


def _memory_share(option: Option) -> float | None:
    """vLLM's share is all that it takes; SGLang's holds weights and cache alone, and by itself it leaves enough."""
    share = option.memory_share
    if share is None or option.engine == VLLM:
        return share
    if share >= SHARE or not option.budget_bytes:
        return None
    beside = (option.memory.compute_bytes or 0) + (option.memory.overhead_bytes or 0)
    return max(0.1, round(share * (1 - beside / option.budget_bytes), 2))


def _comparable_bytes(option: Option) -> int | None:
    if option.engine == LLAMA_CPP:
        return option.memory.buffers_bytes  # it reports every buffer; process and driver are not in it
    return option.memory.weights_bytes if option.engine in {TRANSFORMERS, MLX} else None


@dataclass(eq=False)
class LoadedModel:
    """A model in memory, or on its way there. Everything that it does happens on its own thread."""

    request: LoadRequest
    state: State = "loading"
    share: float = 0.0
    """Of loading, 0 to 1."""
    doing: str = ""
    """What loading does now."""
    engine: Engine | None = None
    error: BackendError | None = None
    users: int = 0
    """Panes that hold it."""
    load_seconds: float | None = None
    idle: bool = False
    """Whether it was unloaded because nobody used it."""
    used_at: float = 0.0
    """time.monotonic() when it last ended an answer."""
    _jobs: queue.SimpleQueue[Callable[[], None] | None] = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None
    _closing: threading.Event = field(default_factory=threading.Event)
    _listeners: list[Callable[[LoadedModel], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _work: Stoppable = field(default_factory=Stoppable)
    """Everything that it does once it is loaded."""
    _noted: bool = False
    """Whether the disk says that it is in this process's memory."""
    _given: int = 0
    """Jobs that were given to it and are not done."""

    @property
    def busy(self) -> bool:
        """Whether it does something, or was given something that its thread has not begun."""
        return self._given > 0

    @property
    def name(self) -> str:
        """Model, size and quantization, as one says it."""
        return f"{self.request.weights.name} {self.request.weights.quantization}".rstrip()

    def measured_bytes(self) -> int | None:
        """What the engine says it holds; None: not known, or not loaded."""
        return self.engine.measured_bytes() if self.engine is not None and self.state == "ready" else None

    def submit(self, job: Callable[[Engine], None]) -> None:
        """Do something with the engine on its thread, after what it does now. The job shows its own errors."""

        def run() -> None:
            try:
                if self.engine is not None and not self._closing.is_set():
                    job(self.engine)
            except Exception:
                # Other panes' answers come from this thread too.
                logger.exception("something that %s was given to do", self.name)
            finally:
                with self._lock:
                    self._given -= 1
                    self.used_at = time.monotonic()

        with self._lock:
            self._given += 1
        self._jobs.put(run)

    def listen(self, listener: Callable[[LoadedModel], None]) -> None:
        """Call with every change of state and progress, from the model's thread."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[LoadedModel], None]) -> None:
        """Do not call any more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(self)
            except Exception:
                # A pane that is being taken down; the model must go on, and be freed in the end.
                logger.exception("telling of %s", self.name)

    @staticmethod
    def _take_turns_quickly() -> None:
        # By default a thread waits 5 ms for the interpreter, which is a whole token: the pane then decoded
        # 0.87 times as fast as the engine alone.
        sys.setswitchinterval(min(SWITCH_SECONDS, sys.getswitchinterval()))

    def _start(
        self,
        adapter: Callable[[str], Adapter],
        ended: Callable[[LoadedModel], None],
        loaded: Callable[[LoadedModel], None] | None = None,
        at_work: AtWork | None = None,
    ) -> None:
        def work() -> None:
            self._take_turns_quickly()
            self._load(adapter, at_work)
            if self.state == "failed":
                self._take_note_away(at_work)
            if loaded is not None and self.state == "ready":
                try:
                    loaded(self)
                except Exception:
                    logger.exception("keeping what the load of %s took", self.name)
            while (job := self._jobs.get()) is not None:
                job()
            self._work.end()
            if self.engine is not None:
                self.engine.close()
            self._take_note_away(at_work)
            self.state = "closed" if self.state != "failed" else "failed"
            ended(self)
            self._tell()

        # A daemon: a library that does not come back must not hold the user's shell.
        self._thread = threading.Thread(target=work, name=f"model {self.name}", daemon=True)
        self._thread.start()

    @property
    def _note(self) -> Crashed:
        return Crashed(self.request.key, self.request.engine, self.name)

    def _take_note_away(self, at_work: AtWork | None) -> None:
        # Once: the same model loaded again has a note that looks the same.
        if at_work is not None and self._noted:
            at_work.remove(self._note)
            self._noted = False

    def _load(self, adapter: Callable[[str], Adapter], at_work: AtWork | None) -> None:
        def progress(share: float, doing: str) -> None:
            self.share, self.doing = share, doing
            self._tell()

        from backends.engines.registry import hosted

        begun = time.monotonic()
        try:
            found = adapter(self.request.engine)
            found = hosted(found, isolated=self.request.isolated or None, weights=self.request.weights)
            if at_work is not None and getattr(found, "may_be_isolated", True):
                at_work.add(self._note)
                self._noted = True
            engine = found.load(self.request.weights, self.request.options, progress)
        except BackendError as error:
            self.error, self.state = error, "failed"
        except Exception as error:  # noqa: BLE001 - a thread's edge: it is shown in the pane
            self.error = EngineError(
                f"{self.request.engine} could not load {self.name}", f"{type(error).__name__}: {error}"
            )
            self.state = "failed"
        else:
            self.engine, self.share = engine, 1.0
            if self._work.begin():
                self.state = "ready"
        self.load_seconds = self.used_at = time.monotonic()
        self.load_seconds -= begun
        self._tell()

    def crashed(self, error: BackendError) -> None:
        """Its process is gone: nobody may be given this model again."""
        if self.state == "ready":
            self.error, self.state = error, "failed"
            self.close()
            self._tell()

    def close(self) -> None:
        """Stop what it does and give the memory back; returns at once."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._end()

    def close_if_idle(self, idle_seconds: float) -> bool:
        """Close it unless somebody used it since or has just given it something to do; whether it did."""
        with self._lock:
            if self._given or self._closing.is_set() or time.monotonic() - self.used_at < idle_seconds:
                return False
            self.idle = True
            self._closing.set()
        self._end()
        return True

    def _end(self) -> None:
        self._work.stop(self.engine)
        self._jobs.put(None)

    def wait_closed(self, seconds: float) -> bool:
        """Whether its thread ended within so long."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()


class LoadedModels:
    """All models of this program.

    Args:
        adapter: The adapter of an engine.
        on_loaded: Called on a model's thread once it is ready.
        at_work: Notes on the disk what is in this process's memory; None: nothing is noted.
        crashed: Models that took a process down before: they are loaded in processes of their own.
    """

    def __init__(
        self,
        adapter: Callable[[str], Adapter],
        on_loaded: Callable[[LoadedModel], None] | None = None,
        at_work: AtWork | None = None,
        crashed: Callable[[], tuple[Crashed, ...]] = tuple,
    ) -> None:
        self._adapter = adapter
        self._at_work = at_work
        self._crashed = crashed
        self._on_loaded = on_loaded
        self._models: list[LoadedModel] = []
        self._lock = threading.Lock()

    def models(self) -> tuple[LoadedModel, ...]:
        """What is loaded or being loaded, oldest first."""
        with self._lock:
            return tuple(self._models)

    def open(self, request: LoadRequest, listener: Callable[[LoadedModel], None]) -> LoadedModel:
        """The model that answers this request: one that is there already is shared."""
        if any((one.key, one.engine) == (request.key, request.engine) for one in self._crashed()):
            request = replace(request, isolated=True)
        with self._lock:
            for model in self._models:
                # What is there already runs no code anew.
                alike = asked_again(model.request) == asked_again(request)
                if alike and model.state in ("loading", "ready") and not model._closing.is_set():
                    model.users += 1
                    model.listen(listener)
                    return model
            model = LoadedModel(request, users=1)
            model.listen(listener)
            self._models.append(model)
        model._start(self._adapter, self._ended, self._on_loaded, self._at_work)
        return model

    def release(self, model: LoadedModel, listener: Callable[[LoadedModel], None]) -> None:
        """A pane needs it no more; the last one to say so unloads it."""
        model.forget(listener)
        with self._lock:
            model.users -= 1
            last = model.users <= 0
        if last:
            model.close()

    def _ended(self, model: LoadedModel) -> None:
        with self._lock:
            if model in self._models:
                self._models.remove(model)

    def unload_idle(self, idle_seconds: float) -> tuple[LoadedModel, ...]:
        """Unload what nobody used for so long; returns what was unloaded."""
        return tuple(m for m in self.models() if m.state == "ready" and m.close_if_idle(idle_seconds))

    def held_bytes(self) -> int:
        """Memory of everything loaded, measured where the engine says it, else predicted."""
        return sum(m.measured_bytes() or m.request.predicted_bytes or 0 for m in self.models() if m.state != "failed")

    def close(self) -> None:
        """Stop and unload everything, waiting a little."""
        models = self.models()
        if self._at_work is not None:
            # Before the wait, which the app's end is shorter than: what goes with the process is no crash.
            self._at_work.end()
        for model in models:
            model.close()
        deadline = time.monotonic() + CLOSE_SECONDS
        for model in models:
            model.wait_closed(max(0.0, deadline - time.monotonic()))
