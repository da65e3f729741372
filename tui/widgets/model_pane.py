"""A pane with a model: loaded, shown with what it does, asked to work, given back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from backends.engines.engine import Engine
from backends.errors import BackendError, Cancelled, EngineCrashed, EngineError
from backends.failures import failure_about
from backends.loaded import LoadedModel, LoadedModels, LoadRequest, asked_again
from backends.stoppable import Stoppable
from specs.text import printable
from tui import units
from tui.widgets.frame_line import FrameLine, Part
from tui.widgets.pane_words import State, head_words, loading_words
from tui.widgets.transcript import Transcript

Result = TypeVar("Result")
SMALLEST_CONTEXT = 512


class ModelPane(Vertical):
    """Holds one model and shows how it is."""

    BLANK = True

    state: reactive[State] = reactive[State]("empty")
    active: reactive[bool] = reactive(False)
    """Whether the prompt goes here."""

    class ModelMoved(Message):
        """The model's loading moved on. Posted from its thread."""

        def __init__(self, model: LoadedModel) -> None:
            super().__init__()
            self.model = model

    class Changed(Message, namespace="chat_pane"):
        """The conversation, the state or the model is another one."""

        def __init__(self, pane: ModelPane) -> None:
            super().__init__()
            self.pane = pane

        @property
        def control(self) -> ModelPane:
            return self.pane

    DEFAULT_CSS = """
    ModelPane {
        background: $background;
        & > Transcript { height: 1fr; border-left: round $rule; border-right: round $rule; }
        &.-active > Transcript { border-left: round $border; border-right: round $border; }
        & > #notice {
            height: auto; max-height: 50%; padding: 0 2; display: none; color: $muted;
            border-left: round $rule; border-right: round $rule;
        }
        &.-active > #notice { border-left: round $border; border-right: round $border; }
        & > #notice.-some { display: block; }
        & > #notice.-error { color: $error; }
    }
    """

    def __init__(self, models: LoadedModels, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._models = models
        self.model: LoadedModel | None = None
        self.request: LoadRequest | None = None
        self.transcript = Transcript()
        """The turns."""
        self.trouble = ""
        """What keeps the history from being written."""
        self._head = FrameLine("╭╮", id="head")
        self._notice = Static(id="notice")
        self._foot = FrameLine("╰╯", id="foot")
        self._gone = False
        self._was_idle = False
        """Whether its model was unloaded because nobody used it."""
        self._then: Callable[[], None] | None = None
        """Done once when the model is ready."""
        self._stop_work: Callable[[], None] | None = None
        """Ends what the model does beside answering."""
        self.work_stopped = False
        """Whether that was asked of the latest such work."""
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    # -- the picture

    def compose(self) -> ComposeResult:
        yield self._head
        yield self.transcript
        yield self._notice
        yield self._foot

    def on_mount(self) -> None:
        self.say_all()

    def on_unmount(self) -> None:
        self._gone = True
        self.leave()

    def watch_active(self, active: bool) -> None:
        self.set_class(active, "-active")
        for line in (self._head, self._foot):
            line.active = active
            line.refresh()

    def watch_state(self, _state: State) -> None:
        for waiter in tuple(self._waiters):
            if waiter[0]():
                self._waiters.remove(waiter)
                if not waiter[1].done():
                    waiter[1].set_result(None)
        if self.is_mounted and not self._gone:
            self.say_all()
            self.post_message(self.Changed(self))

    @property
    def completes(self) -> bool:
        """Whether the model continues a text instead of answering turns."""
        return self.request is not None and not self.request.weights.chats

    @property
    def title(self) -> str:
        """The model in words."""
        if self.request is None:
            return "no model"
        weights = self.request.weights
        return f"{weights.name} {weights.quantization}".rstrip()

    def say_all(self) -> None:
        """Bring head, foot and notice up to date."""
        self._say_head()
        self._say_foot()
        self._say_notice()

    def _say_head(self) -> None:
        self._head.say(head_words(self.title, self.request, self.model, completes=self.completes))

    def _say_foot(self) -> None:
        left, right = self._foot_words()
        self._foot.say(left, right)

    def _foot_words(self) -> tuple[list[Part], list[Part]]:
        """What the foot says at its left and at its right end."""
        return [], []

    def _say_notice(self) -> None:
        text: str | Content = ""
        if self.state == "loading" and self.model is not None:
            text = loading_words(self.model)
        elif self.state == "failed" and self.model is not None and self.model.error is not None:
            text = self._failure_words(self.model.error)
        elif self.state == "unloaded":
            why = " because nobody talked to it" if self._was_idle else ""
            text = f"This model was unloaded{why}. Your next prompt or ctrl+l loads it again; the conversation stays."
        elif self.state == "empty":
            text = "No model is here yet: f5 chooses one, and the conversation goes on with it."
        else:
            text = self._hint_words()
        if self.trouble:
            text = Content(f"{text}\n{printable(self.trouble)}" if text else printable(self.trouble))
        self._notice.update(text if isinstance(text, Content) else Content(text))
        self._notice.set_class(bool(text), "-some")
        self._notice.set_class(self.state == "failed", "-error")

    def _failure_words(self, error: BackendError) -> str:
        apart = " in a process of its own" if isinstance(error, EngineCrashed) else ""
        kind = failure_about(error)
        smaller = self._smaller_words() if kind == "memory" else ""
        advice = f"ctrl+l loads it again{apart}{smaller} · f5 chooses another model"
        if kind == "weights" and "library verify" not in str(error):
            advice = f"`modeldeck library verify` says which file is not whole · {advice}"
        return f"{printable(str(error))}\n{advice}"

    def _hint_words(self) -> str | Content:
        """What helps while the model is there; empty: nothing."""
        if self.transcript.entries:
            return ""  # said once, before the first prompt: afterwards the lines are the conversation's
        engine = self.model.engine if self.model is not None else None
        return printable(engine.template_note) if engine is not None and engine.template_note else ""

    def _smaller_words(self) -> str:
        if self.request is not None and self.request.options.context > SMALLEST_CONTEXT:
            return f" with a context of {units.count(self._smaller_context())}"
        return ""

    def _smaller_context(self) -> int:
        assert self.request is not None
        return max(SMALLEST_CONTEXT, self.request.options.context // 2)

    # -- the model

    @property
    def engine(self) -> Engine | None:
        """The engine when it is ready."""
        return self.model.engine if self.model is not None and self.model.state == "ready" else None

    @property
    def context(self) -> int | None:
        """Tokens that the conversation may have; None: no model."""
        if self.engine is not None:
            return self.engine.context
        return self.request.options.context if self.request is not None else None

    def load(self, request: LoadRequest) -> None:
        """Take this model instead of the one there was."""
        self.leave()
        self._was_idle = False
        self.request = asked_again(request)
        self.model = self._models.open(request, self._model_moved)
        self.state = "loading"
        self._model_is(self.model)
        self.say_all()

    def reload_request(self) -> LoadRequest | None:
        """The same weights: apart after a crash, with half the context where it was too much; None: there are none."""
        request, error = self.request, self.model.error if self.model is not None else None
        if request is None:
            return None
        if isinstance(error, EngineCrashed):
            request = replace(request, isolated=True)
        if self._short_of_memory(error):
            request = replace(request, options=replace(request.options, context=self._smaller_context()))
        return request

    def _short_of_memory(self, error: BackendError | None) -> bool:
        return self.state == "failed" and error is not None and failure_about(error) == "memory"

    def stop(self) -> bool:
        """End what the model does here; False: nothing."""
        if self.state == "scoring" and self._stop_work is not None:
            self._stop_work()
            return True
        return False

    def leave(self) -> None:
        """Stop, and give the model back."""
        self.stop()
        if self.model is not None:
            self._models.release(self.model, self._model_moved)
            self.model = None

    def _model_moved(self, model: LoadedModel) -> None:
        # On the model's thread: a message is all that it may do here.
        self.post_from_thread(self.ModelMoved(model))

    def post_from_thread(self, message: Message) -> None:
        """Post from a model's thread, which goes on where the pane is just being taken down."""
        with contextlib.suppress(RuntimeError):  # of a widget that has left the screen, or of a loop that is closed
            self.post_message(message)

    def on_model_pane_model_moved(self, event: ModelMoved) -> None:
        event.stop()
        if event.model is self.model:
            self._model_is(event.model)

    def _model_is(self, model: LoadedModel) -> None:
        if model.state == "loading":
            self._say_notice()
        elif model.state == "ready":
            if self.state in ("loading", "failed", "unloaded", "empty"):
                self.state = "ready"
                self._is_ready()
                then, self._then = self._then, None
                if then is not None:
                    then()
        elif model.state == "failed":
            self.state = "failed"
        else:
            self._was_idle = model.idle
            self.model = None
            self._models.release(model, self._model_moved)
            self.state = "unloaded"
        self.say_all()

    def _is_ready(self) -> None:
        """The model can be talked to from now on."""

    # -- work of the model beside answering

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for a state."""
        if true():
            return
        waiter = (true, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        await waiter[1]

    async def work(self, state: State, job: Callable[[Engine], Result]) -> Result:
        """Do something with the model on its thread while the pane says what.

        Raises:
            BackendError: The model is not there, or failed at it.
        """
        model = self.model
        if model is None or self.engine is None:
            raise EngineError(f"{self.title} is not loaded")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()

        def tell(result: Result | None, error: BackendError | None) -> None:
            if not done.done():
                done.set_exception(error) if error is not None else done.set_result(cast("Result", result))

        stoppable = Stoppable()

        def stop() -> None:
            self.work_stopped = True
            if not stoppable.stop(self.engine):
                tell(None, Cancelled(f"{self.title} was stopped before it began"))

        def run(engine: Engine) -> None:
            result, error = None, None
            try:
                if not stoppable.begin():
                    return
                result = job(engine)
            except BackendError as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001 - a thread's edge: it is shown where it was asked for
                error = EngineError(f"{engine.name} failed", f"{type(failure).__name__}: {failure}")
            stoppable.end()
            with contextlib.suppress(RuntimeError):  # the app is over
                loop.call_soon_threadsafe(tell, result, error)

        self.state = state
        self._stop_work, self.work_stopped = stop, False
        model.submit(run)
        gone = asyncio.ensure_future(self.until(lambda: self.state in ("unloaded", "failed")))
        try:
            await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise EngineError(f"{self.title} was unloaded meanwhile")
            return done.result()
        except EngineCrashed as error:
            model.crashed(error)
            raise
        finally:
            gone.cancel()
            if self._stop_work is stop:
                self._stop_work = None
            if self.state == state:
                self.state = "ready" if self.engine is not None else "unloaded"
