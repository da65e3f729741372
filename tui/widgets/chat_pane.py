"""A pane: one model, one conversation, and what both are doing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, TypeVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import Static

from backends.budget import Budget, count_budget
from backends.conversation import Conversation, Node, conversation, node
from backends.duel import Duel
from backends.engines.engine import Chunk, Engine, Sampling, Stats, Turn
from backends.errors import BackendError, EngineCrashed, EngineError
from backends.history import History
from backends.loaded import LoadedModel, LoadedModels, LoadRequest
from specs.text import printable
from tui import units
from tui.glyphs import bar, glyphs
from tui.widgets.duel_entry import duel_passage, spot_words
from tui.widgets.entry import Entry
from tui.widgets.frame_line import FrameLine, Part
from tui.widgets.generation import BATCH_SECONDS, Generation
from tui.widgets.passage import Passage, share, tokens_of
from tui.widgets.prompt import Draft
from tui.widgets.transcript import Transcript

Result = TypeVar("Result")
State = Literal[
    "empty", "loading", "ready", "waiting", "reading", "answering", "summarising", "scoring", "failed", "unloaded"
]
WORDS: dict[State, str] = {
    "empty": "no model",
    "loading": "loading",
    "ready": "ready",
    "waiting": "waits for the other pane",
    "reading": "reading the prompt",
    "answering": "answering",
    "summarising": "summarising what was said",
    "scoring": "scoring the answer",
    "failed": "failed",
    "unloaded": "unloaded",
}
BUSY = ("waiting", "reading", "answering", "summarising", "scoring")
SMALLEST_CONTEXT = 512
DRAFT_SECONDS = 0.3
"""How long the typing rests before the draft is counted."""
COUNTED_AT_ONCE = 40_000
"""Characters of a prompt that are counted while the user waits; longer ones are guessed."""
LEFT_OUT = "left out of the context"
SUMMARY_WISH = "Summarise what was said so far in at most 150 words, so that the conversation can go on from it."
SUMMARY_HEAD = "What was said before, in short:"
ALTERNATIVES = 5
"""Alternatives that a completion pane asks for at each token."""
REASONS = {
    "cancelled": "stopped",
    "length": "cut at the token limit · ctrl+g goes on",
    "error": "the engine ended here",
}


class ChatPane(Vertical):
    """Talks to one model."""

    BLANK = True

    state: reactive[State] = reactive[State]("empty")
    active: reactive[bool] = reactive(False)
    """Whether the prompt goes here."""

    class ModelMoved(Message):
        """The model's loading moved on. Posted from its thread."""

        def __init__(self, model: LoadedModel) -> None:
            super().__init__()
            self.model = model

    class Arrived(Message):
        """Text lies in a generation's mailbox. Posted from the engine's thread."""

        def __init__(self, generation: Generation) -> None:
            super().__init__()
            self.generation = generation

    class Changed(Message):
        """The conversation, the state or the model is another one."""

        def __init__(self, pane: ChatPane) -> None:
            super().__init__()
            self.pane = pane

        @property
        def control(self) -> ChatPane:
            return self.pane

    class Answered(Message):
        """An answer is over, well or not."""

        def __init__(self, pane: ChatPane, node_id: str) -> None:
            super().__init__()
            self.pane = pane
            self.node_id = node_id

        @property
        def control(self) -> ChatPane:
            return self.pane

    DEFAULT_CSS = """
    ChatPane {
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
        self.conversation: Conversation = conversation()
        self.sampling = Sampling()
        self.draft = Draft()
        """What stood in the prompt when another pane took it."""
        self.generation: Generation | None = None
        self.context_used: int | None = None
        """Tokens of the conversation so far; None: not counted."""
        self.transcript = Transcript()
        """The turns."""
        self._head = FrameLine("╭╮", id="head")
        self._notice = Static(id="notice")
        self._foot = FrameLine("╰╯", id="foot")
        self.history: History | None = None
        """Where the conversation is kept; None: nowhere."""
        self.budget: Budget | None = None
        """Tokens as they were counted last."""
        self._draft_timer: Timer | None = None
        self.trouble = ""
        """What keeps the history from being written."""
        self._kept = ("", 0, 0)
        self._gone = False
        self._entry: Entry | None = None
        self._taken_at = 0.0
        self._take_timer: Timer | None = None
        self._pulse: Timer | None = None
        self._last: Generation | None = None
        self._then: Callable[[], None] | None = None
        self.duel: Duel | None = None
        """The comparison that stands here instead of the conversation; None: the conversation does."""
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
        return self.conversation.kind == "completion"

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
        parts: list[Part] = [(self.title, "text")]
        if self.request is not None:
            engine = self.model.engine if self.model is not None else None
            where = engine.where if engine is not None else self.request.where
            parts += [(" · ", "muted"), (self.request.engine, "muted")]
            if where:
                parts += [(" · ", "muted"), (where, "muted")]
            if self.completes:
                parts += [(" · completion", "accent")]
        self._head.say(parts)

    def _say_foot(self) -> None:
        generation = self.generation or self._last
        parts: list[Part] = []
        style = {"failed": "error", "answering": "accent", "reading": "accent", "waiting": "accent"}.get(
            self.state, "muted"
        )
        speed = generation.tokens_per_second if generation is not None else None
        if self.state != "ready" or speed is None:
            parts.append((WORDS[self.state], style))
        if self.generation is not None and self.generation.thinking:
            parts[-1:] = [("thinking", "accent")]
        if speed is not None:
            parts += [(" · ", "muted")] if parts else []
            parts.append((units.tokens_per_second(speed), "text"))
        if generation is not None and generation.first_seconds is not None:
            parts.append((f" · first {generation.first_seconds:.2f} s", "muted"))
        if self.duel is not None and self.state != "scoring":
            parts = [(self.duel.words, "text")]
        right: list[Part] = []
        context = self.context
        if context is not None and self.duel is None and self.state not in ("empty", "loading", "failed"):
            used = self.context_used
            share = (used or 0) / context
            full = "error" if share >= 1 else "warning" if share >= 0.85 else "muted"
            signs = glyphs()
            right.append((f"{units.count(used or 0)} of {units.count(context)} ", full))
            right.append((f"{signs.bar_start}{bar(share, 8, signs)}{signs.bar_end}", full))
        self._foot.say(parts, right)

    def _say_notice(self) -> None:
        notice = self._notice
        text = ""
        if self.state == "loading" and self.model is not None:
            signs = glyphs()
            filled = bar(self.model.share, 24, signs)
            doing = printable(self.model.doing) or f"loading {self.title}"
            text = f"{doing}  {signs.bar_start}{filled}{signs.bar_end} {self.model.share * 100:.0f} %"
        elif self.state == "failed" and self.model is not None and self.model.error is not None:
            what = printable(str(self.model.error))
            apart = " in a process of its own" if isinstance(self.model.error, EngineCrashed) else ""
            text = f"{what}\nctrl+l loads it again{apart}{self._smaller_words()} · f5 chooses another model"
        elif self.state == "unloaded":
            text = "This model was unloaded. ctrl+l loads it again; the conversation stays."
        elif self.duel is not None and (spot := spot_words(self.passage)):
            text = spot
        elif alternatives := self._alternatives_text():
            text = f"instead of this token, a digit goes on from:   {alternatives}"
        elif self.model is not None and self.model.engine is not None and self.model.engine.template_note:
            text = printable(self.model.engine.template_note)
        if self.trouble:
            text = f"{text}\n{printable(self.trouble)}" if text else printable(self.trouble)
        notice.update(Content(text))
        notice.set_class(bool(text), "-some")
        notice.set_class(self.state == "failed", "-error")

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
    def last_stats(self) -> Stats | None:
        """What the latest answer took; None: there was none, or it did not end well."""
        return self._last.stats if self._last is not None else None

    @property
    def context(self) -> int | None:
        """Tokens that the conversation may have; None: no model."""
        if self.engine is not None:
            return self.engine.context
        return self.request.options.context if self.request is not None else None

    def load(self, request: LoadRequest) -> None:
        """Take this model instead of the one there was; the conversation stays."""
        self.leave()
        self.request = request
        kind: Literal["chat", "completion"] = "chat" if request.weights.chats else "completion"
        if not self.conversation.nodes:
            self.conversation = replace(self.conversation, kind=kind)
        self.conversation = replace(self.conversation, model=request.key)
        self.model = self._models.open(request, self._model_moved)
        self.state = "loading"
        self._model_is(self.model)
        self.say_all()

    def reload_request(self, *, smaller: bool) -> LoadRequest | None:
        """The same weights: apart after a crash, with half the context where it was too much; None: there are none."""
        request = self.request
        if request is not None and self.model is not None and isinstance(self.model.error, EngineCrashed):
            request = replace(request, isolated=True)
        if request is None or not smaller:
            return request
        return replace(request, options=replace(request.options, context=self._smaller_context()))

    def leave(self) -> None:
        """Stop, and give the model back."""
        self.stop()
        if self.generation is not None:
            self._take(self.generation)
            self._finish(self.generation)
        if self.model is not None:
            self._models.release(self.model, self._model_moved)
            self.model = None

    def _model_moved(self, model: LoadedModel) -> None:
        # On the model's thread: a message is all that it may do here.
        self.post_message(self.ModelMoved(model))

    def on_chat_pane_model_moved(self, event: ModelMoved) -> None:
        event.stop()
        if event.model is self.model:
            self._model_is(event.model)

    def _model_is(self, model: LoadedModel) -> None:
        if model.state == "loading":
            self._say_notice()
        elif model.state == "ready":
            if self.state in ("loading", "failed", "unloaded", "empty"):
                self.state = "ready"
                self._count_context()
                then, self._then = self._then, None
                if then is not None:
                    then()
        elif model.state == "failed":
            self.state = "failed"
        else:
            self.model = None
            self._models.release(model, self._model_moved)
            self.state = "unloaded"
        self.say_all()

    # -- the conversation

    def open(self, chosen: Conversation) -> None:
        """Show another conversation."""
        self.stop()
        if self.generation is not None:
            self._finish(self.generation)
        self.conversation = chosen
        self._last = None
        self._show_path()
        self._count_context()
        self.post_message(self.Changed(self))

    def tell(self, system: str, sampling: Sampling) -> None:
        """From the next answer on, with this system prompt and sampling."""
        self.sampling = sampling
        self.conversation = replace(self.conversation, system=system)
        self.keep()
        self._count_context()
        self.say_all()

    def _show_path(self) -> None:
        self.duel = None
        path = self.conversation.path()
        if self.completes:
            passage = Passage()
            for n in path:
                passage.add(n.id, n.text, generated=n.role == "assistant")
            if path:
                passage.note, passage.warning = _note(path[-1])
            self.transcript.show([passage])
        else:
            places = self.conversation.places()
            self.transcript.show(self._entry_of(n, places) for n in path)
        self.say_all()

    @property
    def passage(self) -> Passage:
        """The text of a completion pane."""
        entries = self.transcript.entries
        if self.duel is None and (not entries or not isinstance(entries[0], Passage)):
            self.transcript.show([Passage()])
        found = self.transcript.entries[-1 if self.duel is not None else 0]
        assert isinstance(found, Passage)
        return found

    def _entry_of(self, turn: Node, places: dict[str, tuple[int, int]]) -> Entry:
        at, of = places.get(turn.id, (1, 1))
        note, warning = _note(turn)
        if turn.id in self.conversation.dropped:
            note = f"{note} · {LEFT_OUT}" if note else LEFT_OUT
        return Entry(
            turn.id,
            turn.role,
            turn.text,
            reasoning=turn.reasoning,
            reasoning_tokens=turn.reasoning_tokens,
            note=note,
            warning=warning,
            branch=f"{at} of {of}" if of > 1 else "",
        )

    def send(self, text: str) -> bool:
        """A turn of the user, and the answer to it; False: not now."""
        if self.engine is None or self.state == "scoring" or (not text.strip() and not self.completes):
            return False
        if self.duel is not None:
            self._show_path()
        self.stop()
        if self.generation is not None:
            self._take(self.generation)
            self._finish(self.generation)
        if text:
            new = node("user", text, self.conversation.leaf)
            self.conversation = self.conversation.append(new)
            if self.completes:
                self.passage.note = ""
                self.passage.add(new.id, text, generated=False)
                self.transcript.changed(self.passage)
            else:
                self.transcript.add(self._entry_of(new, {}))
            self.said(new)
        self.transcript.following = True
        self.answer()
        return True

    def send_when_ready(self, text: str) -> bool:
        """Send it when the model has loaded; False: another prompt waits already."""
        if self._then is not None:
            return False
        self._then = lambda: (self.send(text), None)[1]
        return True

    def answer(self) -> None:
        """Let the model answer what stands there, as a new turn."""
        new = node("assistant", "", self.conversation.leaf, model=self.request.key if self.request else "")
        self.conversation = self.conversation.append(new)
        self.said(new)
        entry = self._open_entry(new)
        self._generate(new.id, entry, self.conversation.turns(new.parent) if new.parent else ())

    def _open_entry(self, turn: Node) -> Entry:
        """The entry that this turn's text is written to, standing last."""
        if self.completes:
            self.passage.note = ""
            self.passage.begin(turn.id)
            return self.passage
        entry = self._entry_of(turn, self.conversation.places())
        self.transcript.add(entry)
        return entry

    def again(self) -> bool:
        """Another answer to the last prompt, on a branch of its own."""
        path = self.conversation.path()
        if not path or self.engine is None:
            return False
        self._end_now()
        path = self.conversation.path()
        last = path[-1]
        if last.role == "assistant":
            if last.parent is None and not self.completes:
                return False
            self.conversation = self.conversation.standing_at(last.parent)
            self._show_path()
        self.transcript.following = True
        self.answer()
        return True

    def go_on(self) -> bool:
        """Continue the last answer where it ended."""
        if self.engine is None or self.generation is not None or not self.conversation.path():
            return False
        last = self.conversation.path()[-1]
        if last.role != "assistant":
            self.answer()
            return True
        fresh = replace(last, stop_reason=None, error="")
        self.conversation = self.conversation.with_node(fresh)
        if self.completes:
            entry: Entry = self.passage
            self.passage.note = ""
            self.passage.begin(fresh.id)
        else:
            before = self.transcript.entries[-2] if len(self.transcript.entries) > 1 else None
            self.transcript.remove_after(before)
            # Its text goes on growing, so the entry must take it as a stream.
            at, of = self.conversation.place(fresh.id)
            entry = Entry(fresh.id, "assistant", branch=f"{at} of {of}" if of > 1 else "")
            if fresh.reasoning:
                entry.append(fresh.reasoning, reasoning=True, tokens=fresh.reasoning_tokens)
            if fresh.text:
                entry.append(fresh.text)
            self.transcript.add(entry)
        self._generate(fresh.id, entry, self.conversation.turns())
        return True

    def edit(self, node_id: str, text: str) -> None:
        """Another text for a turn, on a branch of its own; a user's turn is answered."""
        self._end_now()
        role = self.conversation.node(node_id).role
        self.conversation = self.conversation.edit(node_id, text)
        self.said(self.conversation.path()[-1])
        self._show_path()
        if role == "user" and self.engine is not None:
            self.answer()
        else:
            self.post_message(self.Changed(self))

    def walk(self, node_id: str, step: int) -> bool:
        """To the branch beside the one that is shown; False: there is none."""
        self._end_now()
        moved = self.conversation.walk(node_id, step)
        if moved is self.conversation:
            return False
        at = self.transcript.cursor
        self.conversation = moved
        self.keep()
        self._show_path()
        if at is not None and at < len(self.transcript.entries):
            self.transcript.cursor = at
        self._count_context()
        self.post_message(self.Changed(self))
        return True

    def delete(self, node_id: str) -> None:
        """Without this turn and all that follows it."""
        self._end_now()
        before = self.conversation
        self.conversation = before.delete(node_id)
        if self.history is not None:
            kept = {n.id for n in self.conversation.nodes}
            self.history.delete_nodes([n.id for n in before.nodes if n.id not in kept])
            self.keep()
        self._show_path()
        self._count_context()
        self.post_message(self.Changed(self))

    # -- what else could have stood there

    def on_transcript_wished(self, event: Transcript.Wished) -> None:
        """In a completion pane the cursor walks over tokens; everything else goes up to the screen."""
        if not self.completes and self.duel is None:
            return
        if event.what in ("previous", "next"):
            event.stop()
            self.passage.move_spot(-1 if event.what == "previous" else 1)
            self.transcript.changed(self.passage)
            line = self.passage.spot_line()
            if line is not None:
                self.transcript.show_line(self.passage, line)
            self._say_notice()
        elif self.duel is not None:
            event.stop()
        elif event.what.isdecimal():
            event.stop()
            self.choose_alternative(int(event.what))

    def choose_alternative(self, number: int) -> bool:
        """Go on from another token at the cursor, on a branch of its own; False: there is none."""
        passage = self.passage
        part = passage.parts[passage.spot] if passage.spot is not None else None
        if part is None or not 1 <= number <= len(part.alternatives) or self.engine is None:
            return False
        self._end_now()
        old = self.conversation.node(part.node_id)
        text = old.text[: part.offset] + part.alternatives[number - 1].text
        new = node("assistant", text, old.parent, model=old.model)
        self.conversation = self.conversation.append(new)
        self.said(new)
        self._show_path()
        self.transcript.following = True
        return self.go_on()

    def _alternatives_text(self) -> str:
        if not self.completes or self.duel is not None or not self.transcript.entries:
            return ""
        passage = self.passage
        if passage.spot is None:
            return ""
        part = passage.parts[passage.spot]
        choices = [
            f"{n} {printable(repr(a.text)[1:-1]) or '(end)'} {share(a) * 100:.0f} %"
            for n, a in enumerate(part.alternatives, 1)
        ]
        return "   ".join(choices)

    # -- a duel

    def answer_to_score(self) -> tuple[tuple[Turn, ...] | str, str] | None:
        """The last answer and what it answers; None: there is none, or its thinking stands between the two."""
        path = self.conversation.path()
        if not path or path[-1].role != "assistant" or not path[-1].text or path[-1].reasoning:
            return None
        turns = self.conversation.turns(path[-1].parent) if path[-1].parent is not None else ()
        if self.completes:
            return "".join(turn.text for turn in turns), path[-1].text
        return turns, path[-1].text

    def show_duel(self, made: Duel, asked: str) -> None:
        """Show another pane's answer with the places marked where this model would have gone on otherwise."""
        self.transcript.show([Entry("asked", "user", asked), duel_passage(made)])
        self.duel = made
        self.say_all()

    def leave_duel(self) -> bool:
        """Show the conversation again; False: it stands there."""
        if self.duel is None:
            return False
        self._show_path()
        return True

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

        def run(engine: Engine) -> None:
            result, error = None, None
            try:
                result = job(engine)
            except BackendError as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001 - a thread's edge: it is shown where it was asked for
                error = EngineError(f"{engine.name} failed", f"{type(failure).__name__}: {failure}")
            with contextlib.suppress(RuntimeError):  # the app is over
                loop.call_soon_threadsafe(tell, result, error)

        self.state = state
        model.submit(run)
        gone = asyncio.ensure_future(self.until(lambda: self.state in ("unloaded", "failed")))
        try:
            await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise EngineError(f"{self.title} was unloaded meanwhile")
            return done.result()
        finally:
            gone.cancel()
            if self.state == state:
                self.state = "ready" if self.engine is not None else "unloaded"

    # -- an answer

    def _end_now(self) -> None:
        self.stop()
        if self.generation is not None:
            self._take(self.generation)
            self._finish(self.generation)

    def stop(self) -> bool:
        """End the answer; what came is kept. False: there was none."""
        if self.state == "scoring" and self.engine is not None:
            self.engine.stop()
            return True
        if self.generation is None or self.generation.done:
            return False
        self.generation.stop()
        if self.model is not None and self.model.engine is not None and self.generation.running:
            self.model.engine.stop()
        return True

    def _generate(self, node_id: str, entry: Entry, turns: tuple[Turn, ...]) -> None:
        model = self.model
        if model is None:
            return
        sampling = self.sampling
        if self.completes and not sampling.logprobs:
            sampling = replace(sampling, logprobs=ALTERNATIVES)
        text = "".join(turn.text for turn in turns if turn.role != "system")
        completes = self.completes
        entry.streaming = True
        entry.height = None
        self._entry = entry
        generation: Generation

        def wake() -> None:
            self.post_message(self.Arrived(generation))

        generation = Generation(node_id, wake)
        self.generation = self._last = generation

        def ask(engine: Engine) -> Iterator[Chunk]:
            return engine.complete(text, sampling) if completes else engine.stream(turns, sampling)

        def count(engine: Engine) -> int:
            return engine.count_tokens(text) if completes else engine.prompt_tokens(turns)

        self.state = "waiting" if model.busy else "reading"
        model.submit(lambda engine: generation.run(engine, ask, count))
        if self._pulse is None:
            self._pulse = self.set_interval(0.25, self._say_foot)

    def on_chat_pane_arrived(self, event: Arrived) -> None:
        event.stop()
        generation = event.generation
        if generation is not self.generation:
            generation.take()
            return
        # The wait grows with what drawing costs, so that a slow machine's keys stay quick.
        wait = max(BATCH_SECONDS, 6 * self.transcript.draw_seconds) - (time.monotonic() - self._taken_at)
        if wait <= 0 or generation.done:
            self._take(generation)
        elif self._take_timer is None:
            self._take_timer = self.set_timer(wait, lambda: self._take(generation))

    def _take(self, generation: Generation) -> None:
        if self._take_timer is not None:
            self._take_timer.stop()
            self._take_timer = None
        if generation is not self.generation or self._entry is None:
            return
        self._taken_at = time.monotonic()
        done = generation.done
        chunks = generation.take()
        entry = self._entry
        text, reasoning, shown = "", "", False
        for chunk in chunks:
            if chunk.reasoning_so_far:
                entry.all_was_thinking(text)
                text = ""
            if chunk.reasoning:
                reasoning += chunk.text
                entry.append(chunk.text, reasoning=True, tokens=chunk.tokens)
            elif chunk.text and isinstance(entry, Passage):
                entry.append_spots(tokens_of(chunk.text, chunk.alternatives))
                shown = True
            elif chunk.text:
                text += chunk.text
            if chunk.text:
                generation.thinking = chunk.reasoning
        if text:
            entry.append(text)
        if generation.prompt_tokens is not None:
            self.context_used = generation.prompt_tokens + generation.tokens
        if text or reasoning or shown:
            if not self._gone:
                self.transcript.changed(entry)
            self.arrived(generation.node_id, entry)
        if generation.running and not self._gone:
            self.state = "answering" if generation.tokens else "reading"
        if done:
            self._finish(generation)

    def said(self, turn: Node) -> None:
        """A turn began: the history keeps it, and what was typed for it is no draft any more."""
        if self.history is not None:
            if turn.role == "user":
                self.history.save_draft("", "")
                self.history.save_draft(self.conversation.id, "")
            self.history.save(self.conversation)
            self.history.save_node(self.conversation.id, turn)

    def arrived(self, node_id: str, entry: Entry) -> None:
        """Text was shown: the history keeps what is new of it."""
        if self.history is None:
            return
        name, text_kept, reasoning_kept = self._kept
        text, reasoning = entry.answer_text(node_id), entry.reasoning
        if name != node_id:
            old = self.conversation.node(node_id)
            text_kept, reasoning_kept = len(old.text), len(old.reasoning)
        if len(text) < text_kept or len(reasoning) < reasoning_kept:
            moved = replace(self.conversation.node(node_id), text=text, reasoning=reasoning)
            self.history.save_node(self.conversation.id, moved)
        else:
            self.history.append(node_id, text[text_kept:], reasoning[reasoning_kept:])
        self._kept = (node_id, len(text), len(reasoning))

    def keep(self) -> None:
        """The conversation stands elsewhere, or is called otherwise: the history keeps that."""
        if self.history is not None and self.conversation.nodes:
            self.history.save(self.conversation)

    def _finish(self, generation: Generation) -> None:
        entry = self._entry
        self.generation, self._entry = None, None
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None
        if entry is None:
            return
        generation.thinking = False
        stats = generation.stats
        reason = stats.stop_reason if stats is not None else "error" if generation.error is not None else "cancelled"
        old = self.conversation.node(generation.node_id)
        finished = replace(
            old,
            text=entry.answer_text(generation.node_id),
            reasoning=entry.reasoning,
            reasoning_tokens=entry.reasoning_tokens,
            decoded_tokens=(old.decoded_tokens or 0)
            + (stats.decoded_tokens if stats is not None else generation.tokens),
            tokens_per_second=generation.tokens_per_second,
            first_seconds=generation.first_seconds,
            stop_reason=reason,
            error=str(generation.error) if generation.error is not None else "",
        )
        self.conversation = self.conversation.with_node(finished)
        if self.history is not None:
            self.history.save_node(self.conversation.id, finished)
            self.history.save(self.conversation)
            self._kept = ("", 0, 0)
        entry.note, entry.warning = _note(finished)
        entry.finish()
        if stats is not None:
            if stats.prompt_tokens is not None:
                self.context_used = stats.prompt_tokens + stats.decoded_tokens
            if self.budget is not None and self.context_used is not None:
                self.budget = replace(self.budget, history=self.context_used - self.budget.system, draft=0)
        if isinstance(generation.error, EngineCrashed) and self.model is not None:
            self.model.crashed(generation.error)
        if not self._gone:
            self.transcript.changed(entry)
            self.state = "ready" if self.engine is not None else self.state
            self.say_all()
            self.post_message(self.Answered(self, generation.node_id))

    # -- the context budget

    def _count_context(self) -> None:
        """Count what the conversation takes and what the draft would add, on the model's thread."""
        model, turns, completes = self.model, self.conversation.turns(), self.completes
        if model is None or self.engine is None:
            return
        draft = self.draft.whole
        system = self.conversation.system if not completes else ""

        def job(engine: Engine) -> None:
            try:
                self.post_message(self.Counted(count_budget(engine, turns, system, draft, completes=completes)))
            except Exception:  # noqa: BLE001 - without a count the foot shows the last one
                return

        model.submit(job)

    class Counted(Message):
        """Tokens of the conversation were counted. Posted from the model's thread."""

        def __init__(self, budget: Budget) -> None:
            super().__init__()
            self.budget = budget

    def on_chat_pane_counted(self, event: Counted) -> None:
        event.stop()
        if self.generation is None:
            self.budget = event.budget
            self.context_used = event.budget.system + event.budget.history
            self._say_foot()
            self.post_message(self.Changed(self))

    def draft_changed(self) -> None:
        """Count the draft once the typing rests."""
        if self._draft_timer is not None:
            self._draft_timer.stop()
        counts = self.generation is None
        self._draft_timer = self.set_timer(DRAFT_SECONDS, lambda: self._draft_rests(counts=counts))

    def _draft_rests(self, *, counts: bool) -> None:
        if self.history is not None:
            self.history.save_draft(self.conversation.id if self.conversation.nodes else "", self.draft.text)
        if counts and self.generation is None:
            self._count_context()

    def measure(self, text: str) -> Budget | None:
        """The budget if this were sent now, counted at once; None: no model. Guessed where the engine is busy."""
        engine = self.engine
        context = self.context
        if engine is None or context is None:
            return None
        known = self.budget
        if self.generation is not None or len(text) > COUNTED_AT_ONCE:
            used = self.context_used or 0
            return Budget(0, used, len(text) // 4, context)
        if known is not None and not text.strip():
            return replace(known, draft=0)
        try:
            system = "" if self.completes else self.conversation.system
            return count_budget(engine, self.conversation.turns(), system, text, completes=self.completes)
        except Exception:  # noqa: BLE001 - the engine will say it when it is asked to answer
            return None

    def oldest_to_drop(self, tokens: int) -> tuple[str, ...]:
        """The oldest turns that together hold about so many tokens, never half of a question and its answer."""
        dropped = set(self.conversation.dropped)
        path = [n for n in self.conversation.path() if n.id not in dropped]
        characters = sum(len(n.text) + 16 for n in path) or 1
        held = (self.budget.history if self.budget is not None else 0) or characters // 4 or 1
        found: list[str] = []
        freed = 0.0
        for n in path:
            if freed >= tokens * 1.1 and n.role == "user":
                break
            found.append(n.id)
            freed += (len(n.text) + 16) / characters * held
        return tuple(found)

    def drop(self, node_ids: tuple[str, ...]) -> None:
        """Leave turns out of the context; they stay on the screen, and say so."""
        self.conversation = replace(self.conversation, dropped=(*self.conversation.dropped, *node_ids))
        self.keep()
        self._show_path()
        self._count_context()

    class Summarised(Message):
        """Turns were put into fewer words. Posted from the model's thread."""

        def __init__(self, node_ids: tuple[str, ...], text: str, error: str) -> None:
            super().__init__()
            self.node_ids = node_ids
            self.text = text
            self.error = error

    def summarise(self, node_ids: tuple[str, ...], then: Callable[[], None]) -> None:
        """Let the model put these turns into few words that stand in the system prompt instead of them."""
        model = self.model
        if model is None:
            return
        chosen = set(node_ids)
        turns = [Turn(n.role, n.text) for n in self.conversation.path() if n.id in chosen]
        if turns and turns[-1].role == "user":
            turns[-1] = Turn("user", f"{turns[-1].text}\n\n{SUMMARY_WISH}")
        else:
            turns.append(Turn("user", SUMMARY_WISH))
        sampling = Sampling(max_tokens=max(64, (self.context or 1024) // 8), temperature=0.0, thinking=False)
        self._then = then
        self.state = "summarising"

        def job(engine: Engine) -> None:
            text, error = "", ""
            try:
                text = "".join(chunk.text for chunk in engine.stream(turns, sampling) if not chunk.reasoning)
            except Exception as failure:  # noqa: BLE001 - a thread's edge: it is shown in the pane
                error = str(failure)
            self.post_message(self.Summarised(node_ids, text.strip(), error))

        model.submit(job)

    def on_chat_pane_summarised(self, event: Summarised) -> None:
        event.stop()
        self.state = "ready"
        then, self._then = self._then, None
        if not event.text:
            self.trouble = f"the summary failed: {event.error or 'the model said nothing'}; nothing was left out"
            self.say_all()
            return
        system = f"{self.conversation.system}\n\n{SUMMARY_HEAD}\n{event.text}".strip()
        self.conversation = replace(self.conversation, system=system)
        self.drop(event.node_ids)
        if then is not None:
            then()

    def enlarge(self, context: int, then: Callable[[], None]) -> None:
        """Load the model again with a longer context, and go on then."""
        if self.request is None:
            return
        # Before the load: a model that is ready at once must find it.
        self._then = then
        self.load(replace(self.request, options=replace(self.request.options, context=context)))


def _note(turn: Node) -> tuple[str, bool]:
    """What to say below a turn, and whether it is a warning."""
    if turn.role != "assistant":
        return "", False
    if turn.error:
        return f"{turn.error}\nwhat came is kept · ctrl+r tries again · ctrl+l loads the model smaller", True
    if turn.stop_reason is None:
        return "", False
    return REASONS.get(turn.stop_reason, ""), turn.stop_reason == "length"
