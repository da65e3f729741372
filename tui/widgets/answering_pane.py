"""A pane that lets its model answer: from the prompt to the last token, shown and kept as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from textual.message import Message
from textual.timer import Timer

from backends.conversation import Conversation, Node, conversation, node
from backends.duel import Duel
from backends.engines.engine import Chunk, Engine, Sampling, Stats, Turn
from backends.errors import BackendError, EngineCrashed
from backends.failures import about
from backends.keeper import Keeper
from backends.loaded import LoadedModel, LoadedModels, LoadRequest
from tui.widgets.entry import Entry
from tui.widgets.frame_line import Part
from tui.widgets.generation import BATCH_SECONDS, Generation
from tui.widgets.model_pane import ModelPane
from tui.widgets.pane_words import CONTEXT_FULL, context_words, note_of, state_words
from tui.widgets.passage import Passage, tokens_of

PULSE_SECONDS = 0.25
GROWTH_SECONDS = 1.0
"""How often a growing answer is counted behind the prompt, whose picture costs more than the foot's."""
LEFT_OUT = "left out of the context"
ALTERNATIVES = 5
"""Alternatives that a completion pane asks for at each token."""


class AnsweringPane(ModelPane):
    """Holds a conversation with its model."""

    class Arrived(Message):
        """Text lies in a generation's mailbox. Posted from the engine's thread."""

        def __init__(self, generation: Generation) -> None:
            super().__init__()
            self.generation = generation

    class Answered(Message, namespace="chat_pane"):
        """An answer is over, well or not."""

        def __init__(self, pane: AnsweringPane, node_id: str) -> None:
            super().__init__()
            self.pane = pane
            self.node_id = node_id

        @property
        def control(self) -> AnsweringPane:
            return self.pane

    class Grew(Message, namespace="chat_pane"):
        """The answer takes more of the context than it did; now and then while it comes."""

        def __init__(self, pane: AnsweringPane) -> None:
            super().__init__()
            self.pane = pane

        @property
        def control(self) -> AnsweringPane:
            return self.pane

    def __init__(self, models: LoadedModels, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(models, id=id)
        self.conversation: Conversation = conversation()
        self.sampling = Sampling()
        self.keeper = Keeper()
        """Keeps what is said."""
        self.generation: Generation | None = None
        self.context_used: int | None = None
        """Tokens of the conversation so far; None: not counted."""
        self.duel: Duel | None = None
        """The comparison that stands here instead of the conversation; None: the conversation does."""
        self._entry: Entry | None = None
        self._taken_at = 0.0
        self._grew_at = 0.0
        self._take_timer: Timer | None = None
        self._pulse: Timer | None = None
        self._last: Generation | None = None

    @property
    def completes(self) -> bool:
        return self.conversation.kind == "completion"

    @property
    def last_stats(self) -> Stats | None:
        """What the latest answer took; None: there was none, or it did not end well."""
        return self._last.stats if self._last is not None else None

    def _foot_words(self) -> tuple[list[Part], list[Part]]:
        generation = self.generation or self._last
        left = state_words(self.state, generation, running=self.generation is not None, duel=self.duel)
        context = self.context
        if context is None or self.duel is not None or self.state in ("empty", "loading", "failed"):
            return left, []
        return left, context_words(self.context_used or 0, context)

    def load(self, request: LoadRequest) -> None:
        """Take this model instead of the one there was; the conversation stays."""
        kind: Literal["chat", "completion"] = "chat" if request.weights.chats else "completion"
        self._end_now()
        if not self.conversation.nodes:
            self.conversation = replace(self.conversation, kind=kind)
        self.conversation = replace(self.conversation, model=request.key)
        super().load(request)

    def leave(self) -> None:
        self._end_now()
        super().leave()

    def _short_of_memory(self, error: BackendError | None) -> bool:
        last = self.conversation.path()[-1:]
        return super()._short_of_memory(error) or any(about(turn.error) == "memory" for turn in last if turn.error)

    def _model_is(self, model: LoadedModel) -> None:
        if model.state in ("closed", "failed"):
            # It waited its turn behind another pane's answer, and the model gives no more turns.
            self._end_now()
        super()._model_is(model)

    # -- the conversation as it is shown

    def _show_path(self) -> None:
        self.duel = None
        path = self.conversation.path()
        if self.completes:
            passage = Passage()
            for n in path:
                passage.add_turn(n)
            if path:
                passage.note, passage.warning = self._note_of(path[-1])
            self.transcript.show([passage])
        else:
            places = self.conversation.places()
            self.transcript.show(self._entry_of(n, places) for n in path)
        self.say_all()

    def _note_of(self, turn: Node) -> tuple[str, bool]:
        """What to say below the last turn; of a text that is continued, which of its branches stands there too."""
        note, warning = note_of(turn)
        if self.completes:
            places = self.conversation.places()
            at, of = next((places[n.id] for n in reversed(self.conversation.path()) if places[n.id][1] > 1), (1, 1))
            if of > 1:
                branch = f"branch {at} of {of} · tab, then [ ] walk them"
                note = f"{note}\n{branch}" if note else branch
        return note, warning

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
        note, warning = note_of(turn)
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

    def answer(self) -> None:
        """Let the model answer what stands there, as a new turn."""
        new = node("assistant", "", self.conversation.leaf, model=self.request.key if self.request else "")
        self.conversation = self.conversation.append(new)
        self.keeper.said(self.conversation, new)
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

    # -- an answer

    def _end_now(self) -> None:
        self.stop()
        if self.generation is not None:
            self._take(self.generation)
            self._finish(self.generation)

    def stop(self) -> bool:
        """End the answer; what came is kept. False: there was none."""
        if super().stop():
            return True
        generation = self.generation
        if generation is None or generation.done:
            return False
        if not generation.stop(self.model.engine if self.model is not None else None):
            # Its turn may come much later, behind another pane's answer; then it ends before it begins.
            self._finish(generation)
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
            self.post_from_thread(self.Arrived(generation))

        generation = Generation(node_id, wake)
        self.generation = self._last = generation

        def ask(engine: Engine) -> Iterator[Chunk]:
            return engine.complete(text, sampling) if completes else engine.stream(turns, sampling)

        def count(engine: Engine) -> int:
            return engine.count_tokens(text) if completes else engine.prompt_tokens(turns)

        self.state = "waiting" if model.busy and model.users > 1 else "reading"
        model.submit(lambda engine: generation.run(engine, ask, count))
        if self._pulse is None:
            self._pulse = self.set_interval(PULSE_SECONDS, self._beat)

    def _beat(self) -> None:
        self._say_foot()
        now = time.monotonic()
        if now - self._grew_at >= GROWTH_SECONDS:
            self._grew_at = now
            self.post_message(self.Grew(self))

    def on_answering_pane_arrived(self, event: Arrived) -> None:
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
        chunks, done = generation.take()
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
            self.keeper.arrived(self.conversation, generation.node_id, entry)
        if generation.running and not self._gone:
            self.state = "answering" if generation.tokens else "reading"
        if done:
            self._finish(generation)

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
        reason: str = (
            stats.stop_reason if stats is not None else "error" if generation.error is not None else "cancelled"
        )
        if reason == "length" and stats is not None and self._is_full(stats):
            reason = CONTEXT_FULL
        old = self.conversation.node(generation.node_id)
        finished = replace(
            old,
            text=entry.answer_text(generation.node_id),
            reasoning=entry.reasoning,
            spots=entry.spots(generation.node_id),
            reasoning_tokens=entry.reasoning_tokens,
            decoded_tokens=(old.decoded_tokens or 0)
            + (stats.decoded_tokens if stats is not None else generation.tokens),
            tokens_per_second=generation.tokens_per_second,
            first_seconds=generation.first_seconds,
            stop_reason=reason,
            error=str(generation.error) if generation.error is not None else "",
        )
        self.conversation = self.conversation.with_node(finished)
        self.keeper.finished(self.conversation, finished)
        entry.note, entry.warning = self._note_of(finished)
        entry.finish()
        if stats is not None and stats.prompt_tokens is not None:
            self.context_used = stats.prompt_tokens + stats.decoded_tokens
        if isinstance(generation.error, EngineCrashed) and self.model is not None:
            self.model.crashed(generation.error)
        self._is_finished()
        if not self._gone:
            self.transcript.changed(entry)
            self.state = "ready" if self.engine is not None else self.state
            self.say_all()
            self.post_message(self.Answered(self, generation.node_id))

    def _is_full(self, stats: Stats) -> bool:
        """Whether an answer ended where the context does, and not at a limit of its own."""
        context = self.context
        return (
            context is not None
            and stats.prompt_tokens is not None
            and stats.prompt_tokens + stats.decoded_tokens >= context
        )

    def _is_finished(self) -> None:
        """An answer ended: what it took is known."""
