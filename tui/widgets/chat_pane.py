"""A pane: one model, one conversation, and all that a user does with both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from textual.content import Content
from textual.message import Message
from textual.timer import Timer

from backends.budget import Budget, count_budget, oldest_to_drop
from backends.conversation import Conversation, Spot, node
from backends.duel import Duel
from backends.engines.engine import Engine, Sampling, Turn
from backends.errors import EngineCrashed, EngineError
from backends.loaded import LoadedModel, LoadedModels
from backends.stoppable import Stoppable
from specs.text import printable
from tui.widgets.answering_pane import AnsweringPane
from tui.widgets.duel_entry import duel_passage, duel_text, spot_words
from tui.widgets.entry import Entry
from tui.widgets.generation import Generation
from tui.widgets.pane_words import alternatives_words
from tui.widgets.passage import alternatives_rows
from tui.widgets.prompt import Draft
from tui.widgets.transcript import Transcript

DRAFT_SECONDS = 0.3
"""How long the typing rests before the draft is counted."""
COUNTED_AT_ONCE = 40_000
"""Characters of a prompt that are counted while the user waits; longer ones are guessed."""
ROOM_FOR_ROWS = 16
"""Lines of a pane that has room for one alternative below the other."""
SUMMARY_WISH = "Summarise what was said so far in at most 150 words, so that the conversation can go on from it."
SUMMARY_HEAD = "What was said before, in short:"


class ChatPane(AnsweringPane):
    """Talks to one model."""

    class Counted(Message):
        """Tokens of the conversation were counted. Posted from the model's thread."""

        def __init__(self, model: LoadedModel, budget: Budget) -> None:
            super().__init__()
            self.model = model
            self.budget = budget

    class Summarised(Message):
        """Turns were put into fewer words. Posted from the model's thread."""

        def __init__(
            self, model: LoadedModel, work: Stoppable, node_ids: tuple[str, ...], text: str, error: Exception | None
        ) -> None:
            super().__init__()
            self.model = model
            self.work = work
            self.node_ids = node_ids
            self.text = text
            self.error = error

    def __init__(self, models: LoadedModels, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(models, id=id)
        self.draft = Draft()
        """What stood in the prompt when another pane took it."""
        self.budget: Budget | None = None
        """Tokens as they were counted last."""
        self._after_summary: tuple[Callable[[], None], Callable[[], None]] | None = None
        """What follows the summary that is made, and what follows if it fails."""
        self._summary: Stoppable | None = None
        """The summary that is made; None: none is."""
        self._draft_timer: Timer | None = None
        self._draft_counts = False
        """Whether the draft is still to be counted once the typing rests: no more when an answer began meanwhile."""

    def _hint_words(self) -> str | Content:
        if self.duel is not None and (spot := spot_words(self.passage)):
            return spot
        if self.completes and self.duel is None and self.transcript.entries:
            rows = alternatives_rows(self.passage)
            if rows:
                return alternatives_words(rows, tall=self.size.height >= ROOM_FOR_ROWS)
        return super()._hint_words()

    def _is_ready(self) -> None:
        self._count_context()

    def _model_is(self, model: LoadedModel) -> None:
        super()._model_is(model)
        if model.state in ("closed", "failed") and self._summary is not None:
            self._end_summary(self._summary)

    # -- the conversation

    def open(self, chosen: Conversation) -> None:
        """Show another conversation."""
        self._end_now()
        self.conversation = chosen
        self._last = None
        self._show_path()
        self._count_context()
        self.post_message(self.Changed(self))

    def tell(self, system: str, sampling: Sampling) -> None:
        """From the next answer on, with this system prompt and sampling."""
        self.sampling = sampling
        self.conversation = replace(self.conversation, system=system)
        self.keeper.keep(self.conversation)
        self._count_context()
        self.say_all()

    def send(self, text: str) -> bool:
        """A turn of the user, and the answer to it; False: not now."""
        if self.engine is None or self.state in ("scoring", "summarising") or (not text.strip() and not self.completes):
            return False
        if self.duel is not None:
            self._show_path()
        self._end_now()
        if text:
            new = node("user", text, self.conversation.leaf)
            self.conversation = self.conversation.append(new)
            if self.completes:
                self.passage.note = ""
                self.passage.add(new.id, text, generated=False)
                self.transcript.changed(self.passage)
            else:
                self.transcript.add(self._entry_of(new, {}))
            self.keeper.said(self.conversation, new)
        self.transcript.following = True
        self.answer()
        return True

    def send_when_ready(self, text: str) -> bool:
        """Send it when the model has loaded; False: another prompt waits already."""
        if self._then is not None:
            return False
        self._then = lambda: (self.send(text), None)[1]
        return True

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
        self.keeper.said(self.conversation, self.conversation.path()[-1])
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
        self.keeper.keep(self.conversation)
        self._show_path()
        if at is not None and at < len(self.transcript.entries):
            self.transcript.cursor = at
        self._count_context()
        self.post_message(self.Changed(self))
        return True

    def branching(self) -> str | None:
        """The last turn up to the token cursor that has others beside it; None: the text has no branches."""
        path, passage = self.conversation.path(), self.passage
        places = self.conversation.places()
        here = passage.parts[passage.spot].node_id if passage.spot is not None else None
        upto = next((at for at, turn in enumerate(path, 1) if turn.id == here), len(path))
        return next((turn.id for turn in reversed(path[:upto]) if places[turn.id][1] > 1), None)

    def delete(self, node_id: str) -> None:
        """Without this turn and all that follows it."""
        self._end_now()
        before = self.conversation
        self.conversation = before.delete(node_id)
        self.keeper.deleted(before, self.conversation)
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
        elif self.duel is not None and event.what != "copy":
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
        chosen = part.alternatives[number - 1]
        spots = tuple(spot for spot in old.spots if spot.offset < part.offset)
        if chosen.text:
            spots = (*spots, Spot(part.offset, chosen.text, part.alternatives))
        text = old.text[: part.offset] + chosen.text
        new = node("assistant", text, old.parent, model=old.model, spots=spots)
        self.conversation = self.conversation.append(new)
        self.keeper.said(self.conversation, new)
        self._show_path()
        self.transcript.following = True
        return self.go_on()

    # -- a duel

    def answer_to_score(self) -> tuple[tuple[Turn, ...] | str, str, str] | None:
        """What the last answer answers, its text and its thinking; None: there is none."""
        path = self.conversation.path()
        if not path or path[-1].role != "assistant" or not (path[-1].text or path[-1].reasoning):
            return None
        turns = self.conversation.turns(path[-1].parent) if path[-1].parent is not None else ()
        if self.completes:
            return "".join(turn.text for turn in turns), path[-1].text, ""
        return turns, path[-1].text, path[-1].reasoning

    def show_duel(self, made: Duel, asked: str) -> None:
        """Show another pane's answer with the places marked where this model would have gone on otherwise."""
        self.transcript.show([Entry("asked", "user", asked), duel_passage(made)])
        self.duel = made
        self.say_all()
        self.post_message(self.Changed(self))

    def duel_words(self) -> str:
        """The comparison that stands here, for the clipboard."""
        assert self.duel is not None
        asked = self.transcript.entries[0].text
        return duel_text(self.duel, asked, self.title)

    def leave_duel(self) -> bool:
        """Show the conversation again; False: it stands there."""
        if self.duel is None:
            return False
        self._show_path()
        self.post_message(self.Changed(self))
        return True

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
                counted = count_budget(engine, turns, system, draft, completes=completes)
            except Exception:  # noqa: BLE001 - without a count the foot shows the last one
                return
            self.post_from_thread(self.Counted(model, counted))

        model.submit(job)

    def on_chat_pane_counted(self, event: Counted) -> None:
        event.stop()
        if self.generation is None and event.model is self.model:
            self.take_budget(event.budget)
            self.post_message(self.Changed(self))

    def take_budget(self, budget: Budget) -> None:
        """This is what it takes now."""
        self.budget = budget
        self.context_used = budget.system + budget.history
        self._say_foot()

    def _generate(self, node_id: str, entry: Entry, turns: tuple[Turn, ...]) -> None:
        self._draft_counts = False
        if self.budget is not None:
            # The context too: the model may have been loaded again with a longer one just now.
            self.budget = replace(self.budget, draft=0, context=self.context or self.budget.context)
        super()._generate(node_id, entry, turns)

    def _take(self, generation: Generation) -> None:
        super()._take(generation)
        if generation is self.generation and generation.prompt_tokens is not None:
            self._count_as_history()

    def _is_finished(self) -> None:
        self._count_as_history()
        never_ran = self._last is not None and self._last.prompt_tokens is None
        if never_ran or self.draft.whole.strip():
            self._count_context()

    def _count_as_history(self) -> None:
        if self.budget is not None and self.context_used is not None:
            self.budget = replace(self.budget, history=max(0, self.context_used - self.budget.system), draft=0)

    def draft_changed(self) -> None:
        """Count the draft once the typing rests, or when the answer has ended."""
        if self._draft_timer is not None:
            self._draft_timer.stop()
        self._draft_counts = self.generation is None
        self._draft_timer = self.set_timer(DRAFT_SECONDS, self._draft_rests)

    def on_unmount(self) -> None:
        self.keep_draft()

    def keep_draft(self) -> None:
        """Keep what was typed last, which has not rested yet; safe from any thread."""
        if self._draft_timer is not None:
            self.keeper.drafted(self.conversation, self.draft.text)

    def _draft_rests(self) -> None:
        self._draft_timer = None
        self.keeper.drafted(self.conversation, self.draft.text)
        if self._draft_counts:
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

    def oldest_to_drop(self, tokens: int, *, but_last: bool = False) -> tuple[str, ...]:
        """The oldest turns that together hold about so many tokens, never half of a question and its answer.

        Args:
            tokens: What must become free.
            but_last: Without the last question and its answer, which is to go on; (): the others are not enough.
        """
        found = oldest_to_drop(self.conversation, self.budget.history if self.budget is not None else 0, tokens)
        last = [n.id for n in self.conversation.path()[-2:]]
        return () if but_last and any(name in found for name in last) else found

    def drop(self, node_ids: tuple[str, ...]) -> None:
        """Leave turns out of the context; they stay on the screen, and say so."""
        self.conversation = replace(self.conversation, dropped=(*self.conversation.dropped, *node_ids))
        self.keeper.keep(self.conversation)
        self._show_path()
        self._count_context()

    def summarise(self, node_ids: tuple[str, ...], then: Callable[[], None], failed: Callable[[], None]) -> None:
        """Let the model put these turns into few words that stand in the system prompt instead of them.

        Args:
            node_ids: The turns.
            then: Done when they are.
            failed: Done when there is no summary: it was stopped, or the engine failed at it.
        """
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
        self._after_summary = (then, failed)
        work = self._summary = Stoppable()
        self.state = "summarising"

        def job(engine: Engine) -> None:
            text = ""
            error: Exception | None = None
            if not work.begin():
                return
            try:
                for chunk in engine.stream(turns, sampling):
                    text += "" if chunk.reasoning else chunk.text
                    if chunk.stats is not None and chunk.stats.stop_reason == "cancelled":
                        error = EngineError("it was stopped before its end")
            except Exception as failure:  # noqa: BLE001 - a thread's edge: it is shown in the pane
                error = failure
            finally:
                work.end()
            self.post_from_thread(self.Summarised(model, work, node_ids, text.strip(), error))

        model.submit(job)

    def stop(self) -> bool:
        work = self._summary
        if self.state == "summarising" and work is not None:
            if not work.stop(self.engine):
                # It waits its turn behind another pane's answer, which goes on.
                self._end_summary(work)
            return True
        return super().stop()

    def on_chat_pane_summarised(self, event: Summarised) -> None:
        event.stop()
        if event.work is not self._summary:
            return
        if isinstance(event.error, EngineCrashed) and event.model is self.model:
            event.model.crashed(event.error)
        if event.work.stopping or event.error is not None or not event.text:
            why = str(event.error or "") or "the model said nothing"
            self._end_summary(event.work, "" if event.work.stopping else why)
            return
        then = self._summary_ended()
        if then is None:
            return
        system = f"{self.conversation.system}\n\n{SUMMARY_HEAD}\n{event.text}".strip()
        self.conversation = replace(self.conversation, system=system)
        self.drop(event.node_ids)
        then[0]()

    def _summary_ended(self) -> tuple[Callable[[], None], Callable[[], None]] | None:
        if self.state == "summarising":
            self.state = "ready" if self.engine is not None else "failed"
        self._summary = None
        after, self._after_summary = self._after_summary, None
        return after

    def _end_summary(self, work: Stoppable, why: str = "") -> None:
        """There is no summary; with a reason that is told."""
        if work is not self._summary:
            return
        after = self._summary_ended()
        if why:
            words = f"The summary failed: {why}; nothing was left out"
            self.notify(printable(words), severity="error", markup=False)
        if after is not None:
            after[1]()

    def enlarge(self, context: int, then: Callable[[], None]) -> None:
        """Load the model again with a longer context, and go on then."""
        if self.request is None:
            return
        # Before the load: a model that is ready at once must find it.
        self._then = then
        self.load(replace(self.request, options=replace(self.request.options, context=context)))
